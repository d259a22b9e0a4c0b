"""What is chosen to be shown, and in which colours."""

from __future__ import annotations

import copy
import pickle

import pandas as pd
import pytest

from vae_ablation.report.figures import choose_arms, choose_latent_dims, style, umap_runs
from vae_ablation.report.figures.results import StudyResults
from vae_ablation.report.figures.selection import arms_of
from vae_ablation.study.axes import ArmName, arm_names


def arm(name: str, **further: object) -> ArmName:
    kind = name if name in {"kl-off", "point"} else "beta"
    return ArmName(float(name.removeprefix("beta")) if kind == "beta" else 0.0, kind, further)


def arms(*names: str) -> pd.DataFrame:
    return pd.DataFrame({"arm": pd.Series([arm(name) for name in names], dtype=object)})


def test_an_arm_carries_its_levels_in_its_name_and_its_label():
    conv = arm("beta1e-05", architecture="conv", condition="batch")
    assert (conv, conv.beta, conv.kind) == ("beta1e-05-conv-given-batch", 1e-5, "beta")
    assert conv.variant == "-conv-given-batch"
    assert conv.label == "β = 1e-05, conv, conditioned on batch"
    assert [arm(name).label for name in ("kl-off", "point")] == ["KL off", "deterministic"]
    copies = [copy.deepcopy(conv), pickle.loads(pickle.dumps(conv))]
    assert all((one, one.label) == (conv, conv.label) for one in copies)


def test_arms_of_a_table_have_the_levels_of_its_columns():
    table = pd.DataFrame(
        {
            "arm": ["beta1-gene-cell-lr0.003", "kl-off", None],
            "beta": [1.0, 0.0, None],
            "kl": [True, False, None],
            "posterior": ["gaussian", "gaussian", None],
            "dispersion": ["gene_cell", "gene", None],
            "training.learning_rate": [0.003, 0.001, None],
        }
    )
    found = arm_names(table)
    assert list(found) == ["beta1-gene-cell-lr0.003", "kl-off"]
    first = found["beta1-gene-cell-lr0.003"]
    assert first.further == {"dispersion": "gene_cell", "training.learning_rate": 0.003}
    # the study's own learning rate is no part of a name
    assert found["kl-off"].further == {}


def test_arms_stand_in_the_order_of_their_kl_term():
    names = ["beta10", "point", "beta2", "kl-off", "beta0.5"]
    assert arms_of(arms(*names)) == ["point", "kl-off", "beta0.5", "beta2", "beta10"]


def test_chosen_arms_keep_the_ends_one_kl_off_and_point():
    table = arms(*[f"beta{b:g}" for b in (0.001, 0.01, 0.1, 0.9, 3, 10, 100)], "kl-off", "point")
    assert choose_arms(table, 5) == ["point", "kl-off", "beta0.001", "beta0.9", "beta100"]


def test_further_arms_are_those_farthest_on_the_log_axis():
    table = arms("beta0.001", "beta0.5", "beta0.9", "beta1", "beta2", "beta100", "beta0.03")
    assert choose_arms(table, 4) == ["beta0.001", "beta0.03", "beta1", "beta100"]


def test_all_arms_are_chosen_where_they_fit():
    table = arms("beta2", "kl-off", "beta1", "beta2")
    assert choose_arms(table, 8) == ["kl-off", "beta1", "beta2"]


@pytest.mark.parametrize(
    ("dims", "chosen"),
    [
        ([16, 2, 8], [2, 8, 16]),
        ([1, 2, 4, 8, 64], [1, 2, 64]),
        ([3, 4, 5, 6, 7], [3, 5, 7]),
        ([5], [5]),
        ([], []),
    ],
)
def test_latent_dims_are_the_ends_the_middle_and_two(dims: list[int], chosen: list[int]):
    assert choose_latent_dims(dims) == chosen


def test_umap_is_computed_for_one_seed_of_two_arms_above_two_dimensions(make_study):
    study = make_study(
        likelihoods=("gaussian",),
        latent_dims=(2, 4),
        betas=(0.1, 0.8, 4.0),
        diverged=("digits/gaussian/z4/beta0.8/seed0",),
    )
    assert umap_runs(StudyResults(study).metrics) == [
        "digits/gaussian/z4/beta0.8/seed1",
        "digits/gaussian/z4/kl-off/seed0",
    ]


def test_betas_go_from_dark_to_light_and_the_fixed_arms_stand_apart():
    betas = [arm(f"beta{b:g}") for b in (0.001, 0.01, 0.1, 0.5, 1, 2, 4, 10, 100)]
    lightness = [luminance(style.arm_color(name)) for name in betas]
    assert lightness == sorted(lightness)
    every = [*betas, arm("kl-off"), arm("point")]
    assert len({style.arm_color(name) for name in every}) == len(every)


def luminance(color: str) -> float:
    red, green, blue = (int(color[i : i + 2], 16) for i in (1, 3, 5))
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def test_a_new_likelihood_recolours_none_of_the_known_ones():
    few = style.likelihood_styles(["gaussian", "bernoulli"])
    many = style.likelihood_styles(["another", "gaussian", "bernoulli", "zz"])
    assert {name: many[name] for name in few} == few
    assert len(set(many.values())) == 4


def test_classes_beyond_ten_differ_in_shape():
    looks = {(style.class_color(rank), style.class_marker(rank)) for rank in range(40)}
    assert len(looks) == 40


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.0, "0.00"), (-0.05, "−0.050"), (0.0012, "0.001"), (9.999, "10.0"), (123.4, "123"),
     (99999.0, "99999"), (-250000.0, "−2e5"), (float("nan"), "")],
)  # fmt: skip
def test_numbers_in_cells_are_short(value: float, text: str):
    assert style.number(value) == text
