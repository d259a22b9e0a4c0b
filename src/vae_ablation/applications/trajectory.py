"""Trajectories: a latent path between two states of cells, decoded, against the cells between."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import mannwhitneyu, rankdata, spearmanr
from sklearn.decomposition import PCA

from vae_ablation.applications.base import PERMUTATIONS, TRUTH, Application
from vae_ablation.applications.paths import (
    Array,
    Rows,
    codes_of,
    decoded_profiles,
    density_path,
    label_name,
    log_density,
    log_expression,
    mean_profile,
    project,
    resample,
    spread_rows,
    straight_path,
)
from vae_ablation.common.errors import UserError
from vae_ablation.common.registry import register
from vae_ablation.data.base import TRAIN, Cells, Dataset
from vae_ablation.data.examples import spaced
from vae_ablation.store.applied import Applied
from vae_ablation.store.trained import TrainedRun

MAX_VALUES = 10
"""True values up to which each is a bin; more of them fall into as many quantile bins."""

COMPONENTS = 30
"""Principal components in which the baseline looks for the nearest point of its line."""

SHOWN_CODES = 1000

BASELINE = "linear_expression"


@dataclass(frozen=True)
class Ends:
    """The two labels between which a path runs, and the mean train code of either, [latent]."""

    labels: tuple[int, int]
    names: tuple[str, str]
    start: Array
    end: Array


@dataclass(frozen=True)
class Truth:
    """Test cells whose position on the path is known, in bins.

    Attributes:
        rows: positions of the cells, [n].
        position: true position, 0 at the mean of the start's cells, 1 at that of the end's, [n].
        bins: bin of each cell, [n], in the order of the position.
        place: mean position of each bin, [bins].
        measured: log-normalised mean expression of each bin, [bins, genes].
        apart: bins that are this much further are about other cells: 1 where each true value is a
            bin; 2 where neighbouring bins share an edge.
        off_path: log-normalised mean expression of each label beside the path, [genes] each.
    """

    rows: Rows
    position: Array
    bins: NDArray[np.int64]
    place: Array
    measured: Array
    apart: int
    off_path: list[Array]


@register
class Trajectory(Application):
    """Straight and density-following paths, against a line between mean expressions."""

    name = "trajectory"

    def missing(self, dataset: Dataset) -> str | None:
        """Data without cells, or without two labels, have no path."""
        if dataset.cells is None:
            return "holds no cells"
        if len(np.unique(dataset.labels_of("train")[dataset.labels_of("train") >= 0])) < 2:
            distinct = dataset.observed.distinct_labels
            return (
                f"has {'a label of its own for each cell' if distinct else 'fewer than two labels'}"
            )
        return None

    def absent(self, dataset: Dataset, settings: Mapping[str, Any]) -> str | None:
        """Settings name labels with train cells, and a column of numbers."""
        assert dataset.cells is not None
        labels = dataset.labels_of("train")
        names = [label_name(dataset.cells, int(label)) for label in np.unique(labels[labels >= 0])]
        try:
            _chosen(names, settings, dataset.name)
            _true_values(dataset, settings["truth"])
            _state_labels(dataset, settings["states"] or [])
        except UserError as error:
            return f"lacks what it needs ({str(error).rstrip('.')})"
        return None

    def apply(
        self, model: TrainedRun, dataset: Dataset, settings: Mapping[str, Any], seed: int
    ) -> Applied:
        """Find both paths, decode them and score them; the seed is that of permutations.

        Rows of method "truth" have the p of the true value's difference between the ends
        (effect_p): whether there is an order to be found.

        Raises:
            UserError: the settings name a label or a column that is not there.
        """
        assert dataset.cells is not None
        rows = spread_rows(dataset, "train")
        codes = codes_of(model, dataset, rows)
        ends = find_ends(dataset, dataset.labels[rows], codes, settings)
        truth = find_truth(dataset, ends, settings)
        steps = settings["steps"]
        paths = {
            "straight": straight_path(ends.start, ends.end, steps),
            "density": density_path(codes, ends.start, ends.end, steps),
        }
        applied = Applied()
        subject = " → ".join(ends.names)
        for method, path in paths.items():
            applied.add(subject, method, "path_density", float(log_density(codes, path).mean()))
        if truth is not None:
            _score_paths(applied, subject, model, dataset, paths, truth, seed)
            _score_line(applied, subject, dataset, rows, ends, truth, seed)
            applied.add(subject, TRUTH, "effect_p", ends_p(dataset, ends, settings))
        applied.arrays.update(_plane(dataset.cells, codes, dataset.labels[rows], paths))
        applied.arrays.update(_shown(model, dataset, paths, ends, truth, settings["genes"]))
        return applied


# --- the ends of the path ------------------------------------------------------------------------


def find_ends(
    dataset: Dataset, labels: NDArray[np.int64], codes: Array, settings: Mapping[str, Any]
) -> Ends:
    """The labels that the settings name.

    If they name one, the other end is the label whose mean code is farthest from it; if none, the
    path is the simulation's own, or that between the two labels farthest apart.

    Args:
        dataset: its labels and their names.
        labels: of train cells, [n].
        codes: of the same cells, [n, latent].
        settings: start and end, names of labels or None.

    Raises:
        UserError: a label of that name has no train cell, or both are the same one.
    """
    assert dataset.cells is not None
    present = np.unique(labels[labels >= 0])
    means = np.array([codes[labels == label].mean(0) for label in present])
    names = [label_name(dataset.cells, int(label)) for label in present]
    chosen = _chosen(names, settings, dataset.name)
    if len(chosen) == 1:
        ((key, known),) = chosen.items()
        distance = np.linalg.norm(means - means[known], axis=1)
        distance[known] = -1
        chosen["end" if key == "start" else "start"] = int(distance.argmax())
    start, end = (
        (chosen["start"], chosen["end"]) if chosen else _natural(dataset.cells, present, means)
    )
    return Ends(
        (int(present[start]), int(present[end])), (names[start], names[end]),
        means[start], means[end],
    )  # fmt: skip


def _chosen(names: list[str], settings: Mapping[str, Any], dataset: str) -> dict[str, int]:
    """Positions in `names` of the ends that the settings name, by their key."""
    wanted = {key: str(settings[key]) for key in ("start", "end") if settings[key] is not None}
    for key, name in wanted.items():
        if name not in names:
            raise UserError(
                f"applications.trajectory.{key}: no train cell of {dataset} has the label "
                f"{name!r}; allowed: {_some(names)}."
            )
    if len(wanted) == 2 and wanted["start"] == wanted["end"]:
        raise UserError(
            f"applications.trajectory: start and end are both {wanted['start']!r}; allowed: two "
            "different labels."
        )
    return {key: names.index(name) for key, name in wanted.items()}


def _natural(cells: Cells, present: NDArray[np.int64], means: Array) -> tuple[int, int]:
    """Positions of the simulation's own ends, or of the labels whose means are farthest apart."""
    if "path_start" in cells.truth and "path_end" in cells.truth:
        own = [np.flatnonzero(present == cells.truth[key]) for key in ("path_start", "path_end")]
        if all(len(place) for place in own):
            return int(own[0][0]), int(own[1][0])
    distance = np.linalg.norm(means[:, None] - means, axis=-1)
    # One more than the distance, lest the diagonal win where all codes are one point.
    first, second = np.unravel_index(np.triu(distance + 1, 1).argmax(), distance.shape)
    return int(first), int(second)


def _some(names: list[str]) -> str:
    """At most twelve names."""
    return ", ".join(names[:12]) + (f" and {len(names) - 12} more" if len(names) > 12 else "")


# --- truth ---------------------------------------------------------------------------------------


def find_truth(dataset: Dataset, ends: Ends, settings: Mapping[str, Any]) -> Truth | None:
    """Test cells at known positions between the ends, or None where no position is known.

    Raises:
        UserError: the settings name a column or a label that is not there, or the column holds no
            numbers, or has the same mean at both ends.
    """
    position = true_position(dataset, ends, settings)
    if position is None:
        return None
    test = spread_rows(dataset, "test")
    rows = test[np.isfinite(position[test])]
    if not len(rows):
        return None
    bins, apart = true_bins(position[rows])
    members = [rows[bins == b] for b in range(bins.max() + 1)]
    beside = test[~np.isfinite(position[test]) & (dataset.labels[test] >= 0)]
    others = [
        beside[dataset.labels[beside] == label] for label in np.unique(dataset.labels[beside])
    ]
    return Truth(
        rows, position[rows], bins, np.array([position[cells].mean() for cells in members]),
        np.array([mean_profile(dataset, cells) for cells in members]), apart,
        [mean_profile(dataset, cells) for cells in others],
    )  # fmt: skip


def true_position(dataset: Dataset, ends: Ends, settings: Mapping[str, Any]) -> Array | None:
    """Position of each cell between the ends, [n]; NaN for cells that are not on the path.

    The true value is scaled linearly, so that it is 0 on average over the train cells of the start
    and 1 over those of the end. On the path are the cells of the states that the settings or the
    simulation name; if neither does, cells whose value is between those of the ends, and the ends'
    own.

    Returns:
        None where the settings name no truth and the data's own, if any, does not grow from the
        one end to the other.
    """
    values = _true_values(dataset, settings["truth"])
    if values is None:
        return None
    train = dataset.split == TRAIN
    at_ends = [values[train & (dataset.labels == label)] for label in ends.labels]
    known = all(np.isfinite(found).any() for found in at_ends)
    low, high = (float(np.nanmean(found)) for found in at_ends) if known else (0.0, 0.0)
    if low == high:
        if settings["truth"] is None:
            return None
        raise UserError(
            f"applications.trajectory.truth: {settings['truth']!r} has the same mean in the cells "
            f"of {ends.names[0]!r} and of {ends.names[1]!r} in {dataset.name}; allowed: a "
            "column that grows along the path."
        )
    position = (values - low) / (high - low)
    on_path = _on_path(dataset, ends, position, settings["states"])
    return np.where(on_path, position, np.nan)


def ends_p(dataset: Dataset, ends: Ends, settings: Mapping[str, Any]) -> float | None:
    """Two-sided p (Mann and Whitney) that the true value is the same at both ends, train cells."""
    values = _true_values(dataset, settings["truth"])
    if values is None:
        return None
    train = (dataset.split == TRAIN) & np.isfinite(values)
    first, last = (values[train & (dataset.labels == label)] for label in ends.labels)
    return float(mannwhitneyu(first, last).pvalue) if len(first) and len(last) else None


def _true_values(dataset: Dataset, name: str | None) -> Array | None:
    """[n] the column of that name, or pseudotime of a simulation; NaN where it is not known."""
    assert dataset.cells is not None
    if name is None:
        pseudotime = dataset.cells.truth.get("cell/pseudotime")
        if pseudotime is None:
            return None
        return np.where(pseudotime < 0, np.nan, pseudotime).astype(np.float64)
    columns = dataset.cells.obs
    numeric = [column for column, values in columns.items() if values.dtype.kind in "biuf"]
    if name not in numeric:
        found = "holds text" if name in columns else "is not there"
        raise UserError(
            f"applications.trajectory.truth: column {name!r} {found} in {dataset.name}; allowed: a "
            f"column of numbers ({_some(numeric) or 'there is none'})."
        )
    return columns[name].astype(np.float64)


def _on_path(
    dataset: Dataset, ends: Ends, position: Array, states: list[str] | None
) -> NDArray[np.bool_]:
    """[n] whether cells are of the path's states."""
    assert dataset.cells is not None
    names = _simulated_states(dataset.cells, ends) if states is None else states
    if names is None:
        between = (position > -1e-6) & (position < 1 + 1e-6)
        return between | np.isin(dataset.labels, ends.labels)
    return np.isin(dataset.labels, [*_state_labels(dataset, names), *ends.labels])


def _state_labels(dataset: Dataset, names: list[str]) -> list[int]:
    """Labels of these names."""
    assert dataset.cells is not None
    labels = {label_name(dataset.cells, int(i)): int(i) for i in np.unique(dataset.labels)}
    unknown = [name for name in map(str, names) if name not in labels]
    if unknown:
        raise UserError(
            f"applications.trajectory.states: no cell of {dataset.name} has the label "
            f"{unknown[0]!r}; allowed: {_some(list(labels))}."
        )
    return [labels[str(name)] for name in names]


def _simulated_states(cells: Cells, ends: Ends) -> list[str] | None:
    """Labels from one end to the other along a simulated trajectory that has both, or None."""
    for path in cells.truth.get("trajectory", ()):
        names = [str(name) for name in path]
        if set(ends.names) <= set(names):
            first, last = sorted(map(names.index, ends.names))
            return names[first : last + 1]
    return None


def true_bins(position: Array) -> tuple[NDArray[np.int64], int]:
    """Bins of cells by their true place, in its order.

    Args:
        position: [n].

    Returns:
        Bin of each cell, [n], and how many bins further cells are other ones: a bin for each value
        and 1, where there are at most ten values; else ten bins of equal size and 2.
    """
    values, bins = np.unique(position.round(6), return_inverse=True)
    if len(values) <= MAX_VALUES:
        return bins, 1
    rank = np.empty(len(position), np.int64)
    rank[np.argsort(position, kind="stable")] = np.arange(len(position))
    return rank * MAX_VALUES // len(position), 2


# --- scores --------------------------------------------------------------------------------------


def _score_paths(
    applied: Applied,
    subject: str,
    model: TrainedRun,
    dataset: Dataset,
    paths: Mapping[str, Array],
    truth: Truth,
    seed: int,
) -> None:
    codes = codes_of(model, dataset, truth.rows)
    for method, path in paths.items():
        along = project(codes, path)
        _add_order(applied, subject, method, along, truth, seed)
        found = profile_errors(decoded_profiles(model, dataset, resample(path, truth.place)), truth)
        for metric, value in found.items():
            applied.add(subject, method, metric, value)


def _score_line(
    applied: Applied,
    subject: str,
    dataset: Dataset,
    rows: Rows,
    ends: Ends,
    truth: Truth,
    seed: int,
) -> None:
    """The baseline: a line between the ends' mean expressions, in the space of the data."""
    expression, labels = log_expression(dataset, rows), dataset.labels[rows]
    components = min(COMPONENTS, len(rows) - 1, expression.shape[1])
    pca = PCA(components, svd_solver="randomized", random_state=0).fit(expression)
    line = np.array(
        [pca.transform(expression[labels == label]).mean(0) for label in ends.labels], np.float64
    )
    along = project(pca.transform(log_expression(dataset, truth.rows)), line)
    share = np.clip(truth.place, 0, 1)[:, None]
    first, last = (mean_profile(dataset, rows[labels == label]) for label in ends.labels)
    _add_order(applied, subject, BASELINE, along, truth, seed)
    found = profile_errors((1 - share) * first + share * last, truth)
    for metric, value in found.items():
        applied.add(subject, BASELINE, metric, value)


def _add_order(
    applied: Applied, subject: str, method: str, along: Array, truth: Truth, seed: int
) -> None:
    """Rank correlation of positions on a path with true ones, and its values by chance."""
    found = rank_correlation(along, truth.position)
    applied.add(subject, method, "pseudotime_spearman", found)
    if found is not None:
        random = np.random.default_rng([seed, 20])
        a, b = (rankdata(values) - (len(along) + 1) / 2 for values in (along, truth.position))
        permuted = [a @ random.permutation(b) for _ in range(PERMUTATIONS)]
        null = np.array([a @ b, *permuted]) / np.sqrt((a @ a) * (b @ b))
        applied.add_null(subject, method, "pseudotime_spearman", null)


def rank_correlation(found: Array, truth: Array) -> float | None:
    """Spearman's correlation, or None where one of both does not vary."""
    if not (np.ptp(found) > 0 and np.ptp(truth) > 0):
        return None
    return float(spearmanr(found, truth).statistic)


def profile_errors(decoded: Array, truth: Truth) -> dict[str, float | None]:
    """Errors of profiles on a path against those measured there, and against other cells.

    Args:
        decoded: log-normalised mean expression at the place of each bin, [bins, genes].
        truth: what was measured.

    Returns:
        Means over bins: profile_error, the root mean square over genes of decoded − measured;
        unrelated_error, the same against the nearest of the other bins and of the labels beside
        the path, over the bins that have any; matched_bins, the share of those that are nearer to
        their own cells.
    """
    number = np.arange(len(decoded))
    errors = [np.sqrt(np.square(truth.measured - profile).mean(1)) for profile in decoded]
    own = np.array([error[b] for b, error in enumerate(errors)])
    nearest = np.array(
        [
            min(
                [
                    *error[np.abs(number - b) >= truth.apart],
                    *(np.sqrt(np.square(other - decoded[b]).mean()) for other in truth.off_path),
                ],
                default=np.nan,
            )
            for b, error in enumerate(errors)
        ]
    )
    some = np.isfinite(nearest)
    return {
        "profile_error": float(own.mean()),
        "unrelated_error": float(nearest[some].mean()) if some.any() else None,
        "matched_bins": float((own < nearest)[some].mean()) if some.any() else None,
    }


# --- arrays for figures --------------------------------------------------------------------------


def _plane(
    cells: Cells, codes: Array, labels: NDArray[np.int64], paths: Mapping[str, Array]
) -> dict[str, NDArray[Any]]:
    """Train codes and paths in the latent plane, or in the two directions of most variance."""
    if codes.shape[1] < 2:
        return {}
    kept = spaced(len(codes), SHOWN_CODES)
    if codes.shape[1] > 2:
        centre = codes.mean(0)
        _, _, directions = np.linalg.svd(codes - centre, full_matrices=False)
        codes, *flat = ((points - centre) @ directions[:2].T for points in (codes, *paths.values()))
        paths = dict(zip(paths, flat, strict=True))
    names = [label_name(cells, int(label)) for label in np.unique(labels[kept]) if label >= 0]
    return {
        "plane_codes": codes[kept].astype(np.float32),
        "plane_labels": labels[kept],
        "label_names": np.array(names, np.str_),
        **{f"plane_{method}": path.astype(np.float32) for method, path in paths.items()},
    }


def _shown(
    model: TrainedRun,
    dataset: Dataset,
    paths: Mapping[str, Array],
    ends: Ends,
    truth: Truth | None,
    genes: int,
) -> dict[str, NDArray[Any]]:
    """Genes that vary most along both paths, decoded and as measured."""
    assert dataset.cells is not None
    profiles = {method: decoded_profiles(model, dataset, path) for method, path in paths.items()}
    chosen = varying_genes(list(profiles.values()), genes)
    chosen = chosen[gene_order(profiles["density"][:, chosen])]
    found: dict[str, NDArray[Any]] = {
        "genes": np.array([dataset.cells.features[gene] for gene in chosen], np.str_),
        "ends": np.array(ends.names, np.str_),
    }
    found |= {name: values[:, chosen].astype(np.float32) for name, values in profiles.items()}
    if truth is not None:
        found["measured"] = truth.measured[:, chosen].astype(np.float32)
        found["place"] = truth.place
        found["members"] = np.bincount(truth.bins)
    return found


def varying_genes(profiles: list[Array], count: int) -> NDArray[np.int64]:
    """The `count` genes of the largest variance along paths, each [steps, genes]."""
    variance = sum(profile.var(0) for profile in profiles)
    return np.argsort(-variance, kind="stable")[:count]


def gene_order(profile: Array) -> NDArray[np.int64]:
    """Genes by where they peak; among those that peak at an end, by where they change most.

    Args:
        profile: along a path, [steps, genes].
    """
    steepest = np.abs(np.diff(profile, axis=0)).argmax(0)
    return np.lexsort((steepest, profile.argmax(0)))
