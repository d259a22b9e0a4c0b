"""Train many runs at once; a run's result depends on nothing but itself."""

from __future__ import annotations

import itertools
import logging
import math
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import reduce
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vae_ablation.common.errors import UserError, out_of_memory
from vae_ablation.data.base import Dataset
from vae_ablation.data.loading import Examples
from vae_ablation.models.objectives import OBJECTIVES, Batch, Objective
from vae_ablation.models.posteriors import POSTERIORS
from vae_ablation.models.streams import seeded_on
from vae_ablation.models.vae import VAE
from vae_ablation.study.run import Run
from vae_ablation.training.alone import why_alone
from vae_ablation.training.checkpoint import Checkpointer, PackState, RunState
from vae_ablation.training.devices import choose_device
from vae_ablation.training.optimizer import StackedAdam
from vae_ablation.training.outside import check_shapes
from vae_ablation.training.precision import products, tensor_cores
from vae_ablation.training.snapshots import Snapshots
from vae_ablation.training.stacked import BoundVAE, StackedVAE, from_rows, row_of
from vae_ablation.training.streams import RunStreams, drawing_device, noise_blocks
from vae_ablation.training.traced import Function, Traced

log = logging.getLogger(__name__)

Progress = Callable[[float], None]
VALIDATION_BLOCK = 2048
PART_VALUES = 2**20
"""Values of the data in one part of a pack's step, so that a CPU's cache keeps what it does."""


@dataclass(frozen=True)
class Hooks:
    """Calls into the training of a pack, for those who watch it or try another schedule.

    Attributes:
        trace: makes the traced step.
        drawn_on: the device that draws random numbers, by that of the training.
        step_size: Adam's step size by a run's settings and the epoch, counted from 0.
        before_epoch: called with the active runs and the epoch, counted from 0.
        before_step: called before each step.
        batch: called with the split, the rows of each run, and their examples and context.
        recorded: called with a run, the number of its epochs and the last row of its history.
    """

    trace: Callable[[Function], Traced] = Traced
    drawn_on: Callable[[torch.device], torch.device] = drawing_device
    step_size: Callable[[Mapping[str, Any], int], float] = lambda settings, epoch: step_size(
        settings, epoch
    )
    before_epoch: Callable[[Sequence[Run], int], object] = lambda runs, epoch: None
    before_step: Callable[[], object] = lambda: None
    batch: Callable[[str, Tensor, Tensor, Tensor], object] = lambda split, rows, x, context: None
    recorded: Callable[[Run, int, NDArray[np.float64]], object] = lambda run, epochs, row: None


UNWATCHED = Hooks()


@dataclass
class TrainingResult:
    """Result of the training of one run.

    Attributes:
        run: its spec.
        status: ok, diverged (the objective was not finite) or failed (an error).
        reason: why it is not ok, empty otherwise.
        weights: by the names of the single-run module; empty where it failed.
        history: one row per epoch: distortion, rate and objective (at the full β) of the training
            split, then of the validation split, nats per example: [epochs, 6] float64.
        epochs_kept: epochs after which the kept weights stood.
        snapshots: from `Snapshots`; empty where the data are not images.
        alone: why it did not share a pack with others, empty where it could have.
    """

    run: Run
    status: str = "ok"
    reason: str = ""
    weights: dict[str, Tensor] = field(default_factory=dict)
    history: NDArray[np.float64] = field(default_factory=lambda: np.empty((0, 6)))
    epochs_kept: int = 0
    snapshots: dict[str, NDArray[Any]] = field(default_factory=dict)
    alone: str = ""


def train_pack(
    runs: Sequence[Run],
    dataset: Dataset,
    model_options: Mapping[str, Any],
    settings: Mapping[str, Any],
    progress: Progress = lambda done: None,
    checkpointer: Checkpointer | None = None,
    shrunk: Callable[[int], object] = lambda size: None,
    hooks: Hooks = UNWATCHED,
) -> list[TrainingResult]:
    """Train runs of equal shapes as one batched program.

    Runs are sorted by learning rate, so that the optimiser takes a step for each rate and not for
    each run. A run that diverges is frozen. An error (out of memory, say) halves the pack until it
    stands alone with the run that causes it, which is then `failed`; the others' results do not
    change. With a checkpointer, training goes on from the last checkpoint, to the same bytes.

    Args:
        runs: runs with one pack key; β, kl, seed and learning rate, say, differ freely.
        dataset: the prepared dataset.
        model_options: the config's model section.
        settings: the config's training section.
        progress: called with the share of the pack's work that is done.
        checkpointer: writes checkpoints; none are written without it.
        shrunk: called with the number of runs to try where memory did not suffice for more.
        hooks: watch the training.

    Returns:
        One result per run, in order.

    Raises:
        Stopped: a signal asked the job to stop, and a checkpoint holds what was done.
    """
    device = choose_device(settings["device"])
    alone = why_alone(runs[0], dataset, model_options, device)

    def train(members: Sequence[Run], whole: bool) -> list[TrainingResult]:
        if alone and len(members) > 1:
            return [result for run in members for result in train([run], False)]
        try:
            check_shapes(members[0], dataset, model_options)
            paths, drawn_on = [run.path for run in members], hooks.drawn_on(device).type
            state = checkpointer.load(paths, drawn_on) if checkpointer else None
            training = _PackTraining(
                members, dataset, model_options, settings, progress, checkpointer, state, hooks
            )
            with tensor_cores(settings["precision"]):
                results = training.train()
            if checkpointer and not whole:
                checkpointer.save(training.state())
            return results
        except UserError:
            raise
        except Exception as error:
            log.warning("pack of %d runs: %s", len(members), traceback.format_exc())
            if len(members) == 1:
                reason = f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
                return [TrainingResult(members[0], "failed", reason)]
            if out_of_memory(error):
                shrunk(len(members) // 2)
        torch.cuda.empty_cache()
        half = len(members) // 2
        return train(members[:half], False) + train(members[half:], False)

    if alone:
        log.warning("%d runs train one by one: %s", len(runs), alone)
        shrunk(1)
    order = sorted(range(len(runs)), key=lambda i: _rate_order(runs[i].training_settings(settings)))
    results = train([runs[i] for i in order], True)
    for one in results:
        one.alone = alone or ""
    return [result for _, result in sorted(zip(order, results, strict=True), key=lambda x: x[0])]


def _rate_order(settings: Mapping[str, Any]) -> tuple[float, str]:
    return settings["learning_rate"], settings["learning_rate_schedule"]


class _PackTraining:
    """The state of one pack while it trains: stacked weights, optimiser, streams, history."""

    def __init__(
        self,
        runs: Sequence[Run],
        dataset: Dataset,
        model_options: Mapping[str, Any],
        settings: Mapping[str, Any],
        progress: Progress,
        checkpointer: Checkpointer | None = None,
        state: PackState | None = None,
        hooks: Hooks = UNWATCHED,
    ) -> None:
        self.hooks = hooks
        self.clock = Stopwatch()
        self.each = [run.training_settings(settings) for run in runs]
        self.settings = self.each[0]
        self.progress = progress
        self.checkpointer = checkpointer
        self.dataset = dataset = dataset.with_train_examples(runs[0].train_examples)
        self.device = choose_device(settings["device"])
        self.results = [TrainingResult(run) for run in runs]
        self.active = list(range(len(runs)))
        self.draws = (runs[0].importance_samples, runs[0].latent_dim)
        self.objective = OBJECTIVES[runs[0].objective]
        self.kinds = [POSTERIORS[run.posterior] for run in runs]
        condition = runs[0].condition
        self.train_split = Examples.of(dataset, "train", condition, self.device, dataset.dynamic)
        models = [VAE.of(run, dataset.observed, model_options) for run in runs]
        models[0].encoder.center_on(self.train_split.sample())
        self.model = StackedVAE.stack(models, self.device)
        self.dropped = models[0].encoder.draws + models[0].decoder.draws
        self.template = self.model.template.eval()
        self.own = not self.template.padded and len(runs) == 1
        # a trace would replay the steps of one batch, whatever a network does for another
        self.gradient = self._gradient if self.own else self.hooks.trace(self._gradient)
        self.optimizer = StackedAdam(
            self.model.leaves, [float(one["learning_rate"]) for one in self.each]
        )
        self.drawn_on = self.hooks.drawn_on(self.device)
        self.streams = [RunStreams(run.seed, self.drawn_on) for run in runs]
        self.rows: list[list[NDArray[np.float64]]] = [[] for _ in runs]
        self.best: list[tuple[float, int, dict[str, Tensor]]] = [(math.inf, 0, {}) for _ in runs]
        self.validation_split = Examples.of(dataset, "validation", condition, self.device)
        self.snapshots = Snapshots(
            dataset, self.settings["epochs"], len(runs), self.validation_split
        )
        shape = len(self.validation_split), *self.draws
        fixed = [one.fixed("validation", *shape) for one in self.streams]
        self.validation_noise = self._stacked(fixed)
        self.place = (0, 0, 0)
        self.sums: list[Tensor] = []
        self.earlier = 0.0
        if state:
            self._restore(state)
        else:
            self.snapshots.take(0, self.model, self.active)

    def train(self) -> list[TrainingResult]:
        """All epochs; then every run that is still active is done."""
        epochs = self.settings["epochs"]
        for epoch in range(self.place[0], epochs if self.active else 0):
            self.hooks.before_epoch([self.results[i].run for i in self.active], epoch)
            self.optimizer.rates = [self.hooks.step_size(self.each[i], epoch) for i in self.active]
            terms = torch.stack([self._train_epoch(epoch), self._validate(epoch)], dim=1)
            self._record(epoch, terms.cpu().numpy(), self.optimizer.all_finite().cpu().numpy())
            self.place = (epoch + 1, 0, 0)
            self.progress((epoch + 1) / epochs)
            if not self.active:
                break
            self.snapshots.take(epoch + 1, self.model, self.active)
        self._finish(range(len(self.active)))
        return self.results

    # --- one epoch -------------------------------------------------------------------------

    def _train_epoch(self, epoch: int) -> Tensor:
        """One pass over the training split; the mean of each term: [runs, terms]."""
        count, batch_size = len(self.train_split), self.settings["batch_size"]
        streams = [self.streams[i] for i in self.active]
        order = torch.stack([one.order(count) for one in streams]).to(self.device)
        numbers = self._numbers(epoch)
        blocks = noise_blocks(count, batch_size, math.prod(self.draws), self.drawn_on)
        for number in range(self.place[1], len(blocks)):
            block = blocks[number]
            noise = self._stacked([one.normals(len(block), *self.draws) for one in streams])
            for start in range(self.place[2], len(block), batch_size):
                self.hooks.before_step()
                size = min(batch_size, len(block) - start)
                inside = torch.arange(start, start + _even(size), device=self.device) % len(block)
                rows = order[:, block.start + inside]
                with self._in_training(epoch, block.start + start):
                    terms = self._step(rows, noise[:, inside], numbers, size)
                self.sums.append(_summed(terms, self._wide))
                self.place = (epoch, number, start + batch_size)
                if self.checkpointer and self.checkpointer.due:
                    self.checkpointer.save(self.state())
            self.place = (epoch, number + 1, 0)
        sums, self.sums = self.sums, []
        return torch.stack(sums).sum(0) / count

    def _step(
        self, rows: Tensor, noise: Tensor, numbers: Sequence[Tensor], size: int
    ) -> list[Tensor]:
        """One Adam step of every run on the first `size` examples of its batch.

        Args:
            rows: of the training split, [runs, batch].
            noise: [runs, batch, draws, latent].
            numbers: see `_numbers`.
            size: how many of the batch count; the others fill it up.

        Returns:
            Their terms before the step, [runs, size] each.
        """
        weight = _weights(rows.shape[1], size, noise)

        def step(part: slice) -> Sequence[Tensor]:
            x, context = self._batch(rows[part], self.active[part])
            self.hooks.batch("train", rows[part], x, context)
            leaves = [leaf[part] for leaf in self.model.leaves]
            own = [number[part] if number.ndim else number for number in numbers]
            outputs = self.gradient(x, context, noise[part], weight, *own, *leaves)
            gradients, terms = list(outputs[: len(leaves)]), outputs[len(leaves) :]
            if (largest := self._clip(part)) is not None:
                gradients = clipped_each_run(gradients, largest)
            self.optimizer.update(gradients, part)
            return terms

        parts = [step(part) for part in self._parts()]
        self.optimizer.steps += 1
        return [torch.cat(terms)[:, :size] for terms in zip(*parts, strict=True)]

    @contextmanager
    def _in_training(self, epoch: int, start: int) -> Iterator[None]:
        """Networks in training mode; what one from outside the package draws has its own stream.

        It depends on the run's seed and the batch, so that no state of it needs to be kept.
        """
        if self.template.padded:  # networks of the package are the same in training
            yield
            return
        self.template.train()
        try:
            if self.own:
                seed = self.results[self.active[0]].run.seed
                with seeded_on(self.device, seed, f"module {epoch} {start}"):
                    yield
            else:
                yield
        finally:
            self.template.eval()

    def _parts(self) -> list[slice]:
        """The active runs in parts of about equal size that take a step one after the other."""
        runs = len(self.active)
        per_run = self.settings["batch_size"] * self.draws[0] * self.dataset.observed.dims
        on_cpu = self.device.type == "cpu"
        parts = min(runs, math.ceil(runs * per_run / PART_VALUES)) if on_cpu else 1
        if parts == 1:
            return [slice(None)]
        ends = [runs * number // parts for number in range(parts + 1)]
        return [slice(*pair) for pair in itertools.pairwise(ends)]

    def _gradient(
        self,
        x: Tensor,
        context: Tensor,
        noise: Tensor,
        weight: Tensor,
        *further: Tensor,
    ) -> tuple[Tensor, ...]:
        """The gradient by each of the weights of some runs, then their terms.

        Args:
            x: [runs, batch, dims].
            context: [runs, batch, context].
            noise: [runs, batch, draws, latent].
            weight: weight of each example in the mean, [batch].
            further: as from `_numbers`, then leaves as in StackedVAE, [runs, ...].
        """
        numbers, leaves, epoch = self._parted(further)
        own = [leaf.detach().requires_grad_() for leaf in leaves]
        model = StackedVAE(self.model.template, own)
        count = len(self.train_split)
        with products(self.settings["precision"], self.device):
            terms = mapped_terms(self.objective, model, (x, context, noise), weight, count, epoch)
            loss = (self.objective.loss(terms, numbers) * weight).sum()
        gradients = torch.autograd.grad(loss, own)
        return *gradients, *(term.detach() for term in terms.values())

    def _parted(
        self, further: Sequence[Tensor]
    ) -> tuple[dict[str, Tensor], Sequence[Tensor], Tensor | None]:
        """Numbers [runs, 1] by name, leaves, and the epoch where the objective reads it."""
        names = self.objective.numbers
        numbers = {name: value[:, None] for name, value in zip(names, further, strict=False)}
        rest = further[len(names) :]
        return (numbers, rest[1:], rest[0]) if self.objective.reads_epoch else (numbers, rest, None)

    def _batch(self, rows: Tensor, active: Sequence[int]) -> tuple[Tensor, Tensor]:
        """Training examples at `rows` [runs, batch] as those runs see them, and their context."""
        x, context = self.train_split.at(rows)
        if self.dropped:
            drawn = self._uniforms("dropout", active, rows.shape[1], self.dropped)
            context = torch.cat([context, drawn], dim=-1)
        if not self.dataset.dynamic:
            return x, context
        return (self._uniforms("binarize", active, *x.shape[1:]) < x).to(x.dtype), context

    def _uniforms(self, purpose: str, active: Sequence[int], *shape: int) -> Tensor:
        """Uniform numbers of those runs, [runs, *shape]."""
        drawn = [self.streams[i].uniforms(purpose, *shape) for i in active]
        return torch.stack(drawn).to(self.device)

    @torch.no_grad()
    def _validate(self, epoch: int) -> Tensor:
        """The mean of each term on the validation split, same noise every epoch: [runs, terms]."""
        now = self._epoch(epoch)
        count, runs = len(self.validation_split), len(self.active)
        step = _even(max(1, VALIDATION_BLOCK // self.draws[0]))
        sums: list[Tensor] = []
        for start in range(0, count, step):
            size = min(step, count - start)
            rows = torch.arange(start, start + _even(size), device=self.device) % count
            x, context = self.validation_split.at(rows)
            self.hooks.batch("validation", rows, x, context)
            shared = [part.expand(runs, *part.shape) for part in (x, context)]
            noise = self.validation_noise[:, rows]
            weight = _weights(len(rows), size, noise)
            with products(self.settings["precision"], self.device):
                terms = mapped_terms(
                    self.objective, self.model, (shared[0], shared[1], noise), weight, count, now
                )
            sums.append(_summed([term[:, :size] for term in terms.values()], self._wide))
        return torch.stack(sums).sum(0) / count

    def _stacked(self, drawn: list[Tensor]) -> Tensor:
        """Normals of the active runs, [runs, count, draws, latent]; 0 for point posteriors."""
        random = [not self.kinds[i].deterministic for i in self.active]
        mask = torch.tensor(random, dtype=drawn[0].dtype, device=self.device)[:, None, None, None]
        return torch.stack(drawn).to(self.device) * mask

    # --- what happens between epochs ---------------------------------------------------------

    def _record(self, epoch: int, terms: NDArray[np.float64], finite: NDArray[np.bool_]) -> None:
        """Keep the epoch's terms [runs, split, terms]; freeze runs that diverged or stopped."""
        frozen, stopped = [], []
        for position, index in enumerate(self.active):
            run = self.results[index].run
            numbers = self.objective.run_numbers(run, self.each[index])
            row = history_row(self.objective, terms[position], numbers)
            wrong = self._divergence(index, row, bool(finite[position]))
            if wrong:
                self.results[index].status = "diverged"
                self.results[index].reason = f"{wrong} in epoch {epoch + 1}"
                frozen.append(position)
                continue
            self.rows[index].append(row)
            self.hooks.recorded(run, epoch + 1, row)
            if self._stop_early(position, epoch, row):
                stopped.append(position)
        if frozen or stopped:
            self._finish([*frozen, *stopped])
            self._drop({*frozen, *stopped})

    def _divergence(self, index: int, row: NDArray[np.float64], finite: bool) -> str:
        """Reason why a run has diverged; empty where it has not."""
        counted = row[[0, 3]] if self.kinds[index].deterministic else row
        if not np.isfinite(counted).all():
            return "the objective was not finite"
        return "" if finite else "the gradient was too large for its square to be finite"

    def _stop_early(self, position: int, epoch: int, row: NDArray[np.float64]) -> bool:
        """Whether this run's validation objective has not improved for `patience` epochs."""
        index = self.active[position]
        patience = self.each[index]["early_stopping_patience"]
        if patience is None or epoch < self.results[index].run.kl_warmup_epochs:
            return False
        value = float(row[5])
        best, best_epoch, _ = self.best[index]
        if value < best:
            self.best[index] = (value, epoch + 1, self.model.run_weights(position))
            return False
        return epoch + 1 - best_epoch >= patience

    def _finish(self, positions: Sequence[int] | range) -> None:
        """Hand over weights and history of the runs at these positions of the active pack."""
        for position in positions:
            index = self.active[position]
            result = self.results[index]
            _, best_epoch, best_weights = self.best[index]
            result.weights = best_weights or self.model.run_weights(position)
            result.history = np.array(self.rows[index]).reshape(-1, 6)
            result.snapshots = self.snapshots.of(index)
            result.epochs_kept = best_epoch or len(result.history)

    def _drop(self, positions: set[int]) -> None:
        """Go on with the other runs: weights, moments and noise without these."""
        keep = [p for p in range(len(self.active)) if p not in positions]
        self.active = [self.active[p] for p in keep]
        if keep:
            self.model = self.model.select(keep)
            self.optimizer = self.optimizer.select(self.model.leaves, keep)
            self.validation_noise = self.validation_noise[keep]

    # --- stop and go ---------------------------------------------------------------------------

    def state(self) -> PackState:
        """Everything that the rest of the training depends on, on the CPU."""
        position = {index: place for place, index in enumerate(self.active)}
        runs = {
            result.run.path: self._run_state(index, position.get(index))
            for index, result in enumerate(self.results)
        }
        steps, seconds = float(self.optimizer.steps), self.earlier + self.clock.seconds
        return PackState(self.place, steps, seconds, self.drawn_on.type, runs)

    def _run_state(self, index: int, position: int | None) -> RunState:
        """A run's state; its position among the active ones, None where it is done."""
        result = self.results[index]
        value, epoch, best = self.best[index]
        tensors = {"rows": torch.from_numpy(np.array(self.rows[index]).reshape(-1, 6))}
        if self.snapshots.frames[index]:
            tensors["frames"] = torch.from_numpy(np.stack(self.snapshots.frames[index]))
        if position is None:
            tensors |= {f"weights/{name}": leaf for name, leaf in result.weights.items()}
        else:
            tensors |= {f"best/{name}": leaf for name, leaf in best.items()}
            tensors |= self.streams[index].state()
            if self.own:
                buffers = self.template.named_buffers()
                tensors |= {f"buffers/{name}": value.cpu().clone() for name, value in buffers}
            tensors["weights"] = row_of(self.model.leaves, position)
            tensors["means"] = row_of(self.optimizer.means, position)
            tensors["squares"] = row_of(self.optimizer.squares, position)
            if self.sums:
                tensors["sums"] = torch.stack([terms[position] for terms in self.sums]).cpu()
        metadata = {
            "active": position is not None,
            "status": result.status,
            "reason": result.reason,
            "best": [value, epoch],
            "epochs_kept": result.epochs_kept,
        }
        return RunState(metadata, tensors)

    def _restore(self, state: PackState) -> None:
        """Take up a state again, whatever pack it was kept in."""
        self.place, self.earlier = state.place, state.seconds
        states = [state.runs[result.run.path] for result in self.results]
        for index, (result, one) in enumerate(zip(self.results, states, strict=True)):
            result.status, result.reason = one.metadata["status"], one.metadata["reason"]
            value, epoch = one.metadata["best"]
            self.best[index] = (value, epoch, _below("best/", one.tensors))
            self.rows[index] = list(one.tensors["rows"].numpy())
            if "frames" in one.tensors:
                self.snapshots.frames[index] = list(one.tensors["frames"].numpy())
            if not one.metadata["active"]:
                result.weights = _below("weights/", one.tensors)
                result.history = one.tensors["rows"].numpy()
                result.snapshots = self.snapshots.of(index)
                result.epochs_kept = one.metadata["epochs_kept"]
        self.active = [index for index, one in enumerate(states) if one.metadata["active"]]
        if self.active:
            self._restore_active([states[index].tensors for index in self.active], state.steps)

    def _restore_active(self, tensors: Sequence[Mapping[str, Tensor]], steps: float) -> None:
        """Weights, moments, noise and streams of the runs that still train."""

        def leaves(name: str) -> list[Tensor]:
            return from_rows([one[name] for one in tensors], self.model.leaves)

        self.model = StackedVAE(self.model.template, leaves("weights"))
        self.optimizer = self.optimizer.select(self.model.leaves, self.active)
        self.optimizer.means, self.optimizer.squares = leaves("means"), leaves("squares")
        self.optimizer.steps = torch.full_like(self.optimizer.steps, steps)
        self.validation_noise = self.validation_noise[self.active]
        for name, value in self.template.named_buffers():
            if f"buffers/{name}" in tensors[0]:
                value.copy_(tensors[0][f"buffers/{name}"])
        if "sums" in tensors[0]:
            self.sums = list(torch.stack([one["sums"] for one in tensors], 1).to(self.device))
        for index, one in zip(self.active, tensors, strict=True):
            self.streams[index].restore(one)

    # --- small things --------------------------------------------------------------------------

    @property
    def _wide(self) -> torch.dtype:
        """float64 where the device has it."""
        return torch.float32 if self.device.type == "mps" else torch.float64

    def _clip(self, part: slice) -> Tensor | None:
        """Largest gradient norm of some active runs, [runs]; infinite where a run has none."""
        limits = [self.each[i]["gradient_clip"] for i in self.active[part]]
        if all(value is None for value in limits):
            return None
        largest = [math.inf if value is None else value for value in limits]
        return torch.tensor(largest, device=self.device, dtype=torch.float32)

    def _numbers(self, epoch: int) -> list[Tensor]:
        """The objective's numbers in this epoch, [runs] each, then the epoch where it is read."""
        each = [
            warmed_up(self.objective, self.results[i].run, self.each[i], epoch) for i in self.active
        ]
        numbers = [
            torch.tensor([one[name] for one in each], device=self.device, dtype=torch.float32)
            for name in self.objective.numbers
        ]
        now = self._epoch(epoch)
        return numbers if now is None else [*numbers, now]

    def _epoch(self, epoch: int) -> Tensor | None:
        """The epoch as a tensor, which a traced step can take; None unless it is read."""
        if not self.objective.reads_epoch:
            return None
        return torch.tensor(float(epoch), device=self.device)


def _below(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {
        name.removeprefix(prefix): tensor
        for name, tensor in tensors.items()
        if name.startswith(prefix)
    }


def mapped_terms(
    objective: Objective,
    model: StackedVAE,
    stacked: tuple[Tensor, Tensor, Tensor],
    weight: Tensor,
    split_size: int,
    epoch: Tensor | None = None,
) -> dict[str, Tensor]:
    """Terms of every run by name, [runs, batch] each.

    Args:
        objective: gives the terms.
        model: the pack.
        stacked: observed variable, context and noise, [runs, batch, ...].
        weight: see `Batch`; the same for all runs, as is the rest.
        split_size: see `Batch`.
        epoch: see `Batch`.
    """

    def terms(one: BoundVAE, x: Tensor, context: Tensor, noise: Tensor) -> dict[str, Tensor]:
        return objective.terms(one, Batch(x, context, noise, weight, split_size, epoch))

    values: dict[str, Tensor] = model.map(terms, *stacked)
    return {name: values[name] for name in objective.names}


def warmed_up(
    objective: Objective, run: Run, settings: Mapping[str, Any], epoch: int
) -> dict[str, float]:
    """A run's numbers in an epoch, counted from 0."""
    share = min(1.0, epoch / run.kl_warmup_epochs) if run.kl_warmup_epochs else 1.0
    numbers = objective.run_numbers(run, settings)
    return {
        name: value * (share if name in objective.warmed else 1.0)
        for name, value in numbers.items()
    }


STAGES = 8


def step_size(settings: Mapping[str, Any], epoch: int) -> float:
    """Adam's step size in an epoch, counted from 0, under the config's schedule.

    `staged` is that of Burda, Grosse and Salakhutdinov (2016): stage i of eight takes 3^i passes
    at 10^(−i/7) times the first step size; here the stages share out whatever epochs there are.
    """
    share = epoch / settings["epochs"]
    factor = 1.0
    if settings["learning_rate_schedule"] == "cosine":
        factor = 0.5 * (1 + math.cos(math.pi * share))
    if settings["learning_rate_schedule"] == "staged":
        passes = share * (3**STAGES - 1) / 2
        stage = next(i for i in range(STAGES) if passes < (3 ** (i + 1) - 1) / 2)
        factor = 10 ** (-stage / (STAGES - 1))
    return float(settings["learning_rate"] * factor)


def history_row(
    objective: Objective, terms: NDArray[np.float64], numbers: Mapping[str, float]
) -> NDArray[np.float64]:
    """Distortion, rate and objective of training, then of validation: [6].

    Args:
        objective: gives the columns.
        terms: means of the terms of both splits, [2, terms].
        numbers: the run's, without warm-up.
    """
    means = dict(zip(objective.names, terms.T, strict=True))
    return np.column_stack(list(objective.columns(means, numbers).values())).ravel()


def _weights(batch: int, size: int, like: Tensor) -> Tensor:
    """Weights of the examples of a batch of which the first `size` count, [batch]."""
    return (torch.arange(batch, device=like.device) < size).to(like.dtype) / size


def _summed(terms: Sequence[Tensor], dtype: torch.dtype) -> Tensor:
    """Terms [runs, n] summed over the examples: [runs, terms]."""
    return torch.stack([term.sum(-1, dtype=dtype) for term in terms], dim=-1)


def _even(size: int) -> int:
    """`size` rounded up to a multiple of 16 examples.

    On a CPU, vectorised kernels round the last few elements of a tensor differently. In batches of
    16 no element of any run is among them, so that a run's result does not depend on its pack.
    """
    return -(-size // 16) * 16


def clipped_each_run(gradients: Sequence[Tensor], largest: Tensor) -> list[Tensor]:
    """Gradients [runs, ...], those of each run scaled to a common norm of at most `largest` [runs].

    A run whose largest norm is infinite keeps its gradients.
    """
    squares = [gradient.square().flatten(1).sum(1) for gradient in gradients]
    # Added one by one: a reduction rounds in another order when the pack has one run.
    norm = reduce(torch.add, squares).sqrt()
    factor = (norm.clamp_min(1e-12).reciprocal() * largest).clamp_max(1.0)
    factor = factor.masked_fill(largest.isinf(), 1.0)
    return [gradient * factor.reshape(-1, *[1] * (gradient.ndim - 1)) for gradient in gradients]


class Stopwatch:
    """Wall seconds since it was made."""

    def __init__(self) -> None:
        self.start = time.perf_counter()

    @property
    def seconds(self) -> float:
        """Seconds since the start."""
        return time.perf_counter() - self.start
