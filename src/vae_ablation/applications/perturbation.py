"""In-silico perturbation: conditions that no run has seen, by arithmetic on codes.

The effect of a perturbation is a vector in latent space, the difference of mean codes, and is added
to the codes of control cells (scGen: Lotfollahi, Wolf, Theis, Nature Methods 2019). Two tasks:

- transfer: perturbation p, held out in label c, from its effect in the other labels;
- combination: perturbation a+b, held out everywhere, from the effects of a and of b alone.

An effect is the mean over labels of each label's own difference, so that labels which are common
among the perturbed cells and rare among the controls do not pass for an effect.

Two ways to write a profile of expression, because the logarithm of a mean is not the mean of a
logarithm, and which of the two a count model is asked for decides who looks biased:

- measured: the mean over cells of log-normalised counts. The model's is its predictive mean, over
  draws from p(x | z), as in `mse_log1p`.
- noise-free (metrics that begin with truth_): log1p of the mean expression per 10,000 molecules.
  The truth is the simulation's, the model's comes from decoder means, the baseline's from counts.

A change is a difference to controls. The true change and the predicted one take disjoint halves of
each label's controls: with the same controls on both sides their noise alone correlates at 0.5 and
more where nothing has an effect. Permutations of held-out cells and the truth's controls within
each label say whether there is an effect, and what correlation a prediction has with noise alone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cache, lru_cache
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats

from vae_ablation.applications.base import PERMUTATIONS, TRUTH, Application
from vae_ablation.applications.paths import label_name
from vae_ablation.common.registry import register
from vae_ablation.data.base import HELD_OUT, TRAIN, Cells, Dataset
from vae_ablation.data.counts import log_normalized
from vae_ablation.models.streams import stream
from vae_ablation.store.applied import Applied, permutation_p
from vae_ablation.store.trained import TrainedRun

Array = NDArray[np.float64]
Rows = NDArray[np.int64]
Mean = Callable[[int, int], Array]
Spaces = dict[str, tuple[Array, Array]]
"""For each way to write a profile: the condition's, and the control's; [genes] each."""

CONTROL = 0
MEASURED, NOISE_FREE = "", "truth_"
SCALE = 1e4
BLOCK = 512
MAX_CELLS = 2000
NULL_BYTES = 2**28
"""Memory for permuted changes that are kept for the next run."""
MAX_SHOWN = 8
_FLAT = 1e-6


@dataclass(frozen=True)
class Condition:
    """A held-out condition, and the effects from which it is predicted.

    Attributes:
        subject: "a+b", or "label:p".
        perturbation: of the held-out cells.
        parts: perturbations whose effects are added.
        sources: for each part, the labels in which its effect is seen.
        weights: share of the held-out cells in each label that is predicted.
    """

    subject: str
    perturbation: int
    parts: tuple[int, ...]
    sources: tuple[tuple[int, ...], ...]
    weights: dict[int, float]


class Groups:
    """Cells by perturbation and label: those that runs train on, and those held out.

    Args:
        dataset: with perturbations; without any label all cells count as one label.
        min_cells: a group of fewer counts as absent, as do fewer than two controls.
        seed: of the halves of the controls.
    """

    def __init__(self, dataset: Dataset, min_cells: int, seed: int = 0) -> None:
        self.cells = _cells(dataset)
        self.labels = dataset.labels if dataset.has_labels else np.zeros_like(dataset.labels)
        keys = [dataset.split, self.cells.perturbation, self.labels]
        table = pd.DataFrame(dict(zip("spc", keys, strict=True)))
        found: Any = table.groupby(["s", "p", "c"]).indices
        self._rows: dict[tuple[int, int, int], Rows] = {
            key: rows for key, rows in found.items() if min(key[1:]) >= 0
        }
        self._min_cells, self._seed = min_cells, seed

    def train(self, perturbation: int, label: int) -> Rows:
        """Positions of the train cells that predictions use; none if they are too few.

        Of the controls the half that `truth_controls` leaves.
        """
        return (
            self._halves(label)[1]
            if perturbation == CONTROL
            else self._take(TRAIN, perturbation, label)
        )

    def truth_controls(self, label: int) -> Rows:
        """Positions of the half of a label's controls that held-out cells are compared with."""
        return self._halves(label)[0]

    def _halves(self, label: int) -> tuple[Rows, Rows]:
        """A label's train controls in two random halves; the second has the odd one."""
        rows = self._take(TRAIN, CONTROL, label)
        mixed = np.random.default_rng([self._seed, 17, label]).permutation(rows)
        return np.sort(mixed[: len(rows) // 2]), np.sort(mixed[len(rows) // 2 :])

    def held_out(self, perturbation: int, label: int) -> Rows:
        """Positions of the held-out cells, likewise."""
        return self._take(HELD_OUT, perturbation, label)

    def learned(self, perturbation: int) -> tuple[int, ...]:
        """Labels in which train cells have the perturbation, and others are controls."""
        both = self._labels(TRAIN, perturbation) & self._labels(TRAIN, CONTROL)
        return tuple(sorted(both))

    def unseen(self, perturbation: int) -> tuple[int, ...]:
        """Labels where every cell of the perturbation is held out, and there are controls."""
        seen = {c for s, p, c in self._rows if p == perturbation and s != HELD_OUT}
        held = self._labels(HELD_OUT, perturbation) & self._labels(TRAIN, CONTROL)
        return tuple(sorted(held - seen))

    def _labels(self, split: int, perturbation: int) -> set[int]:
        return {
            int(c)
            for s, p, c in self._rows
            if (s, p) == (split, perturbation) and len(self._take(s, p, c))
        }

    def _take(self, split: int, perturbation: int, label: int) -> Rows:
        rows = self._rows.get((split, perturbation, label), np.empty(0, np.int64))
        least = max(self._min_cells, 2 if perturbation == CONTROL else 1)
        return rows if len(rows) >= least else rows[:0]


def _cells(dataset: Dataset) -> Cells:
    assert dataset.cells is not None
    return dataset.cells


def conditions(groups: Groups) -> list[Condition]:
    """The held-out conditions that can be predicted from what runs have seen."""
    names = groups.cells.perturbation_names
    found: list[Condition] = []
    for perturbation in range(1, len(names)):
        if groups.learned(perturbation):
            found += _transfers(groups, perturbation)
        else:
            found += _combination(groups, perturbation)
    return found


def _transfers(groups: Groups, perturbation: int) -> list[Condition]:
    name = groups.cells.perturbation_names[perturbation]
    return [
        Condition(
            f"{label_name(groups.cells, label)}:{name}",
            perturbation,
            (perturbation,),
            (groups.learned(perturbation),),
            {label: 1.0},
        )
        for label in groups.unseen(perturbation)
    ]


def _combination(groups: Groups, perturbation: int) -> list[Condition]:
    names = groups.cells.perturbation_names
    name = names[perturbation]
    parts = tuple(names.index(part) for part in name.split("+") if part in names[1:])
    sources = tuple(groups.learned(part) for part in parts)
    counts = {c: len(groups.held_out(perturbation, c)) for c in groups.unseen(perturbation)}
    if len(parts) != len(name.split("+")) or len(parts) < 2 or not all(sources) or not counts:
        return []
    weights = {label: n / sum(counts.values()) for label, n in counts.items()}
    return [Condition(name, perturbation, parts, sources, weights)]


def where_seen(condition: Condition) -> Condition | None:
    """A combination in those labels alone where each of its parts is seen, or None."""
    common = set(condition.weights).intersection(*condition.sources)
    if len(condition.parts) < 2 or not common:
        return None
    total = sum(condition.weights[label] for label in common)
    return replace(condition, weights={c: condition.weights[c] / total for c in sorted(common)})


@dataclass(frozen=True)
class Profile:
    """Expression of a group of cells; [genes] each.

    Attributes:
        logs: mean of the log-normalised counts.
        variance: variance of them.
        rates: mean count per 10,000 molecules.
        true: mean expression per 10,000 without noise, or None where it is not known.
    """

    logs: Array
    variance: Array
    rates: Array
    true: Array | None


def profile(dataset: Dataset, rows: Rows) -> Profile:
    """Expression of cells, at most 2,000 of them, read block by block."""
    rows = _some(rows)
    total, squares, rates = (np.zeros(dataset.observed.genes) for _ in range(3))
    for block in _blocks(rows):
        counts = dataset.rna(block).astype(np.float64)
        library = dataset.library(block).astype(np.float64)[:, None]
        logs = _log_expression(dataset, block)
        total += logs.sum(0)
        squares += np.square(logs).sum(0)
        rates += (counts * (SCALE / library)).sum(0)
    mean = total / len(rows)
    variance = np.maximum(squares / len(rows) - mean**2, 0)
    return Profile(mean, variance, rates / len(rows), _true_rates(dataset, rows))


def _log_expression(dataset: Dataset, rows: Rows) -> Array:
    """Log-normalised RNA counts, [len(rows), genes]."""
    counts = dataset.rna(rows).astype(np.float64)
    library = dataset.library(rows).astype(np.float64)[:, None]
    logs: Array = log_normalized(counts, library, SCALE)
    return logs


def _true_rates(dataset: Dataset, rows: Rows) -> Array | None:
    expected = expected_proportions(dataset, rows)
    return None if expected is None else SCALE * expected.mean(0)


def expected_proportions(dataset: Dataset, rows: Rows) -> Array | None:
    """Expected share of each gene in a simulated cell's counts, [len(rows), genes].

    Dropout removes more counts of some genes than of others, which no method can learn from counts:
    where its probabilities are known, the proportions are those after it. None without truth.
    """
    truth = _cells(dataset).truth
    if "cell/proportions" not in truth:
        return None
    left = 1 - truth.get("dropout_probability", np.zeros(1)).astype(np.float64)
    expected = truth["cell/proportions"][rows, : dataset.observed.genes] * left
    shares: Array = expected / expected.sum(1, keepdims=True)
    return shares


def _some(rows: Rows) -> Rows:
    """At most 2,000 of the positions, evenly spaced."""
    if len(rows) <= MAX_CELLS:
        return rows
    return rows[np.linspace(0, len(rows) - 1, MAX_CELLS).astype(np.int64)]


def _blocks(rows: Rows) -> list[Rows]:
    return [rows[start : start + BLOCK] for start in range(0, len(rows), BLOCK)]


def effect(parts: tuple[int, ...], sources: tuple[tuple[int, ...], ...], mean: Mean) -> Array:
    """Sum of the effects of perturbations: δ = Σ_p mean over labels of (mean of p − of control).

    Args:
        parts: perturbations.
        sources: for each of them the labels in which it is seen.
        mean: gives the mean of the train cells of a perturbation in a label, in any space.
    """
    each = [
        np.mean([mean(part, label) - mean(CONTROL, label) for label in labels], axis=0)
        for part, labels in zip(parts, sources, strict=True)
    ]
    total: Array = np.sum(each, axis=0)
    return total


class Measurements:
    """Profiles of the groups of a dataset, each computed once.

    Args:
        dataset: prepared cells.
        min_cells: a group of fewer is not used.
        seed: of the controls' halves, and of permutations.
    """

    def __init__(self, dataset: Dataset, min_cells: int, seed: int = 0) -> None:
        self.dataset, self.min_cells, self.seed = dataset, min_cells, seed
        self.groups = Groups(dataset, min_cells, seed)
        self.conditions = conditions(self.groups)
        self.train = cache(lambda p, c: profile(dataset, self.groups.train(p, c)))
        self.held_out = cache(lambda p, c: profile(dataset, self.groups.held_out(p, c)))
        self.control = cache(lambda c: profile(dataset, self.groups.truth_controls(c)))
        kept = max(1, NULL_BYTES // (4 * (PERMUTATIONS + 1) * dataset.observed.genes))
        self.permuted = lru_cache(kept)(self._permuted)

    @property
    def has_truth(self) -> bool:
        """Whether expression without noise is known."""
        return "cell/proportions" in self.groups.cells.truth

    def _log_rates(self, perturbation: int, label: int) -> Array:
        """log1p of the mean expression of train cells, as measured."""
        return np.log1p(self.train(perturbation, label).rates)

    def truth(self, condition: Condition) -> Spaces:
        """True expression of the held-out cells, and of the truth's controls of the same labels."""
        held = self._over(condition, self.held_out, condition.perturbation)
        controls = self._over(condition, lambda _, c: self.control(c), CONTROL)
        return {space: (held[space], controls[space]) for space in held}

    def _over(
        self, condition: Condition, group: Callable[[int, int], Profile], perturbation: int
    ) -> dict[str, Array]:
        found = {MEASURED: weigh(condition, lambda c: group(perturbation, c).logs)}
        if self.has_truth:
            found[NOISE_FREE] = weigh(condition, lambda c: _log_true(group(perturbation, c)))
        return found

    def raw_difference(self, condition: Condition) -> Spaces:
        """The baseline: differences of mean log expression, added to that of the controls."""
        found = {MEASURED: _added(condition, lambda p, c: self.train(p, c).logs)}
        if self.has_truth:
            found[NOISE_FREE] = _added(condition, self._log_rates)
        return found

    def top_genes(self, condition: Condition, n: int) -> Rows:
        """The `n` genes of largest |difference of means| / standard deviation within labels.

        Held-out cells against controls, as measured; a gene that does not vary at all comes last.
        """
        change = weigh(condition, lambda c: self._change(condition, c))
        spread = np.sqrt(weigh(condition, lambda c: self._variance(condition, c)))
        size = np.divide(np.abs(change), spread, out=np.zeros_like(change), where=spread > 0)
        return np.argsort(-size, kind="stable")[:n]

    def _change(self, condition: Condition, label: int) -> Array:
        held = self.held_out(condition.perturbation, label).logs
        return held - self.control(label).logs

    def _variance(self, condition: Condition, label: int) -> Array:
        held = self.held_out(condition.perturbation, label).variance
        return (held + self.control(label).variance) / 2

    def _permuted(self, index: int) -> NullChanges:
        """Permuted changes of a condition."""
        condition = self.conditions[index]
        random = np.random.default_rng([self.seed, 18, index])
        shape = (PERMUTATIONS + 1, self.dataset.observed.genes)
        changes, noise, variance = np.zeros(shape), np.zeros(shape), np.zeros(shape[1])
        for label, weight in condition.weights.items():
            held = _some(self.groups.held_out(condition.perturbation, label))
            rows = np.concatenate([held, _some(self.groups.truth_controls(label))])
            dealt = _dealt(len(held), len(rows) - len(held), random)
            found, spread = _dealt_changes(self.dataset, rows, dealt)
            changes += weight * found
            noise += weight * (found - dealt[:, : len(held)].sum(1, keepdims=True) * found[0])
            variance += weight * spread
        varies = variance > 0
        sizes = (np.square(changes[:, varies]) / variance[varies]).sum(1)
        return NullChanges(changes[0], noise[1:].astype(np.float32), permutation_p(sizes))

    def interaction(self, condition: Condition) -> Array:
        """True expression of a combination beyond the sum of its parts' effects, [genes].

        T(a+b) − T(a) − T(b) + T(control), T the noise-free profile in the condition's labels.
        """
        whole, control = self.truth(condition)[NOISE_FREE]
        parts = [self._over(condition, self.train, part)[NOISE_FREE] for part in condition.parts]
        beyond: Array = whole - control - np.sum([part - control for part in parts], axis=0)
        return beyond


def _dealt(first: int, second: int, random: np.random.Generator) -> Array:
    """[1 + permutations, cells] weights that give mean of the first group − mean of the second.

    The first row is of the groups as they are; in the others cells are dealt at random.
    """
    own = np.concatenate([np.full(first, 1 / first), np.full(second, -1 / second)])
    weights: Array = np.stack([own, *(random.permutation(own) for _ in range(PERMUTATIONS))])
    return weights


def _dealt_changes(dataset: Dataset, rows: Rows, dealt: Array) -> tuple[Array, Array]:
    """Changes of log expression that weights give, [len(dealt), genes], and the cells' variance."""
    genes = dataset.observed.genes
    changes, total, squares = np.zeros((len(dealt), genes)), np.zeros(genes), np.zeros(genes)
    for part in _blocks(np.arange(len(rows))):
        logs = _log_expression(dataset, rows[part])
        changes += dealt[:, part] @ logs
        total += logs.sum(0)
        squares += np.square(logs).sum(0)
    return changes, np.maximum(squares / len(rows) - (total / len(rows)) ** 2, 0)


@dataclass(frozen=True)
class NullChanges:
    """The true change of a condition, and changes as chance alone makes them.

    Attributes:
        change: [genes] held-out cells − controls, log expression.
        noise: [permutations, genes] the same of cells that were dealt at random, each cell less
            the mean of its own group, so that nothing of the effect is left in it.
        effect_p: permutation p of the sum over genes of change² / variance within labels (there
            the cells are as they are): whether there is a change at all.
    """

    change: Array
    noise: NDArray[np.float32]
    effect_p: float

    def correlations(self, predicted: Array) -> Array | None:
        """[1 + permutations] Pearson's correlation of a predicted change with change and noise.

        None where one of them is flat.
        """
        if min(np.ptp(predicted), np.ptp(self.change), np.ptp(self.noise, axis=1).min()) <= _FLAT:
            return None
        rows = np.vstack([self.change, self.noise])
        rows -= rows.mean(1, keepdims=True)
        centred = predicted - predicted.mean()
        size = np.linalg.norm(rows, axis=1) * np.linalg.norm(centred)
        found: Array = rows @ centred / size
        return found


def _added(condition: Condition, mean: Mean) -> tuple[Array, Array]:
    """Mean of the controls with the effects, and without."""
    control = weigh(condition, lambda c: mean(CONTROL, c))
    return control + effect(condition.parts, condition.sources, mean), control


def _log_true(group: Profile) -> Array:
    assert group.true is not None
    return np.log1p(group.true)


def weigh(condition: Condition, of_label: Callable[[int], Array]) -> Array:
    """Mean over labels, weighted as the held-out cells are spread over them."""
    total: Array = np.sum([w * of_label(c) for c, w in condition.weights.items()], axis=0)
    return total


class Arithmetic:
    """Predictions of one trained model.

    Args:
        model: the run.
        measured: the groups of its dataset.
        draws: draws from p(x | z) per cell, for the predictive mean.
        seed: of the draws.
    """

    def __init__(self, model: TrainedRun, measured: Measurements, draws: int, seed: int) -> None:
        self.model, self.dataset, self.groups = model, measured.dataset, measured.groups
        self.draws, self.seed = draws, seed
        self.mean_code = cache(lambda p, c: self._codes(self.groups.train(p, c)).mean(0))
        self._control_codes = cache(lambda c: self._codes(self.groups.train(CONTROL, c)))
        self._unmoved = cache(lambda c: self._decode(c, np.zeros(1), self.draws))

    def predict(self, condition: Condition) -> Spaces:
        """Profiles with the effects added to the codes of the controls, and without.

        The control is the model's own: what it decodes from the same codes unmoved. Against the
        measured control the predicted change would share that control's noise with the true one.
        """
        delta = effect(condition.parts, condition.sources, self.mean_code)
        moved = {c: self._decode(c, delta, self.draws) for c in condition.weights}
        return {
            MEASURED: (
                weigh(condition, lambda c: moved[c][0]),
                weigh(condition, lambda c: self._unmoved(c)[0]),
            ),
            NOISE_FREE: (
                weigh(condition, lambda c: np.log1p(moved[c][1])),
                weigh(condition, lambda c: np.log1p(self._unmoved(c)[1])),
            ),
        }

    def interaction(self, condition: Condition) -> Array:
        """[genes] log1p of mean expression that decoding adds to the sum of the parts' effects."""
        deltas = [
            effect((part,), (labels,), self.mean_code)
            for part, labels in zip(condition.parts, condition.sources, strict=True)
        ]
        whole, control = (
            self._log_rates(condition, d) for d in (np.sum(deltas, axis=0), np.zeros(1))
        )
        parts = [self._log_rates(condition, delta) - control for delta in deltas]
        beyond: Array = whole - control - np.sum(parts, axis=0)
        return beyond

    def _log_rates(self, condition: Condition, delta: Array) -> Array:
        return weigh(condition, lambda c: np.log1p(self._decode(c, delta, draws=0)[1]))

    def _codes(self, rows: Rows) -> Array:
        """[cells, latent] posterior means, of at most 2,000 cells."""
        found = [
            self.model.encode(self.dataset.x[block], self._context(block)).mean.numpy()
            for block in _blocks(_some(rows))
        ]
        codes: Array = np.concatenate(found).astype(np.float64)
        return codes

    def _context(self, rows: Rows) -> NDArray[np.float32]:
        return self.dataset.context(rows, self.model.run.condition)

    def _decode(self, label: int, delta: Array, draws: int) -> tuple[Array, Array]:
        """Mean log-normalised draws and mean rate per 10,000 of a label's controls, moved by δ."""
        rows = _some(self.groups.train(CONTROL, label))
        genes = self.dataset.observed.genes
        # The same noise for every δ: what is left of a difference is δ's.
        generator = stream(self.seed, "perturbation")
        logs, rates = np.zeros(genes), np.zeros(genes)
        moved = (self._control_codes(label) + delta).astype(np.float32)
        for z, block in zip(np.split(moved, range(BLOCK, len(rows), BLOCK)), _blocks(rows),
                            strict=True):  # fmt: skip
            library = self.dataset.library(block).astype(np.float64)[:, None]
            decoded = self.model.decode(z, self._context(block))
            rates += (decoded.mean[:, :genes].double().numpy() * (SCALE / library)).sum(0)
            for _ in range(draws):
                drawn = decoded.sample(generator)[:, :genes].double().numpy()
                logs += log_normalized(drawn, library, SCALE).sum(0) / draws
        return logs / len(rows), rates / len(rows)


def r2(predicted: Array, true: Array) -> float | None:
    """1 − Σ (true − predicted)² / Σ (true − mean)²: of the errors, no squared correlation.

    It is below 0 for what is worse than the mean of all genes; None where nothing varies.
    """
    total = float(np.square(true - true.mean()).sum())
    return 1 - float(np.square(true - predicted).sum()) / total if total > 0 else None


def correlation(a: Array, b: Array, ranks: bool = False) -> float | None:
    """Pearson's correlation, or Spearman's; None where either side is flat."""
    if len(a) < 2 or min(np.ptp(a), np.ptp(b)) <= _FLAT:
        return None
    found = stats.spearmanr(a, b) if ranks else stats.pearsonr(a, b)
    return float(found.statistic)


def score(predicted: tuple[Array, Array], true: tuple[Array, Array], top: Rows) -> dict[str, Any]:
    """Scores of one prediction.

    Args:
        predicted: profile of the condition and of the control, as one method has them.
        true: the same, of real cells.
        top: the most differential genes.
    """
    (profile_, base), (truth, control) = predicted, true
    return {
        "r2": r2(profile_, truth),
        "spearman": correlation(profile_, truth, ranks=True),
        "r2_top": r2(profile_[top], truth[top]),
        "spearman_top": correlation(profile_[top], truth[top], ranks=True),
        "delta_pearson": correlation(profile_ - base, truth - control),
    }


@register
class Perturbation(Application):
    """Held-out perturbations and combinations, predicted from those in the train split."""

    name = "perturbation"

    def __init__(self) -> None:
        self._last: Measurements | None = None

    def missing(self, dataset: Dataset) -> str | None:
        """Perturbations are needed, and some of them held out."""
        if dataset.cells is None or dataset.cells.perturbation is None:
            return "names no perturbations"
        if not conditions(Groups(dataset, 1)):
            return "holds out no perturbation that could be predicted from what is left"
        return None

    def apply(
        self, model: TrainedRun, dataset: Dataset, settings: Mapping[str, Any], seed: int
    ) -> Applied:
        """Score latent arithmetic ("vae"), raw differences and no change at all ("control").

        Rows of method "truth" have the permutation p of there being a change at all (effect_p).

        Settings: top_genes (most differential genes), min_cells (groups of fewer are not used),
        draws (from p(x | z), per control cell).
        """
        measured = self._measurements(dataset, settings["min_cells"], seed)
        if not measured.conditions:
            return Applied(
                reason=f"needs groups of {settings['min_cells']} cells (min_cells): held-out, "
                "controls of the same label, and cells with what a prediction is made from; no "
                "held-out condition has them all"
            )
        arithmetic = Arithmetic(model, measured, settings["draws"], seed)
        applied = Applied()
        shown: list[dict[str, Any]] = []
        for index, condition in enumerate(measured.conditions):
            null = measured.permuted(index)
            applied.add(condition.subject, TRUTH, "effect_p", null.effect_p)
            true, top = (
                measured.truth(condition),
                measured.top_genes(condition, settings["top_genes"]),
            )
            raw = measured.raw_difference(condition)
            control = {space: (base, base) for space, (_, base) in raw.items()}
            methods = {"vae": arithmetic.predict(condition), "raw_difference": raw}
            for method, predicted in (methods | {"control": control}).items():
                _add(applied, condition.subject, method, predicted, true, top)
                _add_null(applied, condition.subject, method, predicted, null)
            seen = where_seen(condition)
            if seen is not None and measured.has_truth:
                found = correlation(arithmetic.interaction(seen), measured.interaction(seen))
                applied.add(condition.subject, "vae", "interaction_pearson", found)
            shown.append(_shown(condition.subject, true, methods, top))
        applied.arrays.update(_stack(shown[:MAX_SHOWN], measured.groups.cells.features))
        return applied

    def _measurements(self, dataset: Dataset, min_cells: int, seed: int) -> Measurements:
        """Measurements, which do not depend on the run, kept for the next run of the dataset."""
        last, wanted = self._last, (min_cells, seed)
        if last is None or last.dataset is not dataset or (last.min_cells, last.seed) != wanted:
            self._last = last = Measurements(dataset, min_cells, seed)
        return last


def _add(
    applied: Applied, subject: str, method: str, predicted: Spaces, true: Spaces, top: Rows
) -> None:
    for space, truth in true.items():
        for metric, value in score(predicted[space], truth, top).items():
            applied.add(subject, method, f"{space}{metric}", value)


def _add_null(
    applied: Applied, subject: str, method: str, predicted: Spaces, null: NullChanges
) -> None:
    """delta_pearson of a method by chance: mean and 95th percentile, and its p."""
    profile_, base = predicted[MEASURED]
    found = null.correlations(profile_ - base)
    if found is None:
        return
    applied.add_null(subject, method, "delta_pearson", found)


def _shown(subject: str, true: Spaces, methods: dict[str, Spaces], top: Rows) -> dict[str, Any]:
    """Measured profiles of one condition for figures."""
    profiles = {"true": true[MEASURED][0], "control": true[MEASURED][1]}
    profiles |= {method: spaces[MEASURED][0] for method, spaces in methods.items()}
    kept = {name: values.astype(np.float32) for name, values in profiles.items()}
    return kept | {"subjects": np.array(subject), "top": top}


def _stack(shown: list[dict[str, Any]], features: tuple[str, ...]) -> dict[str, NDArray[Any]]:
    """Arrays subjects [s]; true, control, vae, raw_difference [s, genes]; top [s, top]; genes."""
    if not shown:
        return {}
    arrays = {name: np.stack([one[name] for one in shown]) for name in shown[0]}
    return arrays | {"genes": np.array(features[: arrays["true"].shape[1]])}
