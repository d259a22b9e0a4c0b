"""The NLL of a study's trained runs against quadrature and against second, longer fits.

Usage:
    python benchmarks/nll.py results/default [--seed 0] [--examples 60] [--output nll.csv]

Every arm of one seed is estimated as an evaluation does it (K = 256), and compared on some test
examples with a truth that shares none of its proposals: at latent_dim 2 the integral on a grid,
refined where the mass is; above it an importance sampler of 2,048 draws round the modes that three
other starts lead to. Prints a line per arm and ends with status 1 where one is off by more than
0.05 nats; above latent_dim 2, where the truth is itself a bound from above, only where the estimate
is the higher one.
"""

from __future__ import annotations

import argparse
import csv
import math
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vae_ablation.common.files import read_json
from vae_ablation.data.base import Dataset
from vae_ablation.data.examples import spaced
from vae_ablation.data.loading import Examples
from vae_ablation.data.prepare import load_dataset
from vae_ablation.evaluation.bounds import encode
from vae_ablation.evaluation.nll import OTHER_CODES, scored_levels, scores
from vae_ablation.evaluation.refined import SMOOTHING, Gaussians, Target
from vae_ablation.models.distributions import level_log_mass
from vae_ablation.models.likelihoods import LIKELIHOODS
from vae_ablation.models.priors import LOG_2PI
from vae_ablation.models.streams import stream
from vae_ablation.models.vae import VAE
from vae_ablation.store.trained import TrainedRun, load_run
from vae_ablation.training.stacked import StackedVAE

CPU = torch.device("cpu")
ALLOWED = 0.05
REACH, SIDE, FINER = 6.5, 480, 5
"""Ends and points of the grid on each axis, and points of a refined cell on each axis."""

DEEP = 25.0
"""Cells within this many nats of the highest are refined."""

WIDE = 1500
"""A posterior of more such cells is smooth between the points and is not refined."""

LONG = 2048
STARTS = 3

Array = NDArray[np.float64]


def log_joint(model: VAE, z: Tensor, x: Tensor, levels: int | None) -> Tensor:
    """Log p(x | z) + log p(z) for z [m, latent] and x [n, dims] on grey levels: [n, m], nats.

    Each pixel has few values: the log mass or density of every one is a table, picked from by a
    matrix product with one-hot x.
    """
    values = x.unique()
    hot = (x[..., None] == values).flatten(1).double()
    parts = []
    for block in z.split(4096):
        decoded = model.decoder(block)
        table = torch.stack([_by_pixel(decoded, value, levels) for value in values], dim=-1)
        parts.append(hot @ table.flatten(1).double().T + model.prior.log_prob(block.double()))
    return torch.cat(parts, dim=1)


def _by_pixel(decoded: Any, value: Tensor, levels: int | None) -> Tensor:
    """Log p(x_d = value | z) of every pixel d, [m, dims]: the last axis is made one of length 1."""
    fields = {
        name: part[..., None] if isinstance(part, Tensor) else part
        for name, part in vars(decoded).items()
    }
    one, x = type(decoded)(**fields), value.reshape(1)
    if levels is None:
        return one.log_prob(x)
    mass = level_log_mass(one, x, levels)
    assert mass is not None
    return mass


def quadrature(model: VAE, x: Tensor, levels: int | None) -> Array:
    """−log p(x) of each x by the midpoint rule, latent_dim 2: [n], nats."""
    side = (torch.arange(SIDE) + 0.5) / SIDE * 2 * REACH - REACH
    z = torch.cartesian_prod(side, side)
    coarse = log_joint(model, z, x, levels)
    area = 2 * math.log(2 * REACH / SIDE)
    offsets = ((torch.arange(FINER) + 0.5) / FINER - 0.5) * 2 * REACH / SIDE
    finer = torch.cartesian_prod(offsets, offsets)
    found = []
    for one, row in zip(x, coarse, strict=True):
        deep = (row > row.max() - DEEP).reshape(1, 1, SIDE, SIDE).float()
        cells = torch.nn.functional.max_pool2d(deep, 3, 1, 1).bool().flatten()
        if cells.sum() > WIDE:
            cells = torch.zeros_like(cells)
        rest = torch.where(cells, -torch.inf, row).logsumexp(0)
        total = rest + area
        if cells.any():
            points = (z[cells][:, None] + finer).flatten(0, 1)
            fine = log_joint(model, points, one[None], levels)[0].logsumexp(0)
            total = torch.logaddexp(total, fine + area - 2 * math.log(FINER))
        found.append(-float(total))
    return np.array(found)


def second_fit(pack: StackedVAE, examples: Examples, levels: int | None, means: Tensor) -> Array:
    """−log p(x) from modes that other starts lead to, without the encoder of these x: [n], nats.

    Args:
        pack: the model.
        examples: as observed.
        levels: number of grey levels whose mass is wanted; None for p(x | z).
        means: codes of train examples, [m, latent].
    """
    generator = stream(17, "second fit")
    target = Target.of(pack, examples)
    target = target if levels is None else target.of_levels(levels)
    n, latent = len(target), means.shape[-1]
    pool = torch.cat([means, torch.randn(1024, latent, generator=generator)]).double()
    heights = target.log_likelihoods(pool[None].float()) if levels is None else torch.cat(
        [target.log_likelihood(part[None, None].expand(1, n, -1, -1)) for part in pool.split(256)],
        dim=2,
    )  # fmt: skip
    heights = (heights + target.log_prior(pool[None])[:, None])[0]
    fits = []
    for _ in range(STARTS):
        best = heights.argmax(1)
        mode, _ = target.mode(pool[best][None], steps=25)
        fits += [mode, _smoothed(target, mode, generator)]
        near = mode.squares(pool[None, None].expand(1, n, -1, -1))[0] < 9 * latent
        heights = torch.where(near, -torch.inf, heights)
        heights[torch.arange(n), best] = -torch.inf
    return _weighted(target, fits, generator)


def _smoothed(target: Target, start: Gaussians, generator: torch.Generator) -> Gaussians:
    for _ in range(4):
        shape = (1, len(target), 2 * len(SMOOTHING), start.mean.shape[-1])
        noise = torch.randn(shape, generator=generator, dtype=torch.float64)
        start = target.smoothed(start, noise)
    return start


def _weighted(target: Target, fits: list[Gaussians], generator: torch.Generator) -> Array:
    """Importance sampling from equal shares of all Gaussians at two widths, and the prior."""
    n, latent = len(target), fits[0].mean.shape[-1]
    parts = [(one, width) for one in fits for width in (1.15, 1.8)]
    each = LONG // (len(parts) + 1)
    shape = (1, n, each, latent)
    noise = [torch.randn(shape, generator=generator, dtype=torch.float64) for _ in range(13)]
    z = [one.at(width * part) for (one, width), part in zip(parts, noise[:-1], strict=True)]
    points = torch.cat([*z, noise[-1]], dim=2).float().double()
    prior = target.log_prior(points)
    logs = [prior]
    for one, width in parts:
        scale = one.half_log_det[..., None] - latent * (math.log(width) + 0.5 * LOG_2PI)
        logs.append(scale - 0.5 * one.squares(points) / width**2)
    mixture = torch.stack(logs).logsumexp(0) - math.log(len(logs))
    weights = target.log_likelihood(points) + prior - mixture
    return (math.log(weights.shape[-1]) - weights.logsumexp(-1))[0].numpy()


def arms(folder: Path, seed: int) -> Iterator[Path]:
    """Folders of the runs of one seed that ended well."""
    for path in sorted(folder.glob(f"runs/**/seed{seed}")):
        if read_json(path / "run.json")["status"] == "ok":
            yield path


def compared(trained: TrainedRun, dataset: Dataset, count: int, mass: bool) -> dict[str, Any]:
    """The estimate of a run and its truth, on `count` test examples."""
    run, pack = trained.run, StackedVAE.stack([trained.model], CPU)
    held_out, train = (Examples.of(dataset, s, run.condition, CPU) for s in ("test", "train"))
    means, likelihood = encode(pack, held_out).mean, LIKELIHOODS[run.likelihood]
    levels = scored_levels(run.likelihood, dataset) if mass else None
    noise = [stream(run.seed, "nll 0")]
    start = time.process_time()
    others = encode(pack, train.spaced(OTHER_CODES)).mean
    found = scores(pack, means, held_out, 256, noise, levels, likelihood.mass, others)
    seconds = time.process_time() - start
    estimate = found.levels if mass else found.own
    if estimate is None:
        return {}
    few = spaced(len(held_out), count)
    known = levels if mass and not likelihood.mass else None
    seen = held_out.chosen(few)
    if run.latent_dim == 2:
        truth = quadrature(trained.model, seen.at(slice(None))[0], known)
    else:
        truth = second_fit(pack, seen, known, encode(pack, train.spaced(1024)).mean[0])
    return {
        "run": run.path, "exact": run.latent_dim == 2, "score": "levels" if mass else "nll",
        "nll": estimate.nll[0].mean(),
        "error": (estimate.nll[0][few] - truth).mean(), "largest": (
            np.abs(estimate.nll[0][few] - truth).max()
        ), "bias": estimate.bias.mean(), "loose": bool(estimate.loose[0]), "seconds": seconds,
    }  # fmt: skip


@torch.no_grad()
def main() -> int:
    """Compare every arm; the exit status says whether all agree."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("results", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--examples", type=int, default=60)
    parser.add_argument("--levels", action="store_true", help="the mass of grey levels instead")
    parser.add_argument("--only", default="", help="a part of the paths of the runs that are meant")
    parser.add_argument("--output", type=Path)
    given = parser.parse_args()
    torch.set_num_threads(1)
    rows = []
    for path in arms(given.results, given.seed):
        if given.only not in str(path):
            continue
        trained = load_run(path)
        prepared = given.results.resolve().parent / ".data" / trained.record["data_hash"]
        dataset = load_dataset(trained.run.dataset, prepared)
        row = compared(trained, dataset, given.examples, given.levels)
        if not row:
            continue
        rows.append(row)
        print(
            f"{row['run']:55} {row['score']} {row['nll']:9.3f}  error {row['error']:+.4f}  "
            f"largest {row['largest']:.3f}  bias {row['bias']:.4f}  "
            f"{'loose' if row['loose'] else ''}  {row['seconds']:.2f} s",
            flush=True,
        )
    if given.output:
        with given.output.open("w", newline="") as file:
            writer = csv.DictWriter(file, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)
    off = [row for row in rows if max(row["error"], -row["error"] * row["exact"]) > ALLOWED]
    errors = [row["error"] for row in rows]
    print(
        f"{len(rows) - len(off)} of {len(rows)} arms within {ALLOWED} nats; mean error "
        f"{np.mean(errors):+.4f}, largest {np.abs(errors).max():.4f}"
    )
    return 1 if off else 0


if __name__ == "__main__":
    sys.exit(main())
