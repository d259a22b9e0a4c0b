r"""Cells whose truth is known: counts that this module draws from a stated model.

In the manner of Splatter (Zappia, Phipson and Oshlack 2017) and of scVI's generative model (Lopez
et al. 2018). For cell n, gene g, programme k, batch b(n), perturbation p(n) and state s(n):

* each gene has a baseline ~ N(0, 1), a dispersion θ_g, log-normal around 5, and loadings on
  programmes: each programme raises 12 % of the genes, by Gamma(4) with mean 1.5.
* programme activities a_nk ≥ 0 follow the cell's state, and along the trajectory its pseudotime
  (`programme_curves`); each is multiplied by exp(JITTER · ε), ε ~ N(0, 1). Two programmes are
  shared by all states: their activities are uniform on [0, 1], whatever the state.
* noise-free proportions π_n = softmax_g(baseline_g + Σ_k a_nk loadings_kg + δ_{p,g} + δ_{p,s,g}).
  δ_{p,g}, the perturbation's effect, is a log fold change before normalisation; δ_{p,s,g} is what
  state s adds to it. Of a combination p+q, δ_{p+q,g} = δ_{p,g} + δ_{q,g} + interaction_{p+q,g}.
* rate r_ng = ℓ_n · softmax_g(log π_ng + batch_effect_{b,g}); batch effects sum to 0 over batches.
  The library size ℓ_n is log-normal around the batch's median, batch_library_b.
* counts before dropout y_ng ~ NB(mean r_ng, dispersion θ_g): variance r + r²/θ.
* dropout: x_ng = 0 with probability d_g = 1 / (1 + exp(DROPOUT_SLOPE · (log m_g − midpoint))), and
  y_ng else, where m_g is the mean of r_ng over cells. The midpoint is such that the option
  `dropout` is the share of positive y that are expected to be lost.
* proteins, counted in the same cells: NB(mean μ_nj, dispersion θ_j) with
  log μ_nj = protein_baseline_j + Σ_k a_nk protein_loadings_kj. Neither the library size nor batch,
  dropout or perturbation touches them.

Three in five cells are controls; the others are shared evenly by the perturbations, in every state
alike. Held out, so that no split has them, is what there is of the last single perturbation pK in
combination, and pK in branch B. So pK is seen in other states and its partners are seen, but of
pK in branch B nothing is.

What is kept in `Cells.truth` ([K] counts programmes, [P] perturbations with the control as 0):

* cell/pseudotime [n], −1 outside the trajectory; cell/branch [n], 0 the trunk, 1 branch A,
  2 branch B, −1 none; cell/programmes a [n, K]; cell/library ℓ [n]; cell/proportions π [n, genes],
  with the perturbation and without batch effect and dropout; cell/dropout [n, genes], true where
  dropout struck (also where y was 0 already); cell/protein_mean μ [n, proteins].
* programme_names [K]; baseline, dispersion, dropout_probability [genes]; loadings [K, genes];
  batch_effect [batches, genes]; batch_library [batches]; trajectory, unicode [paths, states]: the
  labels in the order of pseudotime along each path; path_start and path_end, the labels of a
  natural path's ends.
* with proteins: protein_baseline, protein_dispersion [proteins]; protein_loadings [K, proteins].
* perturbation_effect δ_p and interaction [P, genes] (0 for the control and, of interaction, for
  singles); state_effect δ_{p,s} [P, labels, genes].
* with perturbations, of each held-out condition: held_out_names, held_out_perturbation,
  held_out_label (−1: in all states), held_out_mean [conditions, genes], the mean of π over its
  cells, and held_out_expected, the same with batch effect and dropout: the mean of the expected
  counts, divided by their sum.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, softmax

from vae_ablation.common.errors import UserError
from vae_ablation.common.registry import register
from vae_ablation.data.base import Cells, Observed, Options, RawData, Source, generator

Array = NDArray[np.float64]
Integers = NDArray[np.int64]
Truth = dict[str, NDArray[Any]]


@dataclass(frozen=True)
class State:
    """One label: its share of the cells and, on the trajectory, its branch and its pseudotimes."""

    name: str
    share: float
    branch: int = -1
    begin: float = -1.0
    end: float = -1.0


STATES = (
    State("stem", 0.16, 0, 0.0, 0.25),
    State("early", 0.16, 0, 0.25, 0.5),
    State("branch A", 0.2, 1, 0.5, 1.0),
    State("branch B", 0.2, 2, 0.5, 1.0),
    State("cluster 1", 0.14),
    State("cluster 2", 0.14),
)
TRAJECTORY = (("stem", "early", "branch A"), ("stem", "early", "branch B"))
"""Labels in the order of pseudotime, along either branch."""
LABELS = tuple(state.name for state in STATES)
HELD_OUT_STATE = LABELS.index("branch B")

SHARED_PROGRAMMES = ("cycle", "stress")
PROGRAMMES = (*LABELS, *SHARED_PROGRAMMES)

CONTROL_SHARE = 0.6
TREATED_SHARE = 1 - CONTROL_SHARE
COUNTS_PER_GENE = 8.0
BATCH_DEPTH = 0.5  # log ratio of the first batch's median library size to the last one's
LIBRARY_SPREAD = 0.35
BATCH_SPREAD = 0.25
JITTER = 0.15
DROPOUT_SLOPE = 1.0
STATE_SPREAD = 0.3  # of an effect in one state around the effect in all, relative to it
# Beyond nine, names of perturbations no longer sort as text.
MOST_PERTURBATIONS = 9
# Dense arrays of that many counts, several of them at once, still fit in a laptop's memory.
MOST_COUNTS = 100_000_000

_PARTS = (
    *("states", "cells", "genes", "perturbations", "effects", "batches", "batch_effects"),
    *("library", "counts", "dropout", "proteins", "protein_counts"),
)


def _streams(seed: int) -> dict[str, np.random.Generator]:
    """One random stream a part of the model, so that an option changes no other part's draw."""
    spawned = generator(seed, "draw").spawn(len(_PARTS))
    return dict(zip(_PARTS, spawned, strict=True))


def _allot(shares: Array, n: int, random: np.random.Generator) -> Integers:
    """[n] a class for each of n cells, in random order; each class gets its share to one cell.

    This is systematic sampling: evenly spaced points, moved by one draw, on the line of shares.
    """
    points = (np.arange(n) + random.random()) / n
    classes = np.searchsorted(np.cumsum(shares)[:-1], points, side="right")
    return random.permutation(classes).astype(np.int64)


def _rise(time: Array, begin: float, end: float) -> Array:
    """0 up to `begin`, 1 from `end` on; a smooth step (3u² − 2u³) between."""
    u = np.clip((time - begin) / (end - begin), 0, 1)
    return u**2 * (3 - 2 * u)


def _sparse(
    random: np.random.Generator, shape: tuple[int, int], share: float, mean: float
) -> Array:
    """Non-negative, about `share` of each row positive (one at least): Gamma(4), of that mean."""
    most = max(1, round(share * shape[1]))
    chosen = random.random(shape).argsort(1).argsort(1) < most
    return np.where(chosen, random.gamma(4.0, mean / 4.0, shape), 0.0)


def _signed(sizes: Array, random: np.random.Generator) -> Array:
    """Up or down, as likely."""
    return sizes * random.choice([-1.0, 1.0], sizes.shape)


# --- cells ---------------------------------------------------------------------------------------


def programme_curves(label: Integers, pseudotime: Array) -> Array:
    """[n, states] mean activities of the states' own programmes.

    The stem's programme fades while the early one rises; from the fork at 0.5 on, the early one
    fades while the branch's rises, fast at first and up to the end. A cluster outside the
    trajectory has its own programme switched on.

    Args:
        label: [n] index in STATES.
        pseudotime: [n] from 0 to 1 on the trajectory; elsewhere it is not looked at.
    """
    curves = (label[:, None] == np.arange(len(STATES))).astype(np.float64)
    on_trajectory = _branches(label) >= 0
    late = 1 - (1 - np.clip((pseudotime - 0.5) / 0.5, 0, 1)) ** 3
    early = _rise(pseudotime, 0.1, 0.4)
    curves[:, 0] = on_trajectory * (1 - early)
    curves[:, 1] = on_trajectory * early * (1 - late)
    curves[:, 2:4] *= late[:, None]
    return curves


def _branches(label: Integers) -> Integers:
    return np.array([state.branch for state in STATES])[label]


def _draw_cells(label: Integers, random: np.random.Generator) -> Truth:
    """State and pseudotime of each cell, and the activity of its programmes.

    Pseudotime is Beta(2, 2) within the state's interval: fewer cells are in transition than in a
    state.
    """
    n = len(label)
    begin = np.array([state.begin for state in STATES])[label]
    end = np.array([state.end for state in STATES])[label]
    pseudotime = begin + (end - begin) * random.beta(2.0, 2.0, n)
    curves = programme_curves(label, pseudotime)
    jitter = np.exp(JITTER * random.standard_normal(curves.shape))
    shared = random.random((n, len(SHARED_PROGRAMMES)))
    return {
        "cell/pseudotime": pseudotime,
        "cell/branch": _branches(label),
        "cell/programmes": np.concatenate([curves * jitter, shared], axis=1),
    }


def _draw_genes(genes: int, random: np.random.Generator) -> Truth:
    """Baseline and dispersion of each gene, and its loading on every programme."""
    return {
        "baseline": random.standard_normal(genes),
        "dispersion": np.exp(math.log(5.0) + 0.4 * random.standard_normal(genes)),
        "loadings": _sparse(random, (len(PROGRAMMES), genes), 0.12, 1.5),
    }


# --- perturbations -------------------------------------------------------------------------------


def perturbation_parts(singles: int) -> tuple[tuple[int, ...], ...]:
    """Each perturbation as the single ones in it: none (the control), each, then each pair."""
    one = range(1, singles + 1)
    return ((), *((part,) for part in one), *combinations(one, 2))


def perturbation_names(singles: int) -> tuple[str, ...]:
    """control, p1, p2, …, p1+p2, …"""
    parts = perturbation_parts(singles)
    return tuple("+".join(f"p{one}" for one in each) or "control" for each in parts)


def _assign_perturbations(label: Integers, singles: int, random: np.random.Generator) -> Integers:
    """[n] perturbation of each cell: the same shares in every state."""
    treated = len(perturbation_parts(singles)) - 1
    shares = np.array([CONTROL_SHARE, *[TREATED_SHARE / treated for _ in range(treated)]])
    perturbation = np.zeros_like(label)
    for state in range(len(STATES) if singles else 0):
        cells = np.flatnonzero(label == state)
        perturbation[cells] = _allot(shares, len(cells), random)
    return perturbation


def _draw_effects(singles: int, genes: int, random: np.random.Generator) -> Truth:
    """perturbation_effect and interaction [P, genes], state_effect [P, labels, genes]."""
    parts = perturbation_parts(singles)
    member = np.array([[one in each for one in range(1, singles + 1)] for each in parts], float)
    single = _signed(_sparse(random, (singles, genes), 0.1, 1.0), random)
    change = STATE_SPREAD * random.standard_normal((singles, len(STATES), genes))
    # Partners interact on some of the genes that either of them moves.
    moved = (member @ np.abs(single) > 0) & (member.sum(1) == 2)[:, None]
    interaction = moved * _signed(_sparse(random, (len(parts), genes), 0.4, 0.8), random)
    return {
        "perturbation_effect": member @ single + interaction,
        "interaction": interaction,
        "state_effect": np.einsum("pk,ksg->psg", member, change * single[:, None]),
    }


def _held_out_conditions(singles: int) -> list[tuple[str, int, int]]:
    """Name, perturbation and label (−1: all) of the conditions that no split has."""
    if not singles:
        return []
    names, last = perturbation_names(singles), singles
    pairs = [
        (names[index], index, -1)
        for index, parts in enumerate(perturbation_parts(singles))
        if len(parts) == 2 and last in parts
    ]
    return [(f"{names[last]} in {LABELS[HELD_OUT_STATE]}", last, HELD_OUT_STATE), *pairs]


def _held_out_cells(perturbation: Integers, label: Integers, singles: int) -> NDArray[np.bool_]:
    """[conditions, n] the cells of each held-out condition."""
    masks = [
        (perturbation == treated) & ((label == state) | (state < 0))
        for _, treated, state in _held_out_conditions(singles)
    ]
    return np.array(masks, bool).reshape(-1, len(label))


# --- counts --------------------------------------------------------------------------------------


def _proportions(label: Integers, perturbation: Integers, truth: Truth) -> Array:
    """[n, genes] noise-free proportions π."""
    logits = truth["baseline"] + truth["cell/programmes"] @ truth["loadings"]
    logits += truth["perturbation_effect"][perturbation]
    logits += truth["state_effect"][perturbation, label]
    return softmax(logits, axis=1)


def _draw_batches(batches: int, genes: int, random: np.random.Generator) -> Truth:
    """Each batch's log fold changes, which sum to 0 over batches, and its median library size."""
    effect = BATCH_SPREAD * random.standard_normal((batches, genes))
    depth = BATCH_DEPTH * np.linspace(0.5, -0.5, batches) if batches > 1 else np.zeros(1)
    return {
        "batch_effect": effect - effect.mean(0),
        "batch_library": COUNTS_PER_GENE * genes * np.exp(depth),
    }


def _draw_counts(mean: Array, dispersion: Array, random: np.random.Generator) -> NDArray[np.int32]:
    """NB with variance mean + mean² / dispersion, as a Poisson whose rate is gamma-distributed."""
    rate = random.gamma(np.broadcast_to(dispersion, mean.shape)) * (mean / dispersion)
    return random.poisson(rate).astype(np.int32)


def _dropout_probability(rate: Array, counts: NDArray[np.int32], share: float) -> Array:
    """[genes] probability that an entry is lost; over the positive entries its mean is `share`."""
    from scipy.optimize import brentq  # a quarter of a second, which every dry run would take

    log_mean, weight = np.log(rate.mean(0)), (counts > 0).mean(0)
    if share == 0:
        return np.zeros_like(log_mean)

    def probability(midpoint: float) -> Array:
        return expit(-DROPOUT_SLOPE * (log_mean - midpoint))

    def surplus(midpoint: float) -> float:
        return float(np.average(probability(midpoint), weights=weight)) - share

    return probability(brentq(surplus, -800.0, 800.0))


def _draw_proteins(activities: Array, proteins: int, random: np.random.Generator) -> Truth:
    """Surface proteins that follow the programmes: what is each one's own, and means [n, proteins].

    Log-linear in the activities; each programme raises about a quarter of the proteins.
    """
    baseline = math.log(10.0) + 0.5 * random.standard_normal(proteins)
    loadings = _sparse(random, (len(PROGRAMMES), proteins), 0.25, 1.0)
    return {
        "protein_baseline": baseline,
        "protein_dispersion": np.exp(math.log(8.0) + 0.4 * random.standard_normal(proteins)),
        "protein_loadings": loadings,
        "cell/protein_mean": np.exp(baseline + activities @ loadings),
    }


# --- all of it -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Placed:
    """State, perturbation and batch [n] of every cell; the cells of held-out conditions [h, n]."""

    label: Integers
    perturbation: Integers
    batch: Integers
    held_out: NDArray[np.bool_]


def _place_cells(options: Options, random: dict[str, np.random.Generator]) -> _Placed:
    n, singles = options["examples"], options["perturbations"]
    label = _allot(np.array([state.share for state in STATES]), n, random["states"])
    perturbation = _assign_perturbations(label, singles, random["perturbations"])
    batches = options["batches"]
    batch = _allot(np.full(batches, 1 / batches), n, random["batches"])
    return _Placed(label, perturbation, batch, _held_out_cells(perturbation, label, singles))


def _draw_truth(placed: _Placed, options: Options, random: dict[str, np.random.Generator]) -> Truth:
    """All that is known before a molecule is counted, but the proteins."""
    genes, singles = options["genes"], options["perturbations"]
    truth = {
        **_path_truth(),
        **_draw_cells(placed.label, random["cells"]),
        **_draw_genes(genes, random["genes"]),
        **_draw_effects(singles, genes, random["effects"]),
        **_draw_batches(options["batches"], genes, random["batch_effects"]),
    }
    spread = np.exp(LIBRARY_SPREAD * random["library"].standard_normal(len(placed.label)))
    truth["cell/library"] = truth["batch_library"][placed.batch] * spread
    truth["cell/proportions"] = _proportions(placed.label, placed.perturbation, truth)
    return truth


def _rates(batch: Integers, truth: Truth) -> Array:
    """[n, genes] expected counts before dropout."""
    in_batch = truth["cell/proportions"] * np.exp(truth["batch_effect"])[batch]
    return truth["cell/library"][:, None] * in_batch / in_batch.sum(1, keepdims=True)


def _draw_rna(
    rate: Array, dispersion: Array, share: float, random: dict[str, np.random.Generator]
) -> tuple[NDArray[np.int32], Truth]:
    """[n, genes] counts after dropout took `share` of the positive ones, and where it struck."""
    counts = _draw_counts(rate, dispersion, random["counts"])
    probability = _dropout_probability(rate, counts, share)
    struck = random["dropout"].random(rate.shape) < probability
    known = {"dropout_probability": probability, "cell/dropout": struck}
    return np.where(struck, np.int32(0), counts), known


def _draw_protein_counts(
    activities: Array, proteins: int, random: dict[str, np.random.Generator]
) -> tuple[NDArray[np.int32], Truth]:
    """[n, proteins] counts, and what is known of them: nothing where there are no proteins."""
    if not proteins:
        return np.empty((len(activities), 0), np.int32), {}
    known = _draw_proteins(activities, proteins, random["proteins"])
    mean, dispersion = known["cell/protein_mean"], known["protein_dispersion"]
    return _draw_counts(mean, dispersion, random["protein_counts"]), known


def _held_out_truth(placed: _Placed, singles: int, proportions: Array, mean: Array) -> Truth:
    """True expression of each held-out condition; nothing where there are none.

    Args:
        placed: the cells.
        singles: number of single perturbations.
        proportions: [n, genes] without noise, batch effect and dropout.
        mean: [n, genes] expected counts, with both.
    """
    if not singles:
        return {}
    names, perturbation, label = zip(*_held_out_conditions(singles), strict=True)
    expected = np.array([mean[cells].mean(0) for cells in placed.held_out])
    return {
        "held_out_names": np.array(names),
        "held_out_perturbation": np.array(perturbation),
        "held_out_label": np.array(label),
        "held_out_mean": np.array([proportions[cells].mean(0) for cells in placed.held_out]),
        "held_out_expected": expected / expected.sum(1, keepdims=True),
    }


# --- source --------------------------------------------------------------------------------------


def _fewest_cells(singles: int) -> int:
    """Cells that every state needs, and all of them together, so that `_allot` leaves none out."""
    treated = len(perturbation_parts(singles)) - 1
    in_state = math.floor(treated / TREATED_SHARE) + 1
    return math.ceil(in_state / min(state.share for state in STATES))


def _features(options: Options) -> tuple[str, ...]:
    genes = tuple(f"gene{g + 1:03d}" for g in range(options["genes"]))
    return genes + tuple(f"protein{j + 1:02d}" for j in range(options["proteins"]))


def _path_truth() -> Truth:
    """Names of programmes, and the labels in the order of pseudotime along each path."""
    return {
        "programme_names": np.array(PROGRAMMES),
        "trajectory": np.array(TRAJECTORY),
        "path_start": np.array(LABELS.index(TRAJECTORY[0][0])),
        "path_end": np.array(LABELS.index(TRAJECTORY[0][-1])),
    }


def _compact(truth: Truth) -> Truth:
    """Arrays with a row for each cell in single precision, which halves the size of the file."""
    return {
        name: values.astype(np.float32)
        if name.startswith("cell/") and values.dtype == np.float64
        else values
        for name, values in truth.items()
    }


@register
class SimulatedCells(Source):
    """A branching trajectory, two clusters apart from it, batches, dropout and perturbations.

    Options: examples (cells), genes, proteins, batches, dropout (expected share of positive counts
    that are lost; 0 turns it off) and perturbations (single ones; all their pairs come with them).
    """

    name = "simulated-cells"
    counts = True
    own_options = frozenset(
        {"examples", "genes", "proteins", "batches", "dropout", "perturbations"}
    )

    def check_options(self, where: str, options: Options) -> None:
        """Every programme needs a gene, and every perturbation a cell in every state."""
        cells, genes, singles = (options[key] for key in ("examples", "genes", "perturbations"))
        columns = genes + options["proteins"]
        least, most = _fewest_cells(singles), MOST_COUNTS // columns
        if genes < len(PROGRAMMES):
            raise UserError(
                f"{where}.genes is {genes}; allowed: at least {len(PROGRAMMES)}, the number of "
                "gene programmes."
            )
        if singles > MOST_PERTURBATIONS:
            raise UserError(
                f"{where}.perturbations is {singles}; allowed: at most {MOST_PERTURBATIONS}."
            )
        if cells < least:
            raise UserError(
                f"{where}.examples is {cells}; allowed: at least {least} with "
                f"{singles} perturbations, so that each of them and of their "
                "pairs has cells in every state."
            )
        if cells > most:
            raise UserError(
                f"{where}.examples is {cells}; allowed: at most {most} with {columns} genes and "
                "proteins, since the counts are drawn in memory."
            )

    def known_labels(self, options: Options) -> tuple[str, ...]:
        """The states."""
        return LABELS

    def describe(self, options: Options) -> Observed:
        """Counts of genes, then of proteins."""
        return Observed(
            (options["genes"] + options["proteins"],),
            levels=None,
            counts=True,
            proteins=options["proteins"],
            classes=len(STATES),
            batches=options["batches"],
        )

    def label_names(self, options: Options) -> tuple[str, ...]:
        """States and clusters, the same for all options."""
        return LABELS

    def load(self, options: Options) -> RawData:
        """Draw the cells as the module's docstring says."""
        random = _streams(options["split_seed"])
        placed = _place_cells(options, random)
        truth = _draw_truth(placed, options, random)
        rate, singles = _rates(placed.batch, truth), options["perturbations"]
        rna, dropout = _draw_rna(rate, truth["dispersion"], options["dropout"], random)
        proteins, surface = _draw_protein_counts(
            truth["cell/programmes"], options["proteins"], random
        )
        mean = rate * (1 - dropout["dropout_probability"])
        held_out = _held_out_truth(placed, singles, truth["cell/proportions"], mean)
        return RawData(
            np.hstack([rna, proteins]),
            labels=placed.label,
            levels=None,
            proteins=options["proteins"],
            cells=Cells(
                features=_features(options),
                label_names=LABELS,
                batch=placed.batch,
                batch_names=tuple(f"batch {b + 1}" for b in range(options["batches"])),
                perturbation=placed.perturbation if singles else None,
                perturbation_names=perturbation_names(singles) if singles else (),
                truth=_compact({**truth, **dropout, **surface, **held_out}),
            ),
            held_out=np.logical_or.reduce(placed.held_out) if singles else None,
        )
