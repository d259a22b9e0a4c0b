"""From a config to runs, and from runs to packs: properties that hold for every study."""

from __future__ import annotations

import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from support import assert_one_sentence, make_run, resolved
from vae_ablation.common.errors import UserError
from vae_ablation.common.files import write_json
from vae_ablation.common.settings import schema
from vae_ablation.data import SOURCES
from vae_ablation.data.base import Observed
from vae_ablation.data.prepare import data_hash
from vae_ablation.study.config import config_schema
from vae_ablation.study.plan import Plan, Planned, Study, chunk_packs, pack_limit, plan_packs
from vae_ablation.study.run import Run, canonical_run, expand_runs
from vae_ablation.study.workflow import Workflow, open_study

AXES: dict[str, st.SearchStrategy[Any]] = {
    "dataset": st.sampled_from(["digits", "mnist"]),
    "likelihood": st.sampled_from(["gaussian", "bernoulli", "negative_binomial"]),
    "latent_dim": st.integers(1, 4),
    "beta": st.sampled_from([0, 0.01, 0.5, 1, 4]),
    "kl": st.booleans(),
    "posterior": st.sampled_from(["gaussian", "point", "fixed"]),
    "seed": st.integers(0, 3),
    "architecture": st.sampled_from(["mlp", "conv", "poe"]),
    "objective": st.sampled_from(["elbo", "iwae", "mvae"]),
    "importance_samples": st.sampled_from([1, 5]),
    "condition": st.sampled_from(["none", "label", "batch"]),
    "kl_warmup_epochs": st.sampled_from([0, 5, 10]),
    "dispersion": st.sampled_from(["gene", "gene_cell"]),
}
GRID = st.fixed_dictionaries({k: st.lists(v, min_size=1, max_size=3) for k, v in AXES.items()})
GRIDS = st.lists(GRID, min_size=1, max_size=3)
RUNS = GRIDS.map(expand_runs)


# --- the path contract ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("axes", "path", "beta", "kl", "posterior"),
    [
        ((0.5, True, "gaussian"), "digits/gaussian/z8/beta0.5/seed0", 0.5, True, "gaussian"),
        ((0.5, False, "gaussian"), "digits/gaussian/z8/kl-off/seed0", 0, False, "gaussian"),
        ((0.5, True, "point"), "digits/gaussian/z8/point/seed0", 0, False, "point"),
        ((0, True, "gaussian"), "digits/gaussian/z8/kl-off/seed0", 0, False, "gaussian"),
        ((0.5, False, "point"), "digits/gaussian/z8/point/seed0", 0, False, "point"),
        ((1, True, "gaussian"), "digits/gaussian/z8/beta1/seed0", 1, True, "gaussian"),
        ((1e-5, True, "gaussian"), "digits/gaussian/z8/beta1e-05/seed0", 1e-5, True, "gaussian"),
    ],
)
def test_paths_are_those_of_the_results_contract(
    axes: tuple[float, bool, str], path: str, beta: float, kl: bool, posterior: str
) -> None:
    run = canonical_run("digits", "gaussian", 8, *axes, 0)
    assert (run.path, run.beta, run.kl, run.posterior) == (path, beta, kl, posterior)
    assert run.pack_key == "digits/gaussian/z8"


def further(**axes: Any) -> Run:
    return make_run(latent_dim=8, **axes)


def test_further_axes_stand_in_the_arm_where_they_differ_from_their_default() -> None:
    named = {
        "beta1-conv": further(architecture="conv"),
        "kl-off-fixed": further(kl=False, posterior="fixed"),
        "beta1-iwae-k50": further(objective="iwae", importance_samples=50),
        "beta1-k5": further(importance_samples=5),
        "point-conv": further(posterior="point", architecture="conv", importance_samples=5),
        "beta1": further(objective="iwae", importance_samples=1),
    }
    assert {name: run.arm for name, run in named.items()} == {name: name for name in named}
    for name, run in named.items():
        assert run.path == f"digits/gaussian/z8/{name}/seed0"
    # what shapes tensors has a pack of its own; β, kl and a point posterior have not
    named.pop("point-conv")
    assert len({run.pack_key for run in named.values()}) == len(named)
    conv = further(architecture="conv")
    assert further(posterior="point", architecture="conv").pack_key == conv.pack_key
    assert further(posterior="point").pack_key == further(kl=False).pack_key


def counted(**axes: Any) -> Run:
    return make_run("negative_binomial", latent_dim=8, **axes)


def test_conditions_warm_ups_and_dispersions_stand_in_the_arm() -> None:
    named = {
        "beta1-given-batch": counted(condition="batch"),
        "kl-off-given-label": counted(kl=False, condition="label"),
        "beta1-gene-cell": counted(dispersion="gene_cell"),
        "beta1-poe-mvae": counted(architecture="poe", objective="mvae"),
        "beta1-warmup5": counted(kl_warmup_epochs=5),
        "beta2-given-label-gene-cell-warmup3": counted(
            beta=2, condition="label", dispersion="gene_cell", kl_warmup_epochs=3
        ),
    }
    assert {name: run.arm for name, run in named.items()} == {name: name for name in named}
    plain = counted()
    # a warm-up shapes no tensor, and the others do
    assert named.pop("beta1-warmup5").pack_key == plain.pack_key
    assert len({run.pack_key for run in (*named.values(), plain)}) == len(named) + 1


def test_axes_without_an_effect_name_no_further_run() -> None:
    for still in ({"kl": False}, {"posterior": "point"}, {"beta": 0.0}):
        assert counted(kl_warmup_epochs=5, **still) == counted(**still)
    bound = {"objective": "iwae", "importance_samples": 5}
    assert counted(kl_warmup_epochs=5, **bound) == counted(**bound)
    for name in ("gaussian", "poisson", "log_normal_gaussian"):
        assert make_run(name, dispersion="gene_cell") == make_run(name)


def test_a_warm_up_counts_for_the_run_alone_and_not_twice() -> None:
    run, warm = make_run(), make_run(kl_warmup_epochs=5)
    hashes = {
        (one.path, settings): open_study(
            resolved(training={"kl_warmup_epochs": settings})
        ).train_hash(one, "data")
        for one in (run, warm)
        for settings in (0, 5)
    }
    assert hashes[run.path, 0] == hashes[run.path, 5] != hashes[warm.path, 0]
    assert hashes[warm.path, 0] == hashes[warm.path, 5]


def test_a_run_of_before_the_further_axes_has_their_defaults() -> None:
    old = {"dataset": "d", "likelihood": "gaussian", "latent_dim": 2, "beta": 1.0, "kl": True,
           "posterior": "gaussian", "seed": 0}  # fmt: skip
    assert Run(**old) == canonical_run(**old)
    assert expand_runs([{axis: [value] for axis, value in old.items()}]) == [Run(**old)]


def test_convolutions_on_data_that_do_not_fit_are_refused() -> None:
    def error(**sections: Any) -> UserError:
        study = open_study(resolved(grids=[{"architecture": ["mlp", "conv"]}], **sections))
        with pytest.raises(UserError) as caught:
            study.check_fit("config.yaml")
        return caught.value

    deep = error(model={"channels": [2, 4, 8, 16]})
    assert_one_sentence(deep, "config.yaml", "digits", "conv", "4 times", "16 pixels", "8×8")


@pytest.mark.parametrize(
    ("dims", "sentence"),
    [(1, "have 1 dimension; allowed: 1."), (3, "have 3 dimensions; allowed: 1 to 3.")],
)
def test_more_latent_dimensions_than_the_data_have_are_refused(
    dims: int, sentence: str, tmp_path: Path
) -> None:
    np.savez(tmp_path / "own.npz", x=np.arange(20.0 * dims).reshape(20, dims))
    own = {"source": "table", "path": str(tmp_path / "own.npz")}
    study = open_study(resolved(datasets={"own": own}, grids=[{"latent_dim": [4]}]))
    with pytest.raises(UserError) as caught:
        study.check_fit("config.yaml")
    assert_one_sentence(caught.value, "latent_dim is 4 for dataset own", sentence)


def test_data_that_change_after_a_call_has_planned_are_refused(tmp_path: Path) -> None:
    own = {"source": "npz", "path": str(tmp_path / "own.npz")}
    folders = []
    for value in (1, 2):
        np.savez(own["path"], x=np.full((20, 3), value, np.uint8))
        study = open_study(resolved(datasets={"own": own}))
        folders.append(study.prepared["own"])
        assert study.unchanged("own", folders[-1]) == folders[-1]
    with pytest.raises(UserError) as caught:
        study.unchanged("own", folders[0])
    assert_one_sentence(caught.value, "dataset own", "have changed", "run the same command again")


def test_a_setting_counts_only_for_the_runs_that_read_it() -> None:
    def changed(run: Run, **model: Any) -> bool:
        settings = [open_study(resolved()), open_study(resolved(model=model))]
        return len({study.train_hash(run, "data") for study in settings}) == 2

    assert changed(make_run(architecture="conv"), channels=[3])
    assert not changed(make_run(), channels=[3])
    assert changed(make_run(posterior="fixed"), posterior_sigma=0.5)
    assert not changed(make_run(), posterior_sigma=0.5)


def counts(run: Run, before: dict[str, Any], after: dict[str, Any]) -> bool:
    """Whether another model section is another result of the run."""
    return len({open_study(resolved(model=m)).train_hash(run, "data") for m in (before, after)}) > 1


def test_a_scale_or_its_floor_counts_where_it_is_read() -> None:
    scales = ("learned_scalar", "learned_per_dimension", "fixed")
    for scale in scales:
        base = {"gaussian_scale": scale}
        sigma = counts(make_run(), base, base | {"gaussian_sigma": 0.5})
        floor = counts(make_run(), base, base | {"scale_floor": 0.5})
        assert (sigma, floor) == (scale == "fixed", scale != "fixed")
    assert counts(make_run(), {"gaussian_scale": "fixed"}, {"gaussian_scale": "learned_scalar"})
    for name in ("discretized_logistic", "log_normal_gaussian"):
        assert counts(make_run(name), {}, {"scale_floor": 0.5})
        assert not counts(make_run(name), {}, {"gaussian_scale": "fixed", "gaussian_sigma": 0.5})
    for name in ("bernoulli", "poisson", "negative_binomial"):
        further = {"scale_floor": 0.5, "logit_clamp": 3.0, "gaussian_sigma": 2.0}
        assert not counts(make_run(name), {}, further)


def test_an_activation_counts_where_there_is_a_hidden_layer() -> None:
    linear, tanh = {"hidden": []}, {"hidden": [], "activation": "tanh"}
    assert not counts(make_run(), linear, tanh)
    assert not counts(make_run("poisson", architecture="poe"), linear, tanh)
    assert counts(make_run(architecture="conv"), linear, tanh)
    assert counts(make_run(), {}, {"activation": "tanh"})


@pytest.mark.parametrize(
    ("section", "one", "other"),
    [
        ("model", {"gaussian_scale": "fixed", "gaussian_sigma": 1}, {"gaussian_scale": "fixed"}),
        ("model", {"scale_floor": 2}, {"scale_floor": 2.0}),
        ("model", {"hidden": [8.0, 4]}, {"hidden": [8, 4]}),
        ("training", {"epochs": 7.0}, {"epochs": 7}),
        ("training", {"gradient_clip": 5}, {"gradient_clip": 5.0}),
        ("training", {"batch_size": 128.0}, {}),
        ("training", {"learning_rate": 1}, {"learning_rate": 1.0}),
    ],
)
def test_values_count_and_not_their_spellings(
    section: str, one: dict[str, Any], other: dict[str, Any]
) -> None:
    configs = [resolved() for _ in range(3)]
    for config, change in zip(configs, (one, other, {}), strict=True):
        config[section] = config[section] | change  # behind the border, where spellings may stand
    run = make_run()
    hashes = [open_study(config).train_hash(run, "data") for config in configs]
    assert hashes[0] == hashes[1]
    if other and "gaussian_sigma" not in one:
        assert hashes[1] != hashes[2]


def test_a_new_key_counts_only_where_it_differs_from_its_default(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def hashes(**change: Any) -> list[str]:
        config = resolved(applications={"denoising": {}})
        for section in (*SECTIONS, "denoising"):
            place = config["applications"] if section == "denoising" else config
            place[section] = place[section] | change
        study = open_study(config)
        data = data_hash(config["datasets"]["digits"] | change)
        return [study.train_hash(make_run(), "data"), study.eval_hash, study.apply_hash, data]

    before = hashes()
    digits = type(SOURCES["sklearn-digits"])
    monkeypatch.setattr(digits, "shared_options", digits.shared_options | {"new_key"})
    rules = [
        rule
        for properties in (config_schema()["properties"], schema()["properties"])
        for rule in (
            *(properties[name]["properties"] for name in SECTIONS),
            properties["applications"]["properties"]["denoising"]["properties"],
            properties["datasets"]["additionalProperties"]["properties"],
        )
    ]
    for rule in rules:
        monkeypatch.setitem(rule, "new_key", {"type": "number", "default": 3})
    assert hashes() == hashes(new_key=3) == hashes(new_key=3.0) == before
    assert not set(hashes(new_key=4)) & set(before)


SECTIONS = ("training", "evaluation")


def test_controls_are_named_after_everything_that_their_rows_depend_on() -> None:
    linear = {"hidden": [], "gaussian_scale": "fixed", "gaussian_sigma": 0.5}

    def path(model: dict[str, Any] = linear, evaluation: Any = None, **grid: Any) -> Path:
        config = resolved(
            grids=[{"likelihood": ["gaussian"]} | grid], model=model, evaluation=evaluation or {}
        )
        study = open_study(config)
        return Workflow(study, Plan([]), "config.yaml").controls_path("digits")

    deep = {"hidden": [8]}
    base, plain = path(), path(deep)
    changed = [
        path(beta=[1, 2]),
        path(latent_dim=[3]),
        path(seed=[1]),
        path(condition=["none", "label"]),
        path(linear | {"gaussian_sigma": 0.6}),
        path(linear | {"center": True}),
        path(evaluation={"seed": 1}),
        path(likelihood=["bernoulli"]),
    ]
    assert len({base, *changed}) == len(changed) + 1
    same = [
        path(deep, beta=[1, 2]),
        path(deep, kl=[True, False], posterior=["gaussian", "fixed"]),
        path(deep, likelihood=["gaussian", "bernoulli"]),
        path(deep | {"gaussian_sigma": 3, "channels": [4], "logit_clamp": 3}),
        path(deep, evaluation={"nll_samples": 8}),
    ]
    assert set(same) == {plain}


# --- expand_runs ---------------------------------------------------------------------------------


@given(GRIDS)
def test_no_run_comes_twice_and_no_path_names_two_runs(grids: list[dict[str, Any]]) -> None:
    runs = expand_runs(grids)
    assert len(set(runs)) == len(runs)
    assert len({run.path for run in runs}) == len(runs)


@given(GRIDS)
def test_the_study_is_the_union_of_its_grids(grids: list[dict[str, Any]]) -> None:
    assert set(expand_runs(grids)) == {run for grid in grids for run in expand_runs([grid])}


@given(GRIDS, st.randoms(use_true_random=False))
def test_the_order_of_grids_and_values_changes_nothing(
    grids: list[dict[str, Any]], shuffle: random.Random
) -> None:
    shuffled = [
        {axis: shuffle.sample(values, len(values)) for axis, values in grid.items()}
        for grid in shuffle.sample(grids, len(grids))
    ]
    assert expand_runs(shuffled) == expand_runs(grids)


@given(GRID)
def test_kl_off_and_point_posteriors_have_no_beta_of_their_own(grid: dict[str, Any]) -> None:
    for run in expand_runs([grid]):
        assert run.kl == (run.beta > 0)
        assert run.posterior != "point" or run.beta == 0
    off = expand_runs([grid | {"kl": [False]}])
    assert off == expand_runs([grid | {"kl": [False], "beta": [1]}])
    points = expand_runs([grid | {"posterior": ["point"]}])
    assert points == expand_runs([grid | {"posterior": ["point"], "beta": [7], "kl": [True]}])


@given(GRID, st.sampled_from(sorted(AXES)), st.data())
def test_one_more_value_of_an_axis_only_adds(
    grid: dict[str, Any], axis: str, data: st.DataObject
) -> None:
    more = grid | {axis: [*grid[axis], data.draw(AXES[axis])]}
    assert set(expand_runs([grid])) <= set(expand_runs([more]))


@given(GRID)
def test_a_grid_without_collapsing_axes_is_its_full_product(grid: dict[str, Any]) -> None:
    plain = grid | {"kl": [True], "posterior": ["gaussian", "fixed"], "beta": [1, 2]}
    plain |= {"importance_samples": [3, 5]}  # of one sample both objectives are one
    warm = {"objective": ["elbo", "mvae"], "kl_warmup_epochs": [0, 5]}  # iwae has nothing to warm
    dispersed = {"likelihood": ["negative_binomial", "zero_inflated_negative_binomial"]}
    still = {"kl_warmup_epochs": [0], "dispersion": ["gene"]}
    for full in (plain | still, plain | warm | dispersed):
        count = 1
        for values in full.values():
            count *= len(set(values))
        assert len(expand_runs([full])) == count


def test_the_default_study_has_the_runs_that_were_asked_for() -> None:
    grid = {
        "likelihood": ["discretized_logistic", "gaussian", "continuous_bernoulli"],
        "latent_dim": [2, 8, 16],
        "beta": [0.01, 0.1, 0.5, 1, 4, 16],
        "kl": [True, False],
        "seed": [0, 1, 2],
    }
    runs = expand_runs(resolved(grids=[grid])["grids"])
    assert len(runs) == 3 * 3 * (6 + 1) * 3


# --- packs ---------------------------------------------------------------------------------------

LIMITS = st.integers(1, 7)


def limits_of(runs: list[Run], largest: int) -> dict[str, int]:
    return {run.pack_key: largest for run in runs}


def hashes_of(runs: list[Run], salt: str = "h") -> dict[str, str]:
    return {run.path: f"{salt}{run.path}" for run in runs}


def plan(
    runs: list[Run], largest: int, held: dict[str, str] | None = None, taken: set[str] = frozenset()
) -> dict[str, str]:
    """Run path → pack."""
    held = held or {}
    reasons = {run.path: "new" for run in runs if run.path not in held}
    planned = plan_packs(runs, hashes_of(runs), held, reasons, limits_of(runs, largest), taken)
    assert [item.run for item in planned] == runs
    assert all((item.reason is None) == (item.run.path in held) for item in planned)
    return {item.run.path: item.pack for item in planned}


@given(RUNS, LIMITS)
def test_every_run_is_in_exactly_one_pack_of_equal_shapes_and_limited_size(
    runs: list[Run], largest: int
) -> None:
    packs = chunk_packs(runs, limits_of(runs, largest), hashes_of(runs), set())
    assert sorted(run for members in packs.values() for run in members) == sorted(runs)
    for members in packs.values():
        assert len({run.pack_key for run in members}) == 1
        assert 1 <= len(members) <= largest
    for key in {run.pack_key for run in runs}:
        count = sum(run.pack_key == key for run in runs)
        assert sum(m[0].pack_key == key for m in packs.values()) == -(-count // largest)


@given(RUNS, LIMITS, st.randoms(use_true_random=False))
def test_the_order_of_runs_does_not_move_them(
    runs: list[Run], largest: int, shuffle: random.Random
) -> None:
    assert plan(shuffle.sample(runs, len(runs)), largest) == plan(runs, largest)


@given(RUNS, LIMITS, LIMITS, st.data())
def test_held_runs_stay_and_new_packs_hold_only_new_runs(
    runs: list[Run], before: int, after: int, data: st.DataObject
) -> None:
    old = data.draw(st.lists(st.sampled_from(runs), unique=True))
    held = plan(sorted(old), before) if old else {}
    now = plan(runs, after, held)
    assert {path: now[path] for path in held} == held
    fresh = {now[run.path] for run in runs if run.path not in held}
    assert not fresh & set(held.values())


@given(RUNS, LIMITS, st.data())
def test_taking_runs_away_moves_no_other(
    runs: list[Run], largest: int, data: st.DataObject
) -> None:
    held = plan(runs, largest)
    rest = data.draw(st.lists(st.sampled_from(runs), unique=True, min_size=1).map(sorted))
    assert plan(rest, largest, {run.path: held[run.path] for run in rest}) == {
        run.path: held[run.path] for run in rest
    }


@given(RUNS, LIMITS)
def test_an_id_that_was_used_never_comes_back(runs: list[Run], largest: int) -> None:
    taken: set[str] = set()
    for _ in range(3):
        ids = set(plan(runs, largest, taken=taken).values())
        assert not ids & taken
        taken |= ids


@given(RUNS, LIMITS)
def test_other_settings_give_other_packs(runs: list[Run], largest: int) -> None:
    limits = limits_of(runs, largest)
    one = chunk_packs(runs, limits, hashes_of(runs, "a"), set())
    other = chunk_packs(runs, limits, hashes_of(runs, "b"), set())
    assert not set(one) & set(other)


@given(RUNS, LIMITS, st.data())
def test_runs_that_share_a_checkpoint_stay_together_without_others(
    runs: list[Run], largest: int, data: st.DataObject
) -> None:
    key = data.draw(st.sampled_from(runs)).pack_key
    alike = [run for run in runs if run.pack_key == key]
    begun = data.draw(st.lists(st.sampled_from(alike), unique=True, min_size=1, max_size=largest))
    paths = {run.path for run in begun}
    packs = chunk_packs(runs, limits_of(runs, largest), hashes_of(runs), set(), [paths])
    assert sorted(run for members in packs.values() for run in members) == sorted(runs)
    assert sorted(begun) in [sorted(members) for members in packs.values()]


def test_a_study_remembers_checkpoints_and_what_memory_sufficed_for(tmp_path: Path) -> None:
    config = resolved(grids=[{"likelihood": ["gaussian"], "seed": [0, 1, 2, 3, 4, 5]}])
    config["packs"] = config["packs"] | {"max_runs": 4}
    study = Study(config, tmp_path / "s", tmp_path / ".data")
    assert [len(items) for items in study.plan().packs.values()] == [3, 3]
    begun = [item for item in study.plan().planned if item.run.seed in {1, 4}]
    members = {item.run.path: item.train_hash for item in begun}
    for name, version in (("a", study.code_version), ("b", "another")):
        write_json(
            study.checkpoints / name / "members.json",
            {"runs": members if name == "a" else {}, "code_version": version},
        )
    packs = [{item.run.seed for item in items} for items in study.plan().packs.values()]
    assert sorted(packs, key=len) == [{1, 4}, {0, 2, 3, 5}]
    (study.checkpoints / "a" / "members.json").write_text("broken")
    key = begun[0].run.pack_key
    study.note_limit(key, 2)
    study.note_limit(key, 3)
    assert [len(items) for items in study.plan().packs.values()] == [2, 2, 2]


def test_pack_ids_are_plain_folder_names() -> None:
    ids = set(plan([make_run(), make_run("discretized_logistic", 16, kl=False)], 1).values())
    assert all(set(name) <= set("abcdefghijklmnopqrstuvwxyz0123456789_-") for name in ids)


@given(RUNS)
@settings(max_examples=20)
def test_a_plan_survives_its_json(runs: list[Run]) -> None:
    whole = Plan([Planned(run, "p", "h", None if run.seed else "new") for run in runs])
    assert Plan.from_json(whole.to_json()) == whole


def test_a_plan_says_how_many_runs_would_train_and_why() -> None:
    runs = [make_run(seed=seed) for seed in range(4)]
    reasons = [None, "new", "new", "failed before"]
    packs = ["a", "b", "b", "c"]
    whole = Plan([Planned(*item) for item in zip(runs, packs, "hhhh", reasons, strict=True)])
    assert whole.summary() == (
        "4 runs wanted, 1 trained, 3 to train in 2 packs (1 failed before, 2 new)"
    )
    assert Plan(whole.planned[:1]).summary() == "1 runs wanted, all trained"


# --- pack_limit ----------------------------------------------------------------------------------

IMAGES = Observed((28, 28), 256)


def limit(latent_dim: int = 8, dims: Observed = IMAGES, **packs: Any) -> int:
    return pack_limit(make_run(latent_dim=latent_dim), dims, resolved(packs=packs))


def test_a_number_is_the_limit() -> None:
    assert limit(max_runs=5) == 5


def test_auto_packs_more_runs_into_more_memory_and_fewer_larger_ones() -> None:
    assert 1 <= limit(memory_gb=0.5) < limit(memory_gb=1) < limit(memory_gb=8)
    assert limit(dims=IMAGES) < limit(dims=Observed((8, 8), 17))
    assert limit(memory_gb=1e-9) == 1


def test_a_pack_at_its_limit_keeps_weights_and_moments_within_its_memory() -> None:
    weights = 784 * 128 + 128 + 128 * 16 + 16 + 8 * 128 + 128 + 128 * 784 + 784
    assert limit(memory_gb=1) * weights * 4 * 4 <= 2**30


# --- what the data do not allow ------------------------------------------------------------------


def test_a_latent_dimension_larger_than_the_data_is_refused() -> None:
    study = open_study(resolved(grids=[{"latent_dim": [2, 65]}]))
    with pytest.raises(UserError) as caught:
        study.check_fit("config.yaml")
    assert_one_sentence(caught.value, "config.yaml", "latent_dim", "65", "digits", "1 to 64")


def test_a_latent_dimension_as_large_as_the_data_is_allowed() -> None:
    open_study(resolved(grids=[{"latent_dim": [64]}])).check_fit("config.yaml")


def test_a_training_setting_changes_the_train_hash_and_an_evaluation_setting_does_not() -> None:
    run = make_run()
    base = open_study(resolved()).train_hash(run, "data")
    for sections in (
        {"training": {"epochs": 7}},
        {"model": {"hidden": [3]}},
        {"model": {"scale_floor": 0.5}},
    ):
        assert open_study(resolved(**sections)).train_hash(run, "data") != base
    for sections in (
        {"evaluation": {"nll_samples": 8}},
        {"packs": {"max_runs": 1}},
        {"training": {"device": "cpu"}},
        {"model": {"logit_clamp": 3}},  # the gaussian does not read it
        {"grids": [{"beta": [1, 2]}]},
    ):
        assert open_study(resolved(**sections)).train_hash(run, "data") == base
    assert open_study(resolved()).train_hash(run, "other data") != base
    evaluation = [open_study(resolved(evaluation={"nll_samples": n})).eval_hash for n in (8, 12)]
    assert evaluation[0] != evaluation[1]


def test_reading_a_study_imports_no_torch() -> None:
    code = "import sys, vae_ablation.study.workflow; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
