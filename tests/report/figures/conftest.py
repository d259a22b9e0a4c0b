"""A synthetic study folder that follows the results contract: no model is trained for it."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import stats

from vae_ablation.evaluation.aggregate import aggregates, density_in_plane
from vae_ablation.models.streams import stream
from vae_ablation.models.vae import Posterior

OFFSETS = {"gaussian": -80.0, "discretized_logistic": 90.0, "continuous_bernoulli": -100.0}
MEASURES = {
    "bernoulli": "grey/cross-entropy",
    "discretized_logistic": "grey17/mass-open",
}
NOT_METRICS = (
    "run", "model", "dataset", "likelihood", "latent_dim", "beta", "kl", "posterior", "seed",
    "status", "reason", "measure", "proper", "arm", "device", "nll_loose",
)  # fmt: skip


@dataclass
class Plan:
    """What the synthetic study varies."""

    dataset: str = "digits"
    likelihoods: tuple[str, ...] = ("gaussian", "discretized_logistic")
    latent_dims: tuple[int, ...] = (2, 4)
    betas: tuple[float, ...] = (0.1, 1.0, 4.0)
    kl_off: bool = True
    point: bool = False
    seeds: tuple[int, ...] = (0, 1)
    epochs: int = 12
    diverged: tuple[str, ...] = ()
    reason: str = "the objective was not finite in epoch 3"
    labels: bool = True
    pictures: bool = True
    umap: bool = True
    controls: bool = True
    statistics: bool = True
    drop_columns: tuple[str, ...] = ()
    n: int = 60
    images: Any = None
    classes: Any = None
    side: int = 8
    extra: dict[str, Any] = field(default_factory=dict)


def arms_of(plan: Plan) -> list[tuple[str, float, str]]:
    arms = [(f"beta{beta:g}", beta, "gaussian") for beta in plan.betas]
    arms += [("kl-off", 0.0, "gaussian")] if plan.kl_off else []
    return arms + ([("point", 0.0, "point")] if plan.point else [])


def numbers(arm: str, beta: float, likelihood: str, latent_dim: int, rng: Any) -> dict[str, Any]:
    """Plausible metrics: rate falls and distortion rises with β; KL off explodes."""
    strength = beta if arm.startswith("beta") else 0.002
    per_dim = np.log1p(3.0 / np.arange(1, latent_dim + 1) / strength**0.8)
    per_dim = np.where(per_dim < 0.35, 0.004 * per_dim, per_dim)
    per_dim = per_dim * (1 if arm != "kl-off" else 6) * rng.uniform(0.95, 1.05, latent_dim)
    rate = float(per_dim.sum())
    active = int((per_dim > 0.1).sum())
    information = float(np.log1p(rate))
    distortion = OFFSETS.get(likelihood, 50.0) - 12 * information + rng.normal(0, 0.6)
    found: dict[str, Any] = {
        "distortion": distortion,
        "rate": rate,
        "elbo": -distortion - rate,
        "test_objective": distortion + beta * rate,
        "nll": distortion + rate - 1.2,
        "nll_ess": 0.3,
        "nll_bias": 0.02,
        "nll_loose": arm == "kl-off",
        "bits_per_dim": (distortion + rate) / 44 if likelihood == "discretized_logistic" else None,
        "drift": 0.001,
        "epochs": 150,
        "validation_objective": distortion + beta * rate + 1,
        "active_units": active,
        "collapsed_fraction": 1 - active / latent_dim,
        "code_rms": 30.0
        if arm in {"kl-off", "point"}
        else min(1.0, rate) / (0.1 + strength) ** 0.1,
        "posterior_std": 0.01 if arm == "kl-off" else min(1.0, 0.4 * (0.1 + strength) ** 0.4),
        "silhouette": 0.3 * np.tanh(rate / 4) + rng.normal(0, 0.01),
        "ari": 0.5 * np.tanh(rate / 5),
        "nmi": 0.6 * np.tanh(rate / 5),
        "knn_accuracy": 0.1 + 0.85 * np.tanh(rate / 6) + rng.normal(0, 0.005),
        "probe_accuracy": 0.1 + 0.8 * np.tanh(rate / 8) + rng.normal(0, 0.005),
        "mse": 0.07 * np.exp(-rate / 12) + 0.01 + rng.normal(0, 0.0005),
        "train_seconds": 1.5,
        "examples_per_second": 1e5,
        "device": "cpu",
        "peak_memory_mb": 300.0,
        "rate_per_dim": rng.permutation(per_dim).tolist(),
    }
    if arm == "kl-off":
        found |= {"active_units": None, "collapsed_fraction": None}
    if arm == "point":
        for name in ("rate", "elbo", "nll", "nll_bias", "nll_ess", "active_units", "rate_per_dim"):
            found[name] = None
    return found


def write_history(folder: Path, beta: float, found: dict[str, Any], epochs: int, rng: Any) -> None:
    t = np.arange(1, epochs + 1)
    rate = (found["rate"] or 0.0) * (1 - np.exp(-t / (0.1 * epochs)))
    lines = []
    for split, gap in (("train", 0.0), ("validation", 1.5)):
        distortion = found["distortion"] + gap + 150 * np.exp(-t / (0.06 * epochs))
        distortion = distortion + rng.normal(0, 0.3, epochs)
        lines.append(
            pd.DataFrame(
                {
                    "epoch": t,
                    "split": split,
                    "distortion": distortion,
                    "rate": rate,
                    "objective": distortion + beta * rate,
                    "elbo": -distortion - rate,
                }
            )
        )
    pd.concat(lines).sort_values(["epoch", "split"]).to_csv(folder / "history.csv", index=False)


def write_codes(folder: Path, plan: Plan, arm: str, found: dict[str, Any], d: int, rng: Any) -> Any:
    classes = rng.integers(0, 10, plan.n) if plan.classes is None else plan.classes
    centres = np.random.default_rng(d).normal(0, 1, (10, d))
    scale = found["code_rms"]
    mean = scale * (0.9 * centres[classes] + rng.normal(0, 0.3, (plan.n, d)))
    labels = classes if plan.labels else np.full(plan.n, -1)
    std = np.full((plan.n, d), found["posterior_std"])
    np.savez(
        folder / "codes.npz",
        mean=mean.astype(np.float32),
        std=std.astype(np.float32),
        labels=labels.astype(np.int64),
    )
    density = {} if d != 2 or arm == "point" else density_of(mean, std)
    np.savez(folder / "density.npz", **density)
    return mean


def density_of(mean: Any, std: Any) -> dict[str, Any]:
    """Arrays of density.npz for codes whose train posteriors are those of the test split."""
    codes = Posterior(torch.from_numpy(mean).float(), torch.from_numpy(np.log(std)).float())
    pack = Posterior(codes.mean[None], codes.log_std[None])
    (found,) = aggregates(pack, pack, [stream(0, "aggregate")])
    return density_in_plane(codes, codes, found.hole_level)


def write_pictures(folder: Path, plan: Plan, arm: str, found: dict[str, Any], d: int) -> None:
    rng = np.random.default_rng(5)
    side = plan.side
    images = plan.images
    if images is None:
        images = rng.uniform(0, 1, (plan.n, side, side))
    average = images.mean(0)
    keep = np.tanh((found["rate"] or 40) / 8)
    noise = 0.5 if arm in {"kl-off", "point"} else 0.05

    def blur(x: Any, by: float = 0.0) -> Any:
        x = keep * x + (1 - keep) * average
        x = x + by * rng.normal(0, 1, x.shape)
        return np.clip(np.round(255 * x), 0, 255).astype(np.uint8)

    arrays = {
        "index": np.arange(10),
        "originals": np.round(255 * images[:10]).astype(np.uint8),
        "reconstructions": blur(images[:10]),
        "samples": blur(images[10:35], noise),
        "interpolation_labels": np.array([[3, 8], [1, 7]]),
    }
    t = np.linspace(0, 1, 11)[None, :, None, None]
    ends = images[[3, 1]][:, None], images[[8, 7]][:, None]
    arrays["interpolations"] = blur((1 - t) * ends[0] + t * ends[1])
    if d == 2:
        pick = rng.integers(0, len(images), (15, 15))
        arrays["manifold"] = blur(images[pick], noise / 2)
        arrays["manifold_quantiles"] = np.linspace(0.02, 0.98, 15)
    arrays |= walks(arm, found, d, side)
    arrays["data_mean"] = np.round(255 * average).astype(np.uint8)
    arrays["archetype"] = blur(images[0], noise)
    np.savez(folder / "pictures.npz", **arrays)


def walks(arm: str, found: dict[str, Any], d: int, side: int) -> dict[str, Any]:
    """Traversals of at most eight dimensions, the largest KL first; their pictures are noise."""
    rng = np.random.default_rng(d)
    kl = found["rate_per_dim"]
    dims = np.argsort(-np.array(kl if kl else rng.uniform(1, 2, d)))[:8]
    scale = 3.0 if arm.startswith("beta") else 2 * found["code_rms"]
    arrays = {
        "traversals": rng.integers(0, 256, (len(dims), 11, side, side), dtype=np.uint8),
        "traversal_dims": dims,
        "traversal_range": np.tile([-scale, scale], (len(dims), 1)),
    }
    return arrays | ({"traversal_kl": np.array(kl)[dims]} if kl else {})


def write_snapshots(folder: Path, plan: Plan) -> None:
    """Pictures of four examples that come out of the grey, after 0, 1, 4 and all epochs."""
    rng = np.random.default_rng(7)
    originals = rng.integers(0, 256, (4, plan.side, plan.side), dtype=np.uint8)
    epochs = np.unique([0, 1, 4, plan.epochs])
    share = (epochs / plan.epochs)[:, None, None, None]
    images = np.round(share * originals + (1 - share) * 90).astype(np.uint8)
    np.savez(folder / "snapshots.npz", epochs=epochs, images=images, originals=originals)


def control_rows(plan: Plan) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    for d in plan.latent_dims:
        rows.append(
            {"run": f"{plan.dataset}/pca/z{d}", "model": "pca", "latent_dim": d, "mse": 0.06 / d,
             "knn_accuracy": 0.5 + 0.02 * d, "probe_accuracy": 0.4, "nll": -50.0 - d,
             "measure": "grey/density"}
        )  # fmt: skip
        rows.append(
            {"run": f"{plan.dataset}/untrained/z{d}/seed0", "model": "untrained", "latent_dim": d,
             "seed": 0, "knn_accuracy": 0.3 + 0.01 * d, "probe_accuracy": 0.25}
        )  # fmt: skip
    rows.append(
        {"run": f"{plan.dataset}/raw", "model": "raw", "knn_accuracy": 0.97, "probe_accuracy": 0.95}
    )
    return [{"dataset": plan.dataset, "status": "ok"} | row for row in rows]


def summarize(metrics: pd.DataFrame) -> pd.DataFrame:
    """Long table of means and 95 % Student-t intervals over seeds."""
    lines = []
    axes = ["dataset", "likelihood", "latent_dim", "arm", "beta", "kl", "posterior", "model"]
    ok = metrics[(metrics["status"] == "ok") & (metrics["model"] == "vae")]
    names = [c for c in metrics if c not in NOT_METRICS]
    for key, rows in ok.groupby(axes):
        for name in names:
            values = pd.to_numeric(rows[name]).dropna().to_numpy()
            if len(values):
                half = np.nan
                if len(values) > 1:
                    error = values.std(ddof=1) / np.sqrt(len(values))
                    half = stats.t.ppf(0.975, len(values) - 1) * error
                mean = values.mean()
                line = dict(zip(axes, key, strict=True))
                line |= {"metric": name, "n": len(values), "mean": mean}
                lines.append(line | {"ci_low": mean - half, "ci_high": mean + half})
    columns = [*axes, "metric", "n", "mean", "ci_low", "ci_high"]
    return pd.DataFrame(lines, columns=columns)


PRIMARY = ("nll", "rate", "active_units", "probe_accuracy")


def contrast_rows(metrics: pd.DataFrame, plan: Plan) -> pd.DataFrame:
    """Differences from β = 1 and from the largest latent dimension, with planted intervals."""
    rows = metrics[(metrics["model"] == "vae") & (metrics["status"] == "ok")]
    lines = []
    for key, mine in rows.groupby(["likelihood", "latent_dim", "arm"]):
        likelihood, dim, arm = key
        kind = {"kl-off": "kl_off", "point": "point"}.get(arm, "beta")
        wanted = [(kind, dim, "beta1"), ("latent_dim", max(plan.latent_dims), arm)]
        for question, other_dim, other in wanted:
            if (dim, arm) == (other_dim, other):
                continue
            same = (rows["likelihood"] == likelihood) & (rows["latent_dim"] == other_dim)
            theirs = rows[same & (rows["arm"] == other)]
            for metric in (*PRIMARY, "mse"):
                value = mine[metric].astype(float).mean() - theirs[metric].astype(float).mean()
                if np.isfinite(value):
                    across = question == "latent_dim"
                    lines.append(
                        {"question": question, "scope": "setting", "dataset": plan.dataset,
                         "likelihood": likelihood, "latent_dim": None if across else dim,
                         "level": str(dim) if across else arm,
                         "reference": str(other_dim) if across else "1", "arm": arm,
                         "reference_arm": other, "metric": metric, "primary": metric in PRIMARY,
                         "scale": "identity", "n": len(mine), "lost": 0, "reference_mean": 1.0,
                         "estimate": value, "effect": value, "effect_low": value - 1.5,
                         "effect_high": value + 1.5,
                         "margin": 0.5 if metric != "active_units" else None}
                    )  # fmt: skip
    return pd.DataFrame(lines)


def importance_rows(plan: Plan) -> pd.DataFrame:
    """Planted spans and shares: the likelihood is an axis of what the likelihoods share."""
    within = {"beta": 0.7, "latent_dim": 0.3}
    across = {"beta": 0.6, "latent_dim": 0.15, "likelihood": 0.25}
    parts = [("all", m, across) for m in ("mse", "rate", "probe_accuracy")]
    parts += [(name, m, within) for name in plan.likelihoods for m in ("nll", "rate")]
    return pd.DataFrame(
        {"dataset": plan.dataset, "likelihood": likelihood, "levels": levels,
         "rectangle": "β 1, 4; latent dimension 2, 4", "metric": metric, "term": term,
         "span": 12.5 + share, "share": share, "n": 24}
        for likelihood, metric, terms in parts for term, share in terms.items()
        for levels in ("regular", "every")
    )  # fmt: skip


def write_run(study: Path, plan: Plan, row: dict[str, Any], rng: Any) -> dict[str, Any]:
    folder = study / "runs" / row["run"]
    folder.mkdir(parents=True)
    arm, d = row["arm"], row["latent_dim"]
    if row["run"] in plan.diverged:
        (folder / "metrics.json").write_text("{}")
        return row | {"status": "diverged", "reason": plan.reason}
    found = numbers(arm, row["beta"], row["likelihood"], d, rng)
    write_history(folder, row["beta"], found, plan.epochs, rng)
    mean = write_codes(folder, plan, arm, found, d, rng)
    if plan.pictures:
        write_pictures(folder, plan, arm, found, d)
        write_snapshots(folder, plan)
    if plan.umap and d > 2:
        umap = study / "umap"
        umap.mkdir(parents=True, exist_ok=True)
        np.savez(umap / f"{row['run'].replace('/', '__')}.npz", embedding=mean[:, :2])
    (folder / "metrics.json").write_text(json.dumps(found))
    found.pop("rate_per_dim")
    return row | found


def build(study: Path, plan: Plan) -> Path:
    """Write the study folder and give it back."""
    rng = np.random.default_rng(0)
    rows: list[dict[str, Any]] = []
    for likelihood in plan.likelihoods:
        for d in plan.latent_dims:
            for arm, beta, posterior in arms_of(plan):
                for seed in plan.seeds:
                    row = {
                        "run": f"{plan.dataset}/{likelihood}/z{d}/{arm}/seed{seed}",
                        "model": "vae", "dataset": plan.dataset, "likelihood": likelihood,
                        "latent_dim": d, "beta": beta, "kl": arm.startswith("beta"),
                        "posterior": posterior, "seed": seed, "status": "ok", "reason": None,
                        "measure": MEASURES.get(likelihood, "grey/density"),
                        "proper": likelihood != "bernoulli", "arm": arm,
                    }  # fmt: skip
                    rows.append(write_run(study, plan, row, rng))
    metrics = pd.DataFrame(rows + (control_rows(plan) if plan.controls else []))
    summary = summarize(metrics)
    tables = study / "tables"
    tables.mkdir(parents=True)
    metrics.drop(columns=list(plan.drop_columns)).to_csv(tables / "metrics.csv", index=False)
    summary[~summary["metric"].isin(plan.drop_columns)].to_csv(tables / "summary.csv", index=False)
    if plan.statistics and len(summary):
        contrast_rows(metrics, plan).to_csv(tables / "contrasts.csv", index=False)
        importance_rows(plan).to_csv(tables / "importance.csv", index=False)
    (study / "config.yaml").write_text("study: synthetic\n")
    return study


@pytest.fixture
def make_study(tmp_path: Path) -> Any:
    """Build a study from changes to the default plan; each call makes another folder."""

    def make(**changes: Any) -> Path:
        number = len(list(tmp_path.glob("study*")))
        return build(tmp_path / f"study{number}", Plan(**changes))

    return make


@pytest.fixture(scope="session")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The default synthetic study, shared: nothing may write into it."""
    return build(tmp_path_factory.mktemp("plots") / "study", Plan())


@pytest.fixture(scope="session")
def synthetic() -> SimpleNamespace:
    """The builder's own parts, for tests that need another folder."""
    return SimpleNamespace(build=build, Plan=Plan)
