"""A run on disk: written whole, read back as a model that encodes, decodes and samples."""

from __future__ import annotations

import csv
import hashlib
import io
import os
import platform
import resource
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from vae_ablation.common.errors import UserError
from vae_ablation.common.files import read_json, replace_link, write_json, write_text
from vae_ablation.common.registry import REGISTRIES, load_parts
from vae_ablation.data.base import Dataset, Observed
from vae_ablation.data.labels import label_text
from vae_ablation.data.loading import Examples
from vae_ablation.models.contexts import DEFAULT_LIBRARY
from vae_ablation.models.distributions import Distribution
from vae_ablation.models.posteriors import POSTERIORS, Posterior
from vae_ablation.models.priors import Prior
from vae_ablation.models.streams import stream
from vae_ablation.models.vae import VAE
from vae_ablation.study.plugins import add_plugins, model_parts
from vae_ablation.study.run import Run
from vae_ablation.study.run_files import (
    APPLICATION_FILES,
    CELL_FILE,
    EVALUATION_FILES,
    SNAPSHOTS_FILE,
    TRAIN_FILES,
)

if TYPE_CHECKING:
    from vae_ablation.evaluation import Evaluated
    from vae_ablation.store.applied import Applied
    from vae_ablation.training.pack import TrainingResult

HISTORY_COLUMNS = ("epoch", "split", "distortion", "rate", "objective", "elbo")


@dataclass(frozen=True)
class TrainedRun:
    """A trained model and its record.

    Attributes:
        run: the spec.
        record: content of run.json.
        model: the VAE, on the CPU.
    """

    run: Run
    record: Mapping[str, Any]
    model: VAE

    @property
    def prior(self) -> Prior:
        """p(z)."""
        return self.model.prior

    @torch.no_grad()
    def encode(
        self,
        x: Tensor | NDArray[np.floating],
        context: Tensor | NDArray[np.floating] | None = None,
        present: Sequence[bool] | None = None,
    ) -> Posterior:
        """q(z | x).

        Args:
            x: observed, [n, dims] or [n, *shape].
            context: what the model is conditioned on, as from `Dataset.context`, [n, context].
                Without it the condition is unknown.
            present: modalities (RNA, proteins) that are given, for a product of experts.
        """
        values = torch.as_tensor(x, dtype=torch.float32)
        return self.model.encoder(values.reshape(len(values), -1), _as_tensor(context), present)

    @torch.no_grad()
    def decode(
        self,
        z: Tensor | NDArray[np.floating],
        context: Tensor | NDArray[np.floating] | None = None,
    ) -> Distribution:
        """p(x | z) at z, [n, latent]; its `mean` is [n, dims].

        Args:
            z: codes.
            context: as in `encode`; without it cells have a library size of 10,000.
        """
        return self.model.decoder(torch.as_tensor(z, dtype=torch.float32), _as_tensor(context))

    def sample(
        self, n: int, seed: int = 0, draw: bool = False, label: str | float | None = None
    ) -> Tensor:
        """Samples at z ~ p(z): decoder means, or draws from p(x | z): [n, *shape].

        Args:
            n: number of samples.
            seed: of z, and of the draws.
            draw: whether to draw from p(x | z).
            label: of a model conditioned on the label, the label as in the user's file; None
                leaves it unknown.

        Returns:
            Of a table in the units of its file.

        Raises:
            UserError: the model is not conditioned on the label, or was not trained on this one.
        """
        generator = stream(seed, "user samples")
        z = self.model.prior.sample(generator, n)
        decoded = self.decode(z, None if label is None else self._context(label).expand(n, -1))
        x = decoded.sample(generator) if draw else decoded.mean
        if self.model.decoder.observed.real:
            x = x * _row(self.record["standard"]["scale"]) + _row(self.record["standard"]["mean"])
        return x.reshape(n, *self.model.decoder.observed.shape)

    def _context(self, label: str | float) -> Tensor:
        """The context of this label for a decoder conditioned on it, [1, context]."""
        observed = self.model.decoder.observed
        if self.run.condition != "label":
            raise UserError(
                f"label is {label!r}, and {self.run.path} has condition {self.run.condition}; "
                "allowed: a label for a model with condition label."
            )
        names = self.record.get("label_names") or [str(i) for i in range(observed.classes)]
        if label_text(label) not in names:
            raise UserError(f"label is {label!r}; allowed: {', '.join(names[:20])}.")
        one_hot = torch.eye(observed.classes)[[names.index(label_text(label))]]
        library = torch.full((1, int(observed.counts)), DEFAULT_LIBRARY)
        present = torch.ones(1, observed.dims if observed.missing else 0)
        return torch.cat([library, present, one_hot], dim=1)


def _row(values: Sequence[float]) -> Tensor:
    return torch.tensor(values, dtype=torch.float32)


ENCODED_AT_ONCE = 4096


def encode_all(trained: TrainedRun, dataset: Dataset) -> Posterior:
    """Posterior of every example of a dataset, [n, latent], with its own context."""
    examples = Examples.all(dataset, trained.run.condition, torch.device("cpu"))
    blocks = [
        trained.encode(*examples.at(slice(start, start + ENCODED_AT_ONCE)))
        for start in range(0, len(examples), ENCODED_AT_ONCE)
    ]
    return Posterior(
        torch.cat([block.mean for block in blocks]), torch.cat([block.log_std for block in blocks])
    )


def _as_tensor(context: Tensor | NDArray[np.floating] | None) -> Tensor | None:
    return None if context is None else torch.as_tensor(context, dtype=torch.float32)


def load_run(path: str | Path) -> TrainedRun:
    """Load a run from its folder, e.g. results/default/runs/digits/gaussian/z8/beta1/seed0.

    Raises:
        UserError: the folder holds no run, the run has no weights, or they are not safetensors of
            this model (nothing is ever unpickled).
    """
    folder = Path(path)
    try:
        record = read_json(folder / "run.json")
        run = Run(**record["run"])
        _know_parts(run, record)
        model = build_model(record)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{folder}: holds no run ({type(error).__name__}: {error}).") from None
    if record["status"] == "failed":
        raise UserError(f"{folder}: the run failed ({record['reason']}) and has no weights.")
    try:
        weights = (folder / "model.safetensors").read_bytes()
        digest = hashlib.sha256(weights).hexdigest()
        if record.get("weights_sha256", digest) != digest:
            raise ValueError("its checksum differs from that in its record")
        model.load_state_dict(load(weights))
    except (OSError, ValueError, SafetensorError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:200]
        raise UserError(
            f"{folder / 'model.safetensors'}: not the weights of this run ({reason})."
        ) from None
    return TrainedRun(run, record, model.eval())


def _know_parts(run: Run, record: Mapping[str, Any]) -> None:
    """Import the plug-ins of a run whose parts are not known yet, where they still are."""
    unknown = [part for part in model_parts(run) if part[1] not in REGISTRIES[part[0]]]
    if unknown:
        add_plugins(file for file in record.get("plugins", ()) if Path(file).is_file())
    load_parts()


def build_model(record: Mapping[str, Any]) -> VAE:
    """The VAE that a run's record describes, at its initial weights."""
    observed = Observed.from_json(record["observed"])
    return VAE.of(Run(**record["run"]), observed, record["model"])


def read_history(record: Mapping[str, Any], folder: Path) -> NDArray[np.float64]:
    """history.csv up to the kept weights, as in `TrainingResult.history`: [epochs, 6].

    NaN where a term is undefined.
    """
    with (folder / "history.csv").open(newline="", encoding="utf-8") as stream_:
        rows = list(csv.DictReader(stream_))
    names = ("distortion", "rate", "objective")
    values = [[float(row[name] or "nan") for name in names] for row in rows]
    return np.array(values, dtype=np.float64).reshape(-1, 6)[: record["epochs_kept"]]


def history_text(run: Run, history: NDArray[np.float64]) -> str:
    """history.csv: two rows an epoch, nats per example; empty cells where a term is undefined."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(HISTORY_COLUMNS)
    for epoch, terms in enumerate(history.tolist(), start=1):
        for split, cells in (("train", terms[:3]), ("validation", terms[3:])):
            writer.writerow([epoch, split, *history_cells(run, *cells)])
    return buffer.getvalue()


def history_cells(run: Run, distortion: float, rate: float, objective: float) -> list[float | str]:
    """Distortion, rate, objective and ELBO of an epoch; empty where a term is undefined."""
    if POSTERIORS[run.posterior].deterministic:
        return [distortion, "", objective, ""]
    return [distortion, rate, objective, -(distortion + rate)]


def environment() -> dict[str, str]:
    """Versions that a result may depend on."""
    packages = ("vae-ablation", "torch", "numpy", "scikit-learn", "safetensors")
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        **{name: version(name) for name in packages if _installed(name)},
    }


def _installed(name: str) -> bool:
    from importlib.metadata import PackageNotFoundError

    try:
        version(name)
    except PackageNotFoundError:
        return False
    return True


def peak_memory_mb(device: torch.device) -> float:
    """Largest memory so far, MiB: of the device where it counts, else of this process."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**20
    used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return used / (2**20 if platform.system() == "Darwin" else 2**10)


def save_pack(
    results: Sequence[TrainingResult],
    records: Sequence[Mapping[str, Any]],
    runs_folder: Path,
    target: Path,
) -> None:
    """Write trained runs below `target` (packs/<pack>/train), whole or not at all, and link them.

    Args:
        results: trained runs.
        records: what run.json holds, one per run.
        runs_folder: results/<study>/runs.
        target: the folder that appears when everything is written.
    """
    with _whole(target) as temporary:
        for result, record in zip(results, records, strict=True):
            folder = temporary / result.run.path
            folder.mkdir(parents=True)
            weights = save(result.weights)
            (folder / "model.safetensors").write_bytes(weights)
            write_text(folder / "history.csv", history_text(result.run, result.history))
            names = list(TRAIN_FILES)
            if result.snapshots:
                np.savez_compressed(folder / SNAPSHOTS_FILE, allow_pickle=False, **result.snapshots)
                names.append(SNAPSHOTS_FILE)
            digest = hashlib.sha256(weights).hexdigest()
            write_json(folder / "run.json", {**record, "weights_sha256": digest})
            _clear_links(runs_folder / result.run.path)
            _link(runs_folder / result.run.path, target / result.run.path, names)


def save_evaluation(
    evaluated: Mapping[str, Evaluated | Mapping[str, Any]],
    write_cells: Callable[[str, Path], None] | None,
    runs_folder: Path,
    target: Path,
) -> None:
    """Write and link what evaluations gave below `target`, whole or not at all.

    Args:
        evaluated: run path → its evaluation, or bare metrics where the run is not ok.
        write_cells: writes codes.h5ad of a run path to a file; None where the data are no cells.
        runs_folder: results/<study>/runs.
        target: packs/<pack>/evaluation/<eval_hash>.
    """
    with _whole(target) as temporary:
        for path, item in evaluated.items():
            folder = temporary / path
            folder.mkdir(parents=True)
            names: tuple[str, ...] = ("metrics.json",)
            if isinstance(item, Mapping):
                write_json(folder / "metrics.json", item)
            else:
                write_json(folder / "metrics.json", item.metrics)
                np.savez_compressed(folder / "codes.npz", allow_pickle=False, **item.codes)
                np.savez_compressed(folder / "pictures.npz", allow_pickle=False, **item.pictures)
                np.savez_compressed(folder / "examples.npz", allow_pickle=False, **item.examples)
                np.savez_compressed(folder / "density.npz", allow_pickle=False, **item.density)
                names = EVALUATION_FILES
                if write_cells is not None:
                    write_cells(path, folder / CELL_FILE)
                    names += (CELL_FILE,)
            if _belongs(runs_folder / path, target.parents[1]):
                _link(runs_folder / path, target / path, names)


def save_applications(
    applied: Mapping[str, Mapping[str, Applied]], runs_folder: Path, target: Path
) -> None:
    """Write scores and arrays below `target`, whole or not at all, and link them.

    Args:
        applied: run path → application → what came of it.
        runs_folder: results/<study>/runs.
        target: packs/<pack>/applications/<hash>.
    """
    with _whole(target) as temporary:
        for path, results in applied.items():
            folder = temporary / path
            folder.mkdir(parents=True)
            rows = [
                {"application": name, **row} for name, one in results.items() for row in one.scores
            ]
            rows += [
                {"application": name, "reason": one.reason}
                for name, one in results.items()
                if one.reason
            ]
            arrays = {
                f"{name}/{key}": values
                for name, one in results.items()
                for key, values in one.arrays.items()
            }
            write_json(folder / "applications.json", rows)
            np.savez_compressed(folder / "applications.npz", allow_pickle=False, **arrays)
            if _belongs(runs_folder / path, target.parents[1]):
                _link(runs_folder / path, target / path, APPLICATION_FILES)


@contextmanager
def _whole(target: Path) -> Iterator[Path]:
    """An empty folder that takes the place of `target` in the end; nothing stays if that fails."""
    temporary = target.with_name(f".{target.name}.tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    try:
        temporary.mkdir(parents=True)
        yield temporary
        shutil.rmtree(target, ignore_errors=True)
        os.replace(temporary, target)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise


def _link(folder: Path, target: Path, names: Sequence[str]) -> None:
    for name in names:
        replace_link(folder / name, target / name)


def _clear_links(folder: Path) -> None:
    """A run trained anew loses the links to what its former self was evaluated to."""
    for name in (*TRAIN_FILES, SNAPSHOTS_FILE, *EVALUATION_FILES, CELL_FILE, *APPLICATION_FILES):
        (folder / name).unlink(missing_ok=True)


def _belongs(folder: Path, pack: Path) -> bool:
    """Whether the run in `folder` is held by this pack (and not by a later one)."""
    try:
        return bool(read_json(folder / "run.json")["pack"] == pack.name)
    except (OSError, ValueError, KeyError):
        return False


def run_record(result: TrainingResult, **facts: Any) -> dict[str, Any]:
    """Content of run.json: the spec, status and the given metadata."""
    return {
        "run": result.run.to_json(),
        "path": result.run.path,
        "status": result.status,
        "reason": result.reason,
        "epochs": len(result.history),
        "epochs_kept": result.epochs_kept,
        **facts,
    }
