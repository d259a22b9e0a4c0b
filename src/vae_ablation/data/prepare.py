"""Preparation of data: split, thin and binarise, and store them once for every study."""

from __future__ import annotations

import hashlib
import logging
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from vae_ablation.common import registry
from vae_ablation.common.closure import code_digest
from vae_ablation.common.errors import UserError
from vae_ablation.common.files import (
    UNREADABLE_NPZ,
    file_digest,
    read_json,
    stable_hash,
    write_atomic,
    write_json,
)
from vae_ablation.common.settings import counted
from vae_ablation.data import SOURCES
from vae_ablation.data.base import (
    COUNT_OPTIONS,
    HELD_OUT,
    SPLITS,
    TEST,
    TRAIN,
    Cells,
    Dataset,
    Observed,
    Options,
    RawData,
    generator,
)
from vae_ablation.data.counts import CountBlocks, CountMatrix, thin, zero
from vae_ablation.data.covariates import Covariate
from vae_ablation.data.labels import all_distinct, bare, present_classes
from vae_ablation.data.loaded import complaints
from vae_ablation.data.mapped import MappedPictures, map_member, members, row_blocks, scaled
from vae_ablation.data.splits import check_groups, drawn_split, stratified_share
from vae_ablation.data.tables import Standard

log = logging.getLogger(__name__)

PREPARE_VERSION = 1
_LOCATION_KEYS = {"path", "root", "folder", "labels"}


def preparing_code(source: str) -> str:
    """Digest of the code that prepares data of a source, without that of plug-ins."""
    module = type(SOURCES[source]).__module__
    own = [module] if module.startswith("vae_ablation.") else []
    return code_digest("vae_ablation.data.prepare", *own)


def data_hash(options: Options, code: str = "") -> str:
    """Identity of a prepared dataset: options and bytes of the user's files, not their place.

    Options that the source does not read do not count.

    Args:
        options: the dataset's section of the resolved config.
        code: what `preparing_code` gives, where data that other code made are not to be used.
    """
    source = SOURCES[options["source"]]
    foreign = frozenset().union(*(each.own_options for each in SOURCES.values()))
    ignored = _LOCATION_KEYS | (foreign - source.own_options)
    ignored |= frozenset() if source.counts else COUNT_OPTIONS
    counting = counted("datasets", options, options.keys() - source.options)
    settings = {key: value for key, value in counting.items() if key not in ignored}
    digests = [_digest(path) for path in source.content(options)]
    parts = [PREPARE_VERSION, source.version, settings, digests]
    layout = source.layout(options)
    outside = registry.digests([("source", source.name)])
    return stable_hash([*parts, *([layout] if layout else []), *outside, *([code] if code else [])])


def _digest(path: Path) -> str:
    """Digest of a file; empty where it cannot be read, of which its reader gives the reason."""
    try:
        return file_digest(path)
    except OSError:
        return ""


def describe_observed(options: Options) -> Observed:
    """The observed variable of a dataset, after binarisation."""
    return observed_after(SOURCES[options["source"]].describe(options), options["binarize"])


def observed_after(described: Observed, binarize: str) -> Observed:
    """The observed variable once `binarize` is applied."""
    pictures = not (described.counts or described.real)
    binary = pictures and (binarize != "none" or described.levels == 2)
    return replace(described, levels=2 if binary else described.levels, binary=binary)


def read_observed(info: Mapping[str, Any]) -> Observed:
    """The observed variable of a prepared dataset from its dataset.json."""
    return Observed.from_json(info)


def split_examples(
    labels: NDArray[np.int64],
    official_test: NDArray[np.bool_] | None,
    options: Options,
    most: int | None = None,
) -> NDArray[np.int8]:
    """[n] TRAIN, VALIDATION or TEST: seeded, stratified by label; an official test is kept.

    Args:
        labels: the strata, [n].
        official_test: where the source's own test split is, [n], or None.
        options: the dataset's section of the resolved config.
        most: largest number of examples in each held-out split that is drawn.
    """
    given = np.full(len(labels), TRAIN, np.int8)
    drawn = ["test", "validation"] if official_test is None else ["validation"]
    if official_test is not None:
        given[official_test] = TEST
    return _drawn(labels, None, given, drawn, options, most)


def _drawn(
    labels: NDArray[np.int64],
    groups: NDArray[np.int64] | None,
    given: NDArray[np.int8],
    names: Sequence[str],
    options: Options,
    most: int | None,
) -> NDArray[np.int8]:
    """The split `given` with those of these names drawn from its train split."""
    if groups is not None:
        check_groups(groups, given, names, f"group {options['group']!r}")
    streams = {name: generator(options["split_seed"], name) for name in names}
    shares = {name: options[name] for name in names}
    return drawn_split(labels, groups, given, shares, streams, most or len(labels))


def _split(raw: RawData, labels: NDArray[np.int64], options: Options) -> NDArray[np.int8]:
    """The split of all examples; those that no run may see are in none."""
    given = np.full(len(labels), TRAIN, np.int8) if raw.split is None else raw.split.copy()
    drawn = [name for name in ("test", "validation") if not (given == SPLITS[name]).any()]
    if raw.official_test is not None:
        given[raw.official_test] = TEST
        drawn = ["validation"]
    if raw.held_out is not None:
        given[raw.held_out] = HELD_OUT
    seen = given != HELD_OUT
    most = None if raw.cells is None else options["max_held_out"]
    groups = None if raw.groups is None else raw.groups[seen]
    split = np.full(len(labels), HELD_OUT, np.int8)
    split[seen] = _drawn(labels[seen], groups, given[seen], drawn, options, most)
    return split


def _thin(raw: RawData, options: Options) -> RawData:
    """At most max_examples, stratified by label (and by an official test split)."""
    limit = options["max_examples"]
    if limit is None or limit >= raw.x.shape[0]:
        return raw
    labels = np.full(raw.x.shape[0], -1) if raw.labels is None else raw.labels
    strata = labels if raw.official_test is None else labels * 2 + raw.official_test
    strata = strata if raw.split is None else labels * 4 + raw.split
    keep = stratified_share(strata, limit, generator(options["split_seed"], "subset"))
    return raw.take(keep)


def _binarize(x: NDArray[Any], levels: int | None, options: Options) -> NDArray[np.uint8]:
    """The fixed binarisation: a cut, or one draw seeded by the dataset, the same for every run.

    In blocks, whose draws one after the other are those of the whole.

    Args:
        x: levels or intensities, [n, ...].
        levels: number of grey levels; None for intensities.
        options: the dataset's section of the resolved config.
    """
    random = generator(options["split_seed"], "binarize")
    found = []
    for part in row_blocks(x):
        intensities = scaled(part, levels)
        if options["binarize"] == "threshold":
            found.append((intensities >= 0.5).astype(np.uint8))
        else:
            found.append((random.random(intensities.shape, np.float32) < intensities).astype("u1"))
    return np.concatenate(found)


def prepare_dataset(options: Options, folder: Path) -> dict[str, Any]:
    """Prepare a dataset into `folder`: arrays.npz and dataset.json (written last).

    Args:
        options: the dataset's section of the resolved config.
        folder: results/.data/<hash>.

    Returns:
        What dataset.json holds: shape, levels, binary, dynamic, checksum, split sizes, and the
        version of the code that prepared it.

    Raises:
        UserError: the source's files are wrong, or a split would be empty.
    """
    loaded = _loaded(options)
    raw = _shared_labels(loaded)
    distinct = loaded.labels is not None and raw.labels is None
    raw = _present_labels(_thin(raw, options))
    n = raw.x.shape[0]
    labels = np.full(n, -1, np.int64) if raw.labels is None else raw.labels
    split = _split(raw, labels, options)
    sizes = {name: int((split == code).sum()) for name, code in SPLITS.items()}
    if min(sizes.values()) == 0:
        raise UserError(
            f"source {options['source']}: {n} examples split into {sizes}; every split "
            "needs at least one example, so raise max_examples or give more data."
        )
    _note_labels(raw, labels, split)
    covariates = _covariates(raw, split == TRAIN, options)
    arrays = {"labels": labels, "split": split}
    arrays |= {f"covariate/{name}": one.values for name, one in covariates.items()}
    info = {"source": options["source"], "grey_levels": raw.levels, "sizes": sizes}
    info["code_version"] = preparing_code(options["source"])
    info |= {"distinct_labels": True} if distinct else {}
    if raw.groups is not None:
        info["groups"] = {
            name: len(np.unique(raw.groups[split == code])) for name, code in SPLITS.items()
        }
    if covariates:
        info["covariates"] = [[name, one.values.shape[1]] for name, one in covariates.items()]
        info["categories"] = {name: list(one.categories) for name, one in covariates.items()}
    if raw.cells is not None:
        return _store_counts(raw, raw.cells, arrays, info, options, folder)
    arrays["x"] = raw.x
    if raw.features:
        return _store_table(raw, arrays, info, folder)
    if not bare(raw.label_names):
        info["label_names"] = list(raw.label_names)
    if raw.factors is not None:
        arrays["factors"] = raw.factors
        info["factor_names"] = list(raw.factor_names)
    if options["binarize"] != "none":
        arrays["fixed"] = _binarize(raw.x, raw.levels, options)
    observed = Observed(raw.x.shape[1:], raw.levels, classes=_classes(labels))
    info |= observed_after(observed, options["binarize"]).to_json()
    info |= {"dynamic": options["binarize"] == "dynamic", "checksum": _checksum(arrays)}
    _store(arrays, info, folder)
    return info


def _loaded(options: Options) -> RawData:
    """Data of the source; of one from outside the package, if they are what it describes."""
    name = options["source"]
    source = SOURCES[name]
    loaded = source.load(options)
    if plugin := registry.ORIGINS.get(("source", name)):
        for complaint in complaints(source, source.describe(options), loaded):
            raise UserError(f"{plugin.label}: source {name}: {complaint}.")
    return loaded


def _covariates(raw: RawData, train: NDArray[np.bool_], options: Options) -> dict[str, Covariate]:
    """The covariates that the options name."""
    where = f"{options['path']}: " if options.get("path") else ""
    return {
        name: Covariate.of(
            options["covariates"][name]["kind"], column, train, f"{where}covariate {name}"
        )
        for name, column in raw.covariates.items()
    }


def _store_table(
    raw: RawData, arrays: dict[str, NDArray[Any]], info: dict[str, Any], folder: Path
) -> dict[str, Any]:
    """Prepare a table of real numbers: standardised by the statistics of the train split."""
    standard = Standard.of(raw.x, raw.features, arrays["split"] == TRAIN)
    arrays["x"] = standard.apply(raw.x)
    arrays["standard"] = np.stack([standard.mean, standard.scale])
    gaps = np.isnan(raw.x)
    if gaps.any():
        arrays["present"] = ~gaps
    if not bare(raw.label_names):
        info["label_names"] = list(raw.label_names)
    observed = Observed(
        raw.x.shape[1:],
        None,
        classes=_classes(arrays["labels"]),
        real=True,
        missing=bool(gaps.any()),
    )
    info |= {"features": list(raw.features), **observed.to_json()}
    info |= {"dynamic": False, "checksum": _checksum(arrays)}
    _store(arrays, info, folder)
    return info


def _shared_labels(raw: RawData) -> RawData:
    """Without labels where each example has one of its own, which group nothing."""
    if raw.labels is None or not all_distinct(raw.labels):
        return raw
    log.warning(
        "each of the %s labelled examples has a label of its own, so the labels group nothing and "
        "are left out", int((raw.labels >= 0).sum()),
    )  # fmt: skip
    cells = raw.cells and replace(raw.cells, label_names=())
    return replace(raw, labels=None, label_names=(), cells=cells)


def _present_labels(raw: RawData) -> RawData:
    """Labels numbered from 0 to C − 1, C the classes that there are examples of."""
    if raw.labels is None:
        return raw
    if raw.cells is None:
        labels, names = present_classes(raw.labels, raw.label_names)
        return replace(raw, labels=labels, label_names=names)
    if raw.cells.truth or not raw.cells.label_names:  # what is known of a simulation goes by class
        return raw
    labels, names = present_classes(raw.labels, raw.cells.label_names)
    return replace(raw, labels=labels, cells=replace(raw.cells, label_names=names))


def _note_labels(raw: RawData, labels: NDArray[np.int64], split: NDArray[np.int8]) -> None:
    """Log what a user may not expect: missing labels, classes that no run trains on."""
    missing = int((labels < 0).sum())
    if raw.labels is not None and missing:
        log.info("%s of %s examples have no label", missing, len(labels))
    names = raw.cells.label_names if raw.cells else raw.label_names
    kinds = [("labels", labels, names)]
    if raw.cells is not None and raw.cells.batch is not None:
        kinds.append(("batches", raw.cells.batch, raw.cells.batch_names))
    for kind, codes, called in kinds:
        absent = np.setdiff1d(codes[codes >= 0], codes[split == TRAIN])
        if len(absent):
            shown = [called[code] if called else str(code) for code in absent[:10].tolist()]
            log.warning(
                "%s of %s %s have no example in the train split, so a model conditioned on them is "
                "never trained on those: %s", len(absent), len(np.unique(codes[codes >= 0])), kind,
                ", ".join(shown),
            )  # fmt: skip


def _classes(labels: NDArray[np.int64]) -> int:
    """Number of classes that labels, from 0, can name."""
    return int(labels.max(initial=-1)) + 1


DENSE_BYTES = 2**30
"""Counts that would take more than this as dense float32 stay sparse, and on disk."""

_NAMES = ("features", "label_names", "batch_names", "perturbation_names")


def _store_counts(
    raw: RawData,
    cells: Cells,
    arrays: dict[str, NDArray[Any]],
    info: dict[str, Any],
    options: Options,
    folder: Path,
) -> dict[str, Any]:
    """Prepare counts: as an array, or beside the other arrays as a CountMatrix."""
    arrays |= _cell_arrays(cells)
    if raw.outside is not None:
        arrays["outside"] = raw.outside
    info |= {name: list(getattr(cells, name)) for name in _NAMES}
    observed = Observed(
        (int(raw.x.shape[1]),),
        None,
        counts=True,
        proteins=raw.proteins,
        classes=max(_classes(arrays["labels"]), len(cells.label_names)),
        batches=0 if cells.batch is None else len(cells.batch_names),
        outside=raw.outside is not None,
    )
    info |= {**observed.to_json(), "dynamic": False, "corruption": options["corrupt"]}
    digests = []
    for name, blocks in _versions(raw.x, options):
        if raw.x.shape[0] * raw.x.shape[1] * 4 <= DENSE_BYTES:
            arrays[name] = np.concatenate([_dense(block) for block in blocks])
        else:
            written = CountMatrix.write(_emptied(folder / name), blocks, raw.x.shape[1])
            digests.append(written.digest())
    info["sparse"] = bool(digests)
    info["checksum"] = stable_hash([_checksum(arrays), *digests]) if digests else _checksum(arrays)
    _store(arrays, info, folder)
    return info


def _cell_arrays(cells: Cells) -> dict[str, NDArray[Any]]:
    """Metadata of cells, by the names that `load_dataset` reads."""
    known = {"batch": cells.batch, "perturbation": cells.perturbation}
    arrays = {name: values for name, values in known.items() if values is not None}
    arrays |= {f"obs/{name}": values for name, values in cells.obs.items()}
    return arrays | {f"truth/{name}": values for name, values in cells.truth.items()}


def _versions(x: Any, options: Options) -> Iterator[tuple[str, Iterator[Any]]]:
    """Arrays to store: x, and of corrupted data the clean counts."""
    yield "x", _corrupted(x, options)
    if options["corrupt"]:
        yield "clean", _row_blocks(x)


ROWS = 8192


def _row_blocks(x: Any) -> Iterator[Any]:
    """Rows of counts in blocks: arrays or CSR matrices."""
    if isinstance(x, CountBlocks):
        yield from x.blocks()
    else:
        for start in range(0, x.shape[0], ROWS):
            yield x[start : start + ROWS]


def _corrupted(x: Any, options: Options) -> Iterator[Any]:
    random = generator(options["split_seed"], "corrupt")
    for block in _row_blocks(x):
        if options["corrupt"] is None:
            yield block
        elif options["corrupt"]["kind"] == "thin":
            yield thin(block, options["corrupt"]["share"], random)
        else:
            yield zero(block, options["corrupt"]["share"], random)[0]


def _dense(block: Any) -> NDArray[Any]:
    """A block of counts as an array of the smallest type that fits them all."""
    values = block.toarray() if sparse.issparse(block) else np.asarray(block)
    return values.astype(np.uint16 if values.max(initial=0) < 2**16 else np.uint32)


def _emptied(folder: Path) -> Path:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder


def _checksum(arrays: dict[str, NDArray[Any]]) -> str:
    digest = hashlib.sha256()
    for name in sorted(arrays):
        digest.update(f"{name}{arrays[name].dtype}{arrays[name].shape}".encode())
        for block in row_blocks(arrays[name]) if arrays[name].ndim else [arrays[name]]:
            digest.update(np.ascontiguousarray(block).data)
    return digest.hexdigest()


def _store(arrays: dict[str, NDArray[Any]], info: dict[str, Any], folder: Path) -> None:
    """Write only what differs from what lies there."""
    described = folder / "dataset.json"
    if described.is_file() and (folder / "arrays.npz").is_file() and read_json(described) == info:
        return
    write_atomic(folder / "arrays.npz", lambda stream: _save(stream, arrays))
    write_json(described, info)


def _save(stream: Any, arrays: dict[str, NDArray[Any]]) -> None:
    """Write an archive without holding a second copy of the arrays."""
    np.savez(stream, allow_pickle=False, **arrays)


def load_dataset(name: str, folder: Path, memory_gb: float | None = None) -> Dataset:
    """Load a prepared dataset.

    Args:
        name: what the study calls it.
        folder: results/.data/<hash>.
        memory_gb: pictures that would take more than this as float32 stay on disk, and are read in
            blocks; None holds all of them.

    Raises:
        UserError: the folder holds none, or its arrays do not match their recorded checksum.
    """
    try:
        info = read_json(folder / "dataset.json")
        mapped = _mapped(info, folder / "arrays.npz", memory_gb)
        with np.load(folder / "arrays.npz", allow_pickle=False) as archive:
            arrays = {
                k: mapped[k] if k in mapped else np.asarray(archive[k]) for k in archive.files
            }
        matrices = _open_matrices(info, folder)
        digests = [matrix.digest() for matrix in matrices.values()]
        checksum = stable_hash([_checksum(arrays), *digests]) if digests else _checksum(arrays)
        same = checksum == info["checksum"]
    except UNREADABLE_NPZ as error:
        reason = " ".join(str(error).split()).split(". ")[0].rstrip(".") or type(error).__name__
        raise UserError(
            f"{folder}: no prepared dataset can be read here ({reason}); if the data of {name} "
            "have changed meanwhile, run the same command again."
        ) from None
    if not same:
        raise UserError(f"{folder}: the arrays do not match their checksum; delete the folder.")
    common = {
        "name": name,
        "split": arrays["split"],
        "labels": arrays["labels"],
        "observed": read_observed(info),
        "dynamic": info["dynamic"],
        "checksum": info["checksum"],
        "covariates": {name: arrays[f"covariate/{name}"] for name, _ in info.get("covariates", ())},
    }
    if info.get("counts"):
        return Dataset(
            x=_counts("x", arrays, matrices),
            fixed=None,
            cells=_read_cells(info, arrays),
            clean=_counts("clean", arrays, matrices) if info["corruption"] else None,
            corruption=info["corruption"],
            outside=arrays.get("outside"),
            **common,
        )
    form = MappedPictures if mapped else scaled
    return Dataset(
        x=form(arrays["x"], info["grey_levels"]),
        fixed=form(arrays["fixed"], 2) if "fixed" in arrays else None,
        label_names=tuple(info.get("label_names", ())),
        factors=arrays.get("factors"),
        factor_names=tuple(info.get("factor_names", ())),
        features=tuple(info.get("features", ())),
        standard=arrays.get("standard"),
        present=None if "present" not in arrays else arrays["present"].astype(np.float32),
        **common,
    )


def _mapped(info: Mapping[str, Any], path: Path, memory_gb: float | None) -> dict[str, Any]:
    """Arrays of pictures that are too many to hold, mapped."""
    if memory_gb is None or info.get("counts") or info.get("real"):
        return {}
    x = map_member(path, "x")
    if 4 * x.size <= memory_gb * 2**30:
        return {}
    return {"x": x} | ({"fixed": map_member(path, "fixed")} if "fixed" in members(path) else {})


def _open_matrices(info: Mapping[str, Any], folder: Path) -> dict[str, CountMatrix]:
    """The matrices beside the arrays, in the order in which they were written."""
    if not info.get("sparse"):
        return {}
    names = ["x", "clean"] if info["corruption"] else ["x"]
    return {name: CountMatrix.open(folder / name) for name in names}


def _counts(
    name: str, arrays: Mapping[str, NDArray[Any]], matrices: Mapping[str, CountMatrix]
) -> NDArray[np.float32] | CountMatrix:
    return matrices[name] if name in matrices else arrays[name].astype(np.float32)


def _read_cells(info: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> Cells:
    def below(prefix: str) -> dict[str, NDArray[Any]]:
        names = [name for name in arrays if name.startswith(prefix)]
        return {name.removeprefix(prefix): arrays[name] for name in names}

    return Cells(
        **{name: tuple(info[name]) for name in _NAMES},
        batch=arrays.get("batch"),
        perturbation=arrays.get("perturbation"),
        obs=below("obs/"),
        truth=below("truth/"),
    )
