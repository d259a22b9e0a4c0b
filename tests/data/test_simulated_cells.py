"""Simulated cells: what is drawn follows the stated model, and the truth tells it."""

from __future__ import annotations

import math
from functools import cache
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from scipy import stats
from scipy.special import logit, logsumexp
from sklearn.cluster import KMeans
from sklearn.decomposition import PCA
from sklearn.metrics import adjusted_rand_score

from support import assert_one_sentence
from vae_ablation.common.errors import UserError
from vae_ablation.data.base import Cells, RawData
from vae_ablation.data.simulated_cells import (
    LABELS,
    PROGRAMMES,
    TRAJECTORY,
    SimulatedCells,
    perturbation_names,
    programme_curves,
)

STEM, EARLY, BRANCH_A, BRANCH_B, CLUSTER_1, CLUSTER_2 = range(6)
GENES, PROTEINS = 300, 20


def options(**changes: Any) -> dict[str, Any]:
    defaults = {"examples": 3000, "genes": GENES, "proteins": PROTEINS, "batches": 2}
    return {**defaults, "dropout": 0.15, "perturbations": 3, "split_seed": 0, **changes}


@cache
def load(**changes: Any) -> RawData:
    return SimulatedCells().load(options(**changes))


def cells_of(raw: RawData) -> Cells:
    assert raw.cells is not None
    return raw.cells


def labels_of(raw: RawData) -> np.ndarray:
    assert raw.labels is not None
    return raw.labels


def truth_of(**changes: Any) -> dict[str, np.ndarray]:
    return cells_of(load(**changes)).truth


def placed(**changes: Any) -> tuple[np.ndarray, np.ndarray]:
    """Label and perturbation of each cell."""
    raw = load(**changes)
    perturbation = cells_of(raw).perturbation
    assert perturbation is not None
    return labels_of(raw), perturbation


def rates(**changes: Any) -> np.ndarray:
    """[n, genes] expected counts before dropout, from the truth and the docstring's formula."""
    cells = cells_of(load(**changes))
    logits = np.log(cells.truth["cell/proportions"].astype(float))
    logits += cells.truth["batch_effect"][cells.batch]
    log_library = np.log(cells.truth["cell/library"].astype(float))
    return np.exp(log_library[:, None] + logits - logsumexp(logits, axis=1, keepdims=True))


def logits_of(truth: dict[str, np.ndarray]) -> np.ndarray:
    """[n, genes] log proportions without perturbation, up to a constant a cell."""
    return truth["baseline"] + truth["cell/programmes"] @ truth["loadings"]


def log_mean(proportions: np.ndarray) -> np.ndarray:
    return np.log(proportions.astype(float).mean(0))


def assert_standard(residuals: np.ndarray, deviations: float = 5.0) -> None:
    """Mean 0 and variance 1, to within so many standard errors."""
    error = residuals.std() / math.sqrt(residuals.size)
    assert abs(residuals.mean()) < deviations * error
    squares = residuals**2
    assert abs(squares.mean() - 1) < deviations * squares.std() / math.sqrt(residuals.size)


# --- the draw ------------------------------------------------------------------------------------


def test_a_draw_is_that_of_its_seed() -> None:
    one, again, other = (
        SimulatedCells().load(options(examples=300, split_seed=seed)) for seed in (0, 0, 1)
    )
    assert one.x.tobytes() == again.x.tobytes()
    assert one.x.tobytes() != other.x.tobytes()
    truths = [cells_of(raw).truth for raw in (one, again)]
    assert truths[0].keys() == truths[1].keys()
    for name, values in truths[0].items():
        assert values.tobytes() == truths[1][name].tobytes()
    assert (cells_of(one).truth["loadings"] != cells_of(other).truth["loadings"]).any()


def test_what_is_described_is_what_is_drawn() -> None:
    for changes in ({}, {"genes": 40, "proteins": 0, "batches": 3, "examples": 400}):
        raw, observed = load(**changes), SimulatedCells().describe(options(**changes))
        cells = cells_of(raw)
        assert raw.x.shape == (options(**changes)["examples"], *observed.shape)
        assert np.issubdtype(raw.x.dtype, np.integer)
        assert raw.x.min() == 0
        assert raw.levels is observed.levels is None
        assert observed.counts
        assert not observed.binary
        assert raw.proteins == observed.proteins
        assert set(labels_of(raw)) == set(range(observed.classes))
        assert cells.batch is not None
        assert set(cells.batch) == set(range(observed.batches))
        assert len(cells.batch_names) == observed.batches
        assert len(cells.label_names) == observed.classes


def test_features_are_genes_then_proteins() -> None:
    features = cells_of(load()).features
    assert features[0] == "gene001"
    assert features[GENES - 1 : GENES + 1] == ("gene300", "protein01")
    assert features[-1] == "protein20"
    many = SimulatedCells().load(options(genes=1200, examples=200))
    assert len(set(cells_of(many).features)) == 1220


def test_truth_is_finite_and_has_a_row_a_cell_where_it_says_so() -> None:
    raw = load()
    for name, values in truth_of().items():
        assert values.dtype.kind in "ifbU", name
        if values.dtype.kind == "f":
            assert np.isfinite(values).all(), name
        assert name.startswith("cell/") == (len(np.atleast_1d(values)) == len(raw.x)), name
    part = cells_of(raw.take(np.arange(3000) < 10))
    assert part.truth["cell/proportions"].shape == (10, GENES)
    assert part.truth["loadings"].shape == (len(PROGRAMMES), GENES)


def test_an_option_changes_only_its_own_part() -> None:
    """Dropout takes counts away and proteins add columns: all else stays to the last molecule."""
    default, whole, rna = load().x, load(dropout=0).x, load(proteins=0).x
    struck = truth_of()["cell/dropout"]
    np.testing.assert_array_equal(default[:, GENES:], whole[:, GENES:])
    np.testing.assert_array_equal(default[:, :GENES], np.where(struck, 0, whole[:, :GENES]))
    np.testing.assert_array_equal(default[:, :GENES], rna)
    calm = load(perturbations=0)
    np.testing.assert_array_equal(labels_of(calm), labels_of(load()))
    for name in ("loadings", "baseline", "cell/programmes", "cell/library"):
        np.testing.assert_array_equal(truth_of()[name], truth_of(perturbations=0)[name])


# --- states --------------------------------------------------------------------------------------


def test_every_state_has_its_share() -> None:
    shares = np.bincount(labels_of(load())) / 3000
    np.testing.assert_allclose(shares, [0.16, 0.16, 0.2, 0.2, 0.14, 0.14], atol=1 / 3000 + 1e-9)
    assert cells_of(load()).label_names == LABELS


def test_pseudotime_orders_the_labels_of_a_path() -> None:
    label, truth = labels_of(load()), truth_of()
    pseudotime = truth["cell/pseudotime"]
    assert truth["trajectory"].tolist() == [list(path) for path in TRAJECTORY]
    for path in truth["trajectory"]:
        of_state = [pseudotime[label == LABELS.index(name)] for name in path]
        assert of_state[0].min() < 0.05
        assert of_state[-1].max() > 0.95
        for before, after in pairwise(of_state):
            assert before.max() <= after.min()
    assert LABELS[int(truth["path_start"])] == truth["trajectory"][0][0]
    assert LABELS[int(truth["path_end"])] == truth["trajectory"][0][-1]


def test_branches_are_those_of_the_states_and_clusters_have_none() -> None:
    label, truth = labels_of(load()), truth_of()
    np.testing.assert_array_equal(truth["cell/branch"], np.array([0, 0, 1, 2, -1, -1])[label])
    outside = truth["cell/branch"] == -1
    np.testing.assert_array_equal(truth["cell/pseudotime"] == -1, outside)
    assert (truth["cell/pseudotime"][~outside] >= 0).all()


def test_programmes_follow_pseudotime() -> None:
    label, truth = labels_of(load()), truth_of()
    time, activity = truth["cell/pseudotime"], truth["cell/programmes"]
    trunk, a, b = label <= EARLY, label == BRANCH_A, label == BRANCH_B

    def order(cells: np.ndarray, programme: int) -> float:
        return stats.spearmanr(time[cells], activity[cells, programme]).statistic

    assert order(trunk, STEM) < -0.8
    assert order(trunk, EARLY) > 0.8
    assert order(a, EARLY) < -0.8
    assert order(b, EARLY) < -0.8
    assert order(a, BRANCH_A) > 0.6
    assert order(b, BRANCH_B) > 0.6
    assert not activity[a, BRANCH_B].any()
    assert not activity[label == CLUSTER_1][:, [0, 1, 2, 3, 5]].any()
    assert activity[label == CLUSTER_2, CLUSTER_2].mean() == pytest.approx(1, abs=0.05)


def test_the_trajectory_has_no_gap_at_its_fork_and_where_states_meet() -> None:
    """A hair's breadth before and after, the mean activities are the same."""
    step = 1e-7
    for before, after, time in [
        (STEM, EARLY, 0.25),
        (EARLY, BRANCH_A, 0.5),
        (EARLY, BRANCH_B, 0.5),
    ]:
        left, right = programme_curves(np.array([before, after]), time + np.array([-step, step]))
        np.testing.assert_allclose(left, right, atol=1e-5)


def test_shared_programmes_do_not_know_the_state() -> None:
    label, activity = labels_of(load()), truth_of()["cell/programmes"]
    for programme in (6, 7):
        groups = [activity[label == state, programme] for state in range(6)]
        assert stats.kruskal(*groups).pvalue > 1e-4
        assert stats.kstest(activity[:, programme], "uniform").pvalue > 1e-4


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_states_can_be_found_from_counts(seed: int) -> None:
    raw = load(split_seed=seed)
    x = raw.x[:, :GENES]
    normalised = np.log1p(1e4 * x / x.sum(1, keepdims=True))
    scores = PCA(10, random_state=0).fit_transform(normalised)
    found = KMeans(6, n_init=5, random_state=0).fit_predict(scores)
    assert adjusted_rand_score(labels_of(raw), found) > 0.75


# --- counts --------------------------------------------------------------------------------------


def test_proportions_are_the_softmax_of_what_acts_on_the_genes() -> None:
    truth, (label, perturbation) = truth_of(), placed()
    logits = logits_of(truth) + truth["perturbation_effect"][perturbation]
    logits += truth["state_effect"][perturbation, label]
    expected = np.exp(logits - logsumexp(logits, axis=1, keepdims=True))
    np.testing.assert_allclose(truth["cell/proportions"], expected, rtol=2e-5)


def test_counts_before_dropout_are_negative_binomial() -> None:
    """Mean and variance of every entry, and the number of zeros, as scipy's distribution has."""
    rate, dispersion = rates(dropout=0), truth_of(dropout=0)["dispersion"]
    counts = load(dropout=0).x[:, :GENES]
    assert_standard((counts - rate) / np.sqrt(rate + rate**2 / dispersion))
    distribution = stats.nbinom(dispersion, dispersion / (dispersion + rate))
    for value in (0, 1, 5):
        expected = distribution.pmf(value)
        error = math.sqrt((expected * (1 - expected)).sum())
        assert abs((counts == value).sum() - expected.sum()) < 5 * error


def test_each_gene_has_its_own_dispersion() -> None:
    """The moment estimate of θ, mean(r²) / mean((x − r)² − r), goes with the true one."""
    rate = rates(dropout=0)
    counts = load(dropout=0).x[:, :GENES]
    known = rate.mean(0) > 5
    excess = ((counts - rate) ** 2 - rate).mean(0) / (rate**2).mean(0)
    estimate = -np.log(excess[known])
    truth = np.log(truth_of()["dispersion"][known])
    assert stats.pearsonr(estimate, truth).statistic > 0.8
    assert np.median(estimate - truth) == pytest.approx(0, abs=0.1)


def test_genes_are_overdispersed_even_at_equal_state_batch_and_depth() -> None:
    """A Poisson law of the true rate is refused: Pearson's statistic is far above 1 a degree."""
    rate = rates(dropout=0)
    pearson = ((load(dropout=0).x[:, :GENES] - rate) ** 2 / rate).mean(0)
    assert np.median(pearson) > 1.3


@pytest.mark.parametrize("share", [0.05, 0.15, 0.5])
def test_dropout_takes_its_share_of_the_positive_counts(share: float) -> None:
    before = load(dropout=0).x[:, :GENES] > 0
    after = load(dropout=share).x[:, :GENES] > 0
    lost = 1 - after.sum() / before.sum()
    error = math.sqrt(share * (1 - share) / before.sum())
    assert lost == pytest.approx(share, abs=5 * error)


def test_dropout_is_logistic_in_the_log_mean_of_a_gene() -> None:
    truth = truth_of()
    fit = stats.linregress(np.log(rates().mean(0)), logit(truth["dropout_probability"]))
    assert fit.slope == pytest.approx(-1, abs=1e-4)
    assert fit.rvalue == pytest.approx(-1, abs=1e-6)
    probability = truth["dropout_probability"]
    z = (truth["cell/dropout"].mean(0) - probability) / np.sqrt(
        probability * (1 - probability) / 3000
    )
    assert_standard(z)


def test_zeros_exceed_a_negative_binomials_unless_dropout_is_off() -> None:
    rate, dispersion = rates(), truth_of()["dispersion"]
    expected = ((dispersion / (dispersion + rate)) ** dispersion).mean()
    assert (load().x[:, :GENES] == 0).mean() > expected + 0.08
    assert (load(dropout=0).x[:, :GENES] == 0).mean() == pytest.approx(expected, abs=0.002)
    assert not truth_of(dropout=0)["cell/dropout"].any()


# --- library sizes and batches -------------------------------------------------------------------


@pytest.mark.parametrize("batches", [1, 2, 4])
def test_library_sizes_are_log_normal_around_the_batchs_median(batches: int) -> None:
    cells = cells_of(load(batches=batches))
    median, library = cells.truth["batch_library"], np.log(cells.truth["cell/library"])
    assert median.shape == (batches,)
    assert (np.diff(median) < 0).all()
    assert median[0] / median[-1] == pytest.approx(math.exp(0.5) if batches > 1 else 1)
    assert np.exp(np.log(median).mean()) == pytest.approx(8 * GENES)
    assert cells.batch is not None
    deviation = (library - np.log(median)[cells.batch]) / 0.35
    assert stats.kstest(deviation, "norm").pvalue > 1e-4


def test_the_observed_library_is_the_true_one_less_dropout() -> None:
    expected = (rates() * (1 - truth_of()["dropout_probability"])).sum(1)
    ratio = load().x[:, :GENES].sum(1) / expected
    assert np.median(ratio) == pytest.approx(1, abs=0.03)
    assert ratio.mean() == pytest.approx(1, abs=0.01)


@pytest.mark.parametrize("batches", [1, 2, 4])
def test_batch_effects_sum_to_zero_and_batches_do_not_know_states(batches: int) -> None:
    raw = load(batches=batches)
    effect = truth_of(batches=batches)["batch_effect"]
    np.testing.assert_allclose(effect.sum(0), 0, atol=1e-12)
    assert effect.std() == pytest.approx(0.25 * math.sqrt(1 - 1 / batches), rel=0.1)
    if batches > 1:
        table = stats.contingency.crosstab(labels_of(raw), cells_of(raw).batch).count
        assert stats.chi2_contingency(table).pvalue > 1e-4


def test_the_batch_effect_is_seen_in_the_counts() -> None:
    """The log ratio of genes' proportions between batches, in counts without dropout."""
    raw, truth = load(dropout=0), truth_of(dropout=0)
    x, batch = raw.x[:, :GENES].astype(float), cells_of(raw).batch
    x /= x.sum(1, keepdims=True)
    frequent = x.mean(0) > 1e-3
    seen = np.log(x[batch == 1].mean(0) / x[batch == 0].mean(0))[frequent]
    effect = (truth["batch_effect"][1] - truth["batch_effect"][0])[frequent]
    assert stats.pearsonr(seen, effect).statistic > 0.95
    assert stats.linregress(effect, seen).slope == pytest.approx(1, abs=0.1)


# --- perturbations -------------------------------------------------------------------------------


def test_perturbations_are_named_control_first_and_parts_sorted() -> None:
    names = ("control", "p1", "p2", "p3", "p1+p2", "p1+p3", "p2+p3")
    assert cells_of(load()).perturbation_names == names
    assert perturbation_names(0) == ("control",)
    assert len(perturbation_names(6)) == 1 + 6 + 15


def test_three_in_five_cells_are_controls_in_every_state() -> None:
    label, perturbation = placed()
    for state in range(6):
        seen = np.bincount(perturbation[label == state], minlength=7)
        expected = seen.sum() * np.array([0.6, *[0.4 / 6] * 6])
        assert (np.abs(seen - expected) < 1 + 1e-9).all()


def test_fold_changes_are_recovered_from_noise_free_proportions() -> None:
    """Of each cell, log π less what its programmes explain, up to the softmax's constant."""
    truth, (label, perturbation) = truth_of(), placed()
    residual = np.log(truth["cell/proportions"].astype(float)) - logits_of(truth)
    residual -= np.median(residual, axis=1, keepdims=True)
    for treated in range(7):
        effects = []
        for state in range(6):
            seen = residual[(perturbation == treated) & (label == state)]
            effect = truth["perturbation_effect"][treated] + truth["state_effect"][treated, state]
            np.testing.assert_allclose(seen, np.tile(effect, (len(seen), 1)), atol=1e-4)
            effects.append(effect)
        moved = np.mean(np.array(effects) != 0)
        assert moved == (
            0 if treated == 0 else pytest.approx(0.1 if treated < 4 else 0.19, abs=0.02)
        )


def test_a_combination_is_the_sum_of_its_parts_and_an_interaction() -> None:
    truth = truth_of()
    effect, interaction = truth["perturbation_effect"], truth["interaction"]
    assert not interaction[:4].any()
    for pair, (a, b) in {4: (1, 2), 5: (1, 3), 6: (2, 3)}.items():
        np.testing.assert_allclose(effect[pair], effect[a] + effect[b] + interaction[pair])
        np.testing.assert_allclose(
            truth["state_effect"][pair], truth["state_effect"][[a, b]].sum(0), atol=1e-12
        )
        moved = (effect[a] != 0) | (effect[b] != 0)
        share = (interaction[pair] != 0)[moved].mean()
        assert 0.2 < share < 0.6
        assert not interaction[pair][~moved].any()
        assert np.abs(interaction[pair][interaction[pair] != 0]).mean() > 0.5


def test_effects_carry_over_between_states_but_not_in_full() -> None:
    truth, (label, perturbation) = truth_of(), placed()
    spread = (
        truth["state_effect"][1:4]
        / np.where(
            truth["perturbation_effect"][1:4] == 0, np.inf, truth["perturbation_effect"][1:4]
        )[:, None]
    )
    assert spread[spread != 0].std() == pytest.approx(0.3, rel=0.15)

    def change(cells: np.ndarray) -> np.ndarray:
        treated, control = (cells & (perturbation == value) for value in (3, 0))
        proportions = truth["cell/proportions"]
        return log_mean(proportions[treated]) - log_mean(proportions[control])

    inside, elsewhere = change(label == BRANCH_B), change(label != BRANCH_B)
    assert 0.85 < np.corrcoef(inside, elsewhere)[0, 1] < 0.99


def test_adding_single_effects_misses_the_interaction() -> None:
    truth, (_, perturbation) = truth_of(), placed()
    means = [log_mean(truth["cell/proportions"][perturbation == value]) for value in range(7)]
    for pair, (a, b) in {5: (1, 3), 6: (2, 3)}.items():
        true, added = means[pair] - means[0], means[a] + means[b] - 2 * means[0]
        assert 0.6 < np.corrcoef(true, added)[0, 1] < 0.97


# --- held out ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("singles", "alone", "pairs"),
    [(1, "p1", []), (2, "p2", ["p1+p2"]), (3, "p3", ["p1+p3", "p2+p3"])],
)
def test_held_out_is_the_last_perturbation_in_branch_b_and_in_pairs(
    singles: int, alone: str, pairs: list[str]
) -> None:
    raw = load(perturbations=singles)
    names = np.array(cells_of(raw).perturbation_names)[placed(perturbations=singles)[1]]
    state = np.array(LABELS)[labels_of(raw)]
    expected = ((names == alone) & (state == "branch B")) | np.isin(names, pairs)
    assert raw.held_out is not None
    np.testing.assert_array_equal(raw.held_out, expected)
    seen = names[~raw.held_out]
    assert {f"p{one + 1}" for one in range(singles)} <= set(seen)
    assert not any(alone in name for name in names[~raw.held_out & (state == "branch B")])


def test_held_out_conditions_are_told_with_their_noise_free_means() -> None:
    truth, (label, perturbation) = truth_of(), placed()
    assert truth["held_out_names"].tolist() == ["p3 in branch B", "p1+p3", "p2+p3"]
    assert truth["held_out_perturbation"].tolist() == [3, 5, 6]
    assert truth["held_out_label"].tolist() == [BRANCH_B, -1, -1]
    expected = rates() * (1 - truth["dropout_probability"])
    conditions = zip(truth["held_out_perturbation"], truth["held_out_label"], strict=True)
    for row, (treated, state) in enumerate(conditions):
        cells = perturbation == treated
        if state >= 0:
            cells &= label == state
        mean = truth["cell/proportions"][cells].mean(0)
        np.testing.assert_allclose(truth["held_out_mean"][row], mean, rtol=1e-4)
        mean = expected[cells].sum(0) / expected[cells].sum()
        np.testing.assert_allclose(truth["held_out_expected"][row], mean, rtol=1e-4)


def test_without_perturbations_nothing_is_held_out() -> None:
    raw = load(perturbations=0)
    assert raw.held_out is None
    assert cells_of(raw).perturbation is None
    assert cells_of(raw).perturbation_names == ()
    assert not any("held_out" in name for name in truth_of(perturbations=0))


# --- proteins ------------------------------------------------------------------------------------


def test_protein_means_are_log_linear_in_the_programmes() -> None:
    truth = truth_of()
    log = truth["protein_baseline"] + truth["cell/programmes"] @ truth["protein_loadings"]
    np.testing.assert_allclose(truth["cell/protein_mean"], np.exp(log), rtol=1e-4)
    assert truth["cell/protein_mean"].shape == (3000, PROTEINS)
    assert ((truth["protein_loadings"] > 0).sum(1) == PROTEINS // 4).all()


def test_protein_counts_are_negative_binomial_and_blind_to_the_library() -> None:
    truth = truth_of()
    mean, counts = truth["cell/protein_mean"].astype(float), load().x[:, GENES:]
    residual = (counts - mean) / np.sqrt(mean + mean**2 / truth["protein_dispersion"])
    assert_standard(residual)
    library = np.log(truth["cell/library"])
    for protein in residual.T:
        assert stats.pearsonr(protein, library).pvalue > 1e-5


def test_no_proteins_leave_no_trace() -> None:
    raw = load(proteins=0)
    assert raw.proteins == 0
    assert raw.x.shape == (3000, GENES)
    assert not any("protein" in name for name in truth_of(proteins=0))


# --- options -------------------------------------------------------------------------------------


def refused(**changes: Any) -> UserError:
    with pytest.raises(UserError) as caught:
        SimulatedCells().check_options("config.yaml: datasets.cells", options(**changes))
    return caught.value


@pytest.mark.parametrize("singles", range(7))
def test_the_fewest_cells_allowed_show_every_perturbation_in_every_state(singles: int) -> None:
    def allowed(examples: int) -> bool:
        changes = {"examples": examples, "perturbations": singles}
        try:
            SimulatedCells().check_options("here", options(**changes))
        except UserError:
            return False
        return True

    fewest = next(n for n in range(1, 1000) if allowed(n))
    assert str(fewest) in str(refused(examples=fewest - 1, perturbations=singles))
    for seed in range(5):
        raw = load(
            examples=fewest, perturbations=singles, split_seed=seed, genes=8, proteins=1, batches=1
        )
        perturbation = cells_of(raw).perturbation
        index = labels_of(raw) if perturbation is None else labels_of(raw) + 6 * perturbation
        assert len(np.unique(index)) == 6 * len(perturbation_names(singles))
        for values in cells_of(raw).truth.values():
            assert values.dtype.kind != "f" or np.isfinite(values).all()


@pytest.mark.parametrize("dropout", [1e-9, 0.9999])
@pytest.mark.parametrize("batches", [1, 50])
def test_extreme_options_are_drawn(dropout: float, batches: int) -> None:
    raw = load(examples=200, genes=8, proteins=1, dropout=dropout, batches=batches)
    assert raw.x.shape == (200, 9)
    assert (
        truth_of(examples=200, genes=8, proteins=1, dropout=dropout, batches=batches)[
            "dropout_probability"
        ]
        > 0
    ).all()


@pytest.mark.parametrize(
    ("changes", "parts"),
    [
        ({"genes": 7}, ["datasets.cells.genes is 7", "at least 8", "programmes"]),
        ({"examples": 60}, ["datasets.cells.examples is 60", "at least 115", "3 perturbations"]),
        ({"perturbations": 10}, ["datasets.cells.perturbations is 10", "at most 9"]),
        ({"examples": 400_000}, ["datasets.cells.examples is 400000", "at most 312500", "320"]),
    ],
)
def test_wrong_options_are_one_sentence(changes: dict[str, Any], parts: list[str]) -> None:
    assert_one_sentence(refused(**changes), *parts)


def test_default_options_are_allowed() -> None:
    SimulatedCells().check_options("config.yaml: datasets.cells", options())
