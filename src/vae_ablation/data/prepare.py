"""Split, thin and binarise what a source gives; store it once for every study."""

from __future__ import annotations

import hashlib
import io
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vae_ablation.data import SOURCES
from vae_ablation.data.base import (
    SPLITS,
    TEST,
    TRAIN,
    VALIDATION,
    Dataset,
    Observed,
    Options,
    RawData,
    generator,
)
from vae_ablation.errors import UserError
from vae_ablation.files import file_digest, read_json, stable_hash, write_atomic, write_json

PREPARE_VERSION = 1
_LOCATION_KEYS = {"path", "root"}


def data_hash(options: Options) -> str:
    """Identity of a prepared dataset: options and bytes of the user's files, not their place.

    Options that belong to other sources do not count.
    """
    source = SOURCES[options["source"]]
    foreign = frozenset().union(*(each.own_options for each in SOURCES.values()))
    ignored = _LOCATION_KEYS | (foreign - source.own_options)
    settings = {key: value for key, value in options.items() if key not in ignored}
    digests = [file_digest(path) for path in source.content(options)]
    return stable_hash([PREPARE_VERSION, source.version, settings, digests])


def describe_observed(options: Options) -> Observed:
    """The observed variable of a dataset, after binarisation."""
    described = SOURCES[options["source"]].describe(options)
    return observed_after(described.shape, described.levels, options["binarize"])


def observed_after(shape: tuple[int, ...], levels: int | None, binarize: str) -> Observed:
    """Shape and levels of x once `binarize` is applied."""
    binary = binarize != "none" or levels == 2
    return Observed(shape, 2 if binary else levels, binary)


def stratified_share(
    strata: NDArray[np.int64], count: int, random: np.random.Generator
) -> NDArray[np.bool_]:
    """[n] true for `count` examples drawn so that every stratum gives its share.

    Shares are rounded by largest remainder, so that exactly `count` are drawn.
    """
    values, sizes = np.unique(strata, return_counts=True)
    quota = sizes * count / len(strata)
    taken = np.floor(quota).astype(int)
    order = np.argsort(-(quota - taken), kind="stable")
    taken[order[: count - taken.sum()]] += 1
    chosen = np.zeros(len(strata), dtype=bool)
    for value, size in zip(values, taken, strict=True):
        chosen[random.permutation(np.flatnonzero(strata == value))[:size]] = True
    return chosen


def split_examples(
    labels: NDArray[np.int64], official_test: NDArray[np.bool_] | None, options: Options
) -> NDArray[np.int8]:
    """[n] TRAIN, VALIDATION or TEST: seeded, stratified by label; an official test is kept."""
    seed = options["split_seed"]
    split = np.full(len(labels), TRAIN, dtype=np.int8)
    if official_test is None:
        count = max(1, round(options["test"] * len(labels)))
        official_test = stratified_share(labels, count, generator(seed, "test"))
    split[official_test] = TEST
    rest = np.flatnonzero(split == TRAIN)
    count = max(1, round(options["validation"] * len(rest)))
    held_out = stratified_share(labels[rest], count, generator(seed, "validation"))
    split[rest[held_out]] = VALIDATION
    return split


def _thin(raw: RawData, options: Options) -> RawData:
    """At most max_examples, stratified by label (and by an official test split)."""
    limit = options["max_examples"]
    if limit is None or limit >= len(raw.x):
        return raw
    labels = np.full(len(raw.x), -1) if raw.labels is None else raw.labels
    strata = labels if raw.official_test is None else labels * 2 + raw.official_test
    keep = stratified_share(strata, limit, generator(options["split_seed"], "subset"))
    return raw.take(keep)


def _binarize(intensities: NDArray[np.float32], options: Options) -> NDArray[np.uint8] | None:
    """The fixed binarisation: a cut, or one draw seeded by the dataset, the same for every run."""
    if options["binarize"] == "none":
        return None
    if options["binarize"] == "threshold":
        return (intensities >= 0.5).astype(np.uint8)
    uniform = generator(options["split_seed"], "binarize").random(intensities.shape, np.float32)
    return (uniform < intensities).astype(np.uint8)


def _intensities(x: NDArray[Any], levels: int | None) -> NDArray[np.float32]:
    scale = 1.0 if levels is None else 1.0 / (levels - 1)
    return (x.reshape(len(x), -1).astype(np.float64) * scale).astype(np.float32)


def prepare_dataset(options: Options, folder: Path) -> dict[str, Any]:
    """Prepare a dataset into `folder`: arrays.npz and dataset.json (written last).

    Args:
        options: the dataset's section of the resolved config.
        folder: results/.data/<hash>.

    Returns:
        What dataset.json holds: shape, levels, binary, dynamic, checksum, split sizes.

    Raises:
        UserError: the source's files are wrong, or a split would be empty.
    """
    raw = _thin(SOURCES[options["source"]].load(options), options)
    labels = np.full(len(raw.x), -1, np.int64) if raw.labels is None else raw.labels
    split = split_examples(labels, raw.official_test, options)
    sizes = {name: int((split == code).sum()) for name, code in SPLITS.items()}
    if min(sizes.values()) == 0:
        raise UserError(
            f"source {options['source']}: {len(raw.x)} examples split into {sizes}; every split "
            "needs at least one example, so raise max_examples or give more data."
        )
    arrays = {"x": raw.x, "labels": labels, "split": split}
    if raw.factors is not None:
        arrays["factors"] = raw.factors
    fixed = _binarize(_intensities(raw.x, raw.levels), options)
    if fixed is not None:
        arrays["fixed"] = fixed
    observed = observed_after(raw.x.shape[1:], raw.levels, options["binarize"])
    info = {
        "source": options["source"],
        "shape": list(observed.shape),
        "grey_levels": raw.levels,
        "levels": observed.levels,
        "binary": observed.binary,
        "dynamic": options["binarize"] == "dynamic",
        "checksum": _checksum(arrays),
        "sizes": sizes,
    }
    if raw.factors is not None:
        info["factor_names"] = list(raw.factor_names)
    _store(arrays, info, folder)
    return info


def _checksum(arrays: dict[str, NDArray[Any]]) -> str:
    digest = hashlib.sha256()
    for name in sorted(arrays):
        digest.update(f"{name}{arrays[name].dtype}{arrays[name].shape}".encode())
        digest.update(np.ascontiguousarray(arrays[name]).data)
    return digest.hexdigest()


def _store(arrays: dict[str, NDArray[Any]], info: dict[str, Any], folder: Path) -> None:
    """Write only what differs from what lies there."""
    described = folder / "dataset.json"
    if described.is_file() and (folder / "arrays.npz").is_file() and read_json(described) == info:
        return
    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=False, **arrays)
    write_atomic(folder / "arrays.npz", lambda stream: stream.write(buffer.getbuffer()))
    write_json(described, info)


def load_dataset(name: str, folder: Path) -> Dataset:
    """Load a prepared dataset.

    Raises:
        UserError: the folder holds none, or its arrays do not match their recorded checksum.
    """
    try:
        info = read_json(folder / "dataset.json")
        with np.load(folder / "arrays.npz", allow_pickle=False) as archive:
            arrays = {key: archive[key] for key in archive.files}
    except (OSError, ValueError) as error:
        raise UserError(f"{folder}: no prepared dataset can be read here ({error}).") from None
    if _checksum(arrays) != info["checksum"]:
        raise UserError(f"{folder}: the arrays do not match their checksum; delete the folder.")
    fixed = arrays.get("fixed")
    return Dataset(
        name=name,
        x=_intensities(arrays["x"], info["grey_levels"]),
        fixed=None if fixed is None else fixed.reshape(len(fixed), -1).astype(np.float32),
        split=arrays["split"],
        labels=arrays["labels"],
        observed=Observed(tuple(info["shape"]), info["levels"], info["binary"]),
        dynamic=info["dynamic"],
        checksum=info["checksum"],
        factors=arrays.get("factors"),
        factor_names=tuple(info.get("factor_names", ())),
    )
