"""Studies made from tables, with pictures and histories by hand, for the page of the report."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from study_rows import AXES, product, row, written
from support import resolved
from vae_ablation.common.files import write_json
from vae_ablation.report.overview import write_overview
from vae_ablation.tables.collect import summarize, write_csv

METRICS = ("distortion", "rate", "elbo", "nll", "mse", "sample_fid", "probe_accuracy", "drift")


def values(levels: dict[str, Any], rng: np.random.Generator) -> dict[str, Any]:
    """Metrics that depend on β, the dimension and the seed, as those of a trained run would."""
    beta, dim = float(levels["beta"]), float(levels["latent_dim"])
    kl = levels.get("kl", True)
    rate = 20 * dim**0.3 / (0.2 + beta) if kl else 300.0
    distortion = 60 - 8 * np.log1p(rate) + rng.normal(0, 0.5)
    return {
        "distortion": distortion, "rate": rate, "elbo": -distortion - rate,
        "nll": distortion + 0.9 * rate, "nll_loose": bool(beta < 0.5),
        "mse": 0.02 + 0.01 * beta + rng.normal(0, 1e-4),
        "sample_fid": 1 + beta + rng.normal(0, 0.1),
        "probe_accuracy": float(np.clip(0.9 - 0.02 * beta + rng.normal(0, 0.01), 0, 1)),
        "active_units": int(max(0, dim - beta)) if kl else None, "drift": rng.normal(0, 0.3),
    }  # fmt: skip


def made_rows(settings: Sequence[dict[str, Any]], status: str = "ok") -> list[dict[str, Any]]:
    """A row of metrics.csv for each setting of axes."""
    rng = np.random.default_rng(0)
    return [row(status, values({**AXES, **one}, rng), **one) for one in settings]


GRID = product(
    likelihood=["gaussian", "discretized_logistic"], latent_dim=[2, 8], beta=[0.1, 1.0, 4.0],
    kl=[True], seed=[0, 1, 2],
) + product(
    likelihood=["gaussian", "discretized_logistic"], latent_dim=[2, 8], beta=[1.0], kl=[False],
    seed=[0, 1, 2],
)  # fmt: skip


def ten_axes() -> list[dict[str, Any]]:
    """Arms that differ on ten axes, one at a time."""
    axes: dict[str, list[Any]] = {
        "likelihood": ["gaussian", "discretized_logistic"], "latent_dim": [2, 8],
        "beta": [1.0, 4.0], "architecture": ["mlp", "conv"], "objective": ["elbo", "iwae"],
        "importance_samples": [2, 8], "model.hidden": [(8,), (512, 256, 128)],
        "model.activation": ["relu", "tanh"], "training.learning_rate": [0.001, 0.003],
        "training.batch_size": [32, 64], "condition": ["none", "label"],
    }  # fmt: skip
    base = {name: levels[0] for name, levels in axes.items()}
    settings = [base, *({**base, name: levels[1]} for name, levels in axes.items())]
    return made_rows([{**one, "seed": seed} for one in settings for seed in (0, 1)])


def write_study(
    folder: Path, rows: Sequence[dict[str, Any]], findings: Sequence[dict[str, Any]] = (),
    **sections: Any,
) -> Path:  # fmt: skip
    """A study of tables alone; its folder."""
    tables = folder / "tables"
    tables.mkdir(parents=True)
    metrics = written(list(rows), tables)
    write_csv(summarize(metrics), tables / "summary.csv")
    write_overview(folder, metrics.assign(**{
        name: 1.0 for name in ("drift", "train_seconds") if name not in metrics
    }, device="cpu"))  # fmt: skip
    (folder / "config.yaml").write_text(yaml.safe_dump(resolved(**sections)), encoding="utf-8")
    write_json(tables / "findings.json", list(findings))
    return folder


def draw_pictures(
    folder: Path, rows: Sequence[dict[str, Any]], shape: tuple[int, ...], classes: int = 10
) -> None:
    """Pictures, snapshots, codes, histories and KL of every run that ended well."""
    rng = np.random.default_rng(1)
    for one in rows:
        run = folder / "runs" / one["run"]
        run.mkdir(parents=True)
        write_history(run / "history.csv", broken=one["status"] != "ok")
        write_json(run / "run.json", {
            "observed": {"shape": list(shape), "levels": 17, "binary": False, "classes": classes},
            "versions": {"python": "3", "platform": "Linux-secret-host"},
        })  # fmt: skip
        if one["status"] != "ok":
            continue
        dim = int(one["latent_dim"])
        images = rng.integers(0, 255, (4, *shape), dtype=np.uint8)
        np.savez(
            run / "pictures.npz", originals=images, reconstructions=images, samples=images,
            interpolations=np.stack([images] * 2), interpolation_labels=np.array([[0, 1], [1, 0]]),
        )  # fmt: skip
        if dim > 2:
            (folder / "umap").mkdir(exist_ok=True)
            place = folder / "umap" / f"{one['run'].replace('/', '__')}.npz"
            np.savez(place, embedding=rng.normal(size=(40, 2)).astype(np.float32))
        np.savez(
            run / "snapshots.npz", epochs=np.arange(3), images=np.stack([images] * 3),
            originals=images,
        )  # fmt: skip
        labels = np.arange(40) % classes if classes else np.full(40, -1)
        means = rng.normal(size=(40, dim)).astype(np.float32)
        np.savez(run / "codes.npz", mean=means, std=np.full_like(means, 0.3), labels=labels)
        write_json(run / "metrics.json", {"rate_per_dim": rng.uniform(0, 3, dim).tolist()})


def write_history(path: Path, broken: bool = False) -> None:
    """history.csv of five epochs; a broken run has NaN from the third on."""
    with path.open("w", encoding="utf-8", newline="") as stream:
        out = csv.writer(stream)
        out.writerow(["epoch", "split", "distortion", "rate", "objective", "elbo"])
        for epoch in range(1, 6):
            for split in ("train", "validation"):
                bad = broken and epoch > 2
                numbers = ["nan"] * 4 if bad else [50 / epoch, 5.0, 55 / epoch, -55 / epoch]
                out.writerow([epoch, split, *numbers])
