"""Packs of MNIST runs on a GPU beside PyTorch's VAE example and the two floors of the same card.

A step of a pack multiplies matrices and moves weights, gradients and Adam's moments. The floors are
the rate of a large product at the same precision and the bandwidth of a large copy, both measured
in the same call: no program takes less than the larger of the two. Of a profile of some steps come
kernels per step, the share of matrix products in the busy time, and the share of the time in which
the device is idle.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile

from reporting import markdown_table, provenance
from training import BATCH, HIDDEN, LATENT, MODEL_OPTIONS, OBSERVED, Contest
from vae_ablation.data.torchvision_sets import DOWNLOADS
from vae_ablation.study.run import Run
from vae_ablation.training.pack import Hooks, train_pack
from vae_ablation.training.precision import check_precision, products, tensor_cores

LAYERS = [(OBSERVED.dims, HIDDEN), (HIDDEN, 2 * LATENT), (LATENT, HIDDEN), (HIDDEN, OBSERVED.dims)]
WEIGHTS = sum(inputs * outputs + outputs for inputs, outputs in LAYERS)
BYTES_PER_WEIGHT = 28
"""Adam reads weight, gradient and two moments and writes weight and moments; the backward pass
writes the gradient once more than is counted here."""
PRODUCTS = ("gemm", "matmul", "bmm", "xmma", "cutlass", "mm_")


@dataclass(frozen=True)
class Floors:
    """What a device can do at most.

    Attributes:
        rate: of a large matrix product, FLOP/s.
        bandwidth: of a large copy, bytes read and written per second.
    """

    rate: float
    bandwidth: float

    def seconds(self, runs: int, examples: int) -> tuple[float, float]:
        """Floors of an epoch of a pack: by products, and by bytes."""
        steps = -(-examples // BATCH)
        forward = sum(2 * BATCH * inputs * outputs for inputs, outputs in LAYERS)
        first = 2 * BATCH * LAYERS[0][0] * LAYERS[0][1]  # no gradient of the pictures
        flops = runs * steps * (3 * forward - first)
        return flops / self.rate, runs * steps * WEIGHTS * BYTES_PER_WEIGHT / self.bandwidth


class Bench:
    """Measurements on one device.

    Args:
        contest: the data and the peer.
    """

    def __init__(self, contest: Contest) -> None:
        self.contest, self.device = contest, contest.device

    def timed(self, call: Callable[[], Any]) -> float:
        """Wall seconds of a call whose work the device has finished."""
        self._wait()
        start = time.perf_counter()
        call()
        self._wait()
        return time.perf_counter() - start

    def _wait(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize()

    def floors(self, precision: str, side: int) -> Floors:
        """Floors at a precision, from square matrices of this side."""
        a, b = (torch.randn(side, side, device=self.device) for _ in range(2))
        source = torch.empty(16 * side * side, device=self.device)
        target = torch.empty_like(source)
        with tensor_cores(precision), products(precision, self.device):
            multiply = [self.timed(lambda: a @ b) for _ in range(6)]
        copy = [self.timed(lambda: target.copy_(source)) for _ in range(6)]
        return Floors(2 * side**3 / min(multiply), 2 * source.nbytes / min(copy))

    def train(self, runs: int, epochs: int, precision: str, hooks: Hooks | None = None) -> float:
        """Wall seconds of the training of a pack."""
        members = [Run("mnist", "bernoulli", LATENT, 1.0, True, "gaussian", n) for n in range(runs)]
        settings = {**self.contest.settings, "epochs": epochs, "precision": precision}
        dataset = self.contest.dataset

        def call() -> None:
            for one in train_pack(
                members, dataset, MODEL_OPTIONS, settings, hooks=hooks or Hooks()
            ):
                if one.status != "ok":
                    raise SystemExit(f"Error: a run did not end well: {one.status}: {one.reason}")

        return self.timed(call)

    def profiled(self, runs: int, precision: str) -> list[str]:
        """Kernels per step, share of products, share of idle time: a row of a table."""
        steps = [0]

        def count() -> None:
            steps[0] += 1

        kinds = [ProfilerActivity.CPU]
        kinds += [ProfilerActivity.CUDA] if self.device.type == "cuda" else []
        with profile(activities=kinds) as found:
            seconds = self.train(runs, 1, precision, Hooks(before_step=count))
        wanted = torch.autograd.DeviceType.CUDA if len(kinds) > 1 else torch.autograd.DeviceType.CPU
        events = [one for one in found.events() if one.device_type == wanted]
        busy = sum(one.self_device_time_total or one.self_cpu_time_total for one in events) / 1e6
        multiplied = (
            sum(
                one.self_device_time_total or one.self_cpu_time_total
                for one in events
                if any(name in one.name.lower() for name in PRODUCTS)
            )
            / 1e6
        )
        shares = f"{multiplied / busy:.0%}", f"{max(0.0, 1 - busy / seconds):.0%}"
        return [f"{runs:,}", precision, f"{len(events) / max(1, steps[0]):.0f}", *shares]


def parse_arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    root = os.environ.get("VAE_ABLATION_DATA", str(DOWNLOADS))
    parser.add_argument("--root", type=Path, default=Path(root), help="folder that holds MNIST/raw")
    parser.add_argument("--packs", type=int, nargs="+", default=[1, 8, 64, 512, 1000])
    parser.add_argument("--precisions", nargs="+", default=["float32", "tf32", "bf16"])
    parser.add_argument("--epochs", type=int, default=2, help="of each pack; the first warms up")
    parser.add_argument("--side", type=int, default=8192, help="of the matrices of the floors")
    parser.add_argument("--max-examples", type=int, help="first training examples only")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cuda")
    return parser.parse_args()


def main() -> None:
    """Measure and print."""
    options = parse_arguments()
    print(provenance(["torch", "vae-ablation"]), end="", flush=True)
    contest = Contest(options.root, options.max_examples, 1, options.device)
    bench, examples = Bench(contest), len(contest.dataset.rows("train"))
    card = torch.cuda.get_device_name() if options.device == "cuda" else "cpu"
    contest.example(0)
    peer = contest.example(1).seconds
    print(f"- {card}; an epoch of PyTorch's VAE example: {peer:.2f} s of {examples:,} examples\n")
    rows, profiles = [], []
    for precision in options.precisions:
        check_precision(precision, contest.device)
        floors = bench.floors(precision, options.side)
        for runs in options.packs:
            short = bench.train(runs, 1, precision)
            long = bench.train(runs, options.epochs + 1, precision)
            epoch = (long - short) / options.epochs
            floor = max(floors.seconds(runs, examples))
            rows.append([
                f"{runs:,}", precision, f"{epoch:.2f}", f"{runs * examples / epoch:,.0f}",
                f"{peer * runs / epoch:.1f}", f"{floor:.3f}", f"{floor / epoch:.0%}",
            ])  # fmt: skip
        profiles.append(bench.profiled(options.packs[-1], precision))
    header = [
        "runs",
        "precision",
        "s per epoch",
        "examples/s",
        "× the example",
        "floor, s",
        "of it",
    ]
    print(markdown_table(header, rows))
    print(markdown_table(["runs", "precision", "kernels per step", "products", "idle"], profiles))


if __name__ == "__main__":
    main()
