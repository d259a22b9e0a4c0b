"""Training: a run's result depends on nothing but the run, and each setting does what it says."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from scipy.sparse import csr_matrix

from support import (
    COUNT_LIKELIHOODS,
    CPU,
    IMAGE_LIKELIHOODS,
    assert_one_sentence,
    examples,
    make_dataset,
    make_run,
    model_options,
    result_bytes,
    stacked,
    trained_model,
    training_settings,
)
from vae_ablation.common.errors import UserError
from vae_ablation.data.base import Dataset
from vae_ablation.data.counts import CountMatrix
from vae_ablation.evaluation.bounds import encode
from vae_ablation.models.objectives import OBJECTIVES
from vae_ablation.models.streams import stream
from vae_ablation.models.vae import VAE
from vae_ablation.study.run import Run
from vae_ablation.training import pack as training
from vae_ablation.training.devices import choose_device
from vae_ablation.training.pack import (
    UNWATCHED,
    Hooks,
    TrainingResult,
    clipped_each_run,
    step_size,
    train_pack,
    warmed_up,
)
from vae_ablation.training.streams import BLOCKS, noise_blocks


def arms(likelihood: str, latent_dim: int = 2, **further: Any) -> list[Run]:
    """Sixteen runs that share one pack: every kind of arm, several seeds."""
    kinds: list[dict[str, Any]] = [
        {"beta": 0.1},
        {"beta": 1.0},
        {"beta": 4.0},
        {"kl": False},
        {"posterior": "point"},
    ]
    runs = [
        make_run(likelihood, latent_dim, **kind, seed=seed, **further)
        for seed in range(3)
        for kind in kinds
    ]
    return [*runs, make_run(likelihood, latent_dim, beta=0.5, seed=7, **further)]


def train(
    runs: list[Run],
    dataset: Dataset,
    options: dict[str, Any] | None = None,
    hooks: Hooks = UNWATCHED,
    **settings: Any,
) -> dict[str, TrainingResult]:
    chosen = training_settings(**settings)
    results = train_pack(runs, dataset, options or model_options(), chosen, hooks=hooks)
    assert [result.run for result in results] == runs
    return {result.run.path: result for result in results}


def assert_same(some: dict[str, TrainingResult], others: dict[str, TrainingResult]) -> None:
    """Every run in `some` has the same bytes in `others`."""
    assert some
    for path, result in some.items():
        assert result_bytes(result) == result_bytes(others[path]), path


# --- a run does not depend on its pack -----------------------------------------------------------


@pytest.mark.parametrize("likelihood", IMAGE_LIKELIHOODS)
def test_a_run_has_the_same_bytes_alone_among_3_among_16_and_in_another_order(
    likelihood: str, few_digits: Dataset
) -> None:
    runs = arms(likelihood)
    whole = train(runs, few_digits)
    assert all(result.status == "ok" for result in whole.values())
    assert_same(train(runs[::-1], few_digits), whole)
    assert_same(train(runs[4:7], few_digits), whole)
    for run in (runs[1], runs[3], runs[4], runs[-1]):
        assert_same(train([run], few_digits), whole)


def test_numbers_per_run_share_a_pack_and_change_no_byte(few_digits: Dataset) -> None:
    """Learning rate, schedule, gradient clip and patience differ within one pack."""
    own: list[dict[str, Any]] = [
        {"training.learning_rate": 0.01},
        {"training.learning_rate": 0.0005, "training.gradient_clip": 0.5},
        {"training.learning_rate_schedule": "cosine"},
        {"training.early_stopping_patience": 1},
        {},
    ]
    runs = [make_run(seed=seed, beta=0.5, **levels) for seed in range(2) for levels in own]
    assert len({run.pack_key for run in runs}) == 1
    whole = train(runs, few_digits)
    assert_same(train(runs[::-1], few_digits), whole)
    for run in runs[:5]:
        assert_same(train([run], few_digits), whole)
    # and it is what the same setting gives where the whole study has it
    plain = make_run(beta=0.5)
    usual = train([plain], few_digits, learning_rate=0.01)[plain.path]
    assert usual.weights.keys() == whole[runs[0].path].weights.keys()
    for name, weight in usual.weights.items():
        assert torch.equal(weight, whole[runs[0].path].weights[name]), name


def test_a_smaller_train_split_is_part_of_every_larger_one(digits: Dataset) -> None:
    rows = {count: digits.with_train_examples(count).rows("train") for count in (20, 300, 1000)}
    assert {count: len(found) for count, found in rows.items()} == {20: 20, 300: 300, 1000: 1000}
    assert set(rows[20]) < set(rows[300]) < set(rows[1000]) < set(digits.rows("train"))
    shares = np.bincount(digits.labels[rows[300]], minlength=10) / 300
    whole = np.bincount(digits.labels[digits.rows("train")], minlength=10)
    np.testing.assert_allclose(shares, whole / whole.sum(), atol=1.5 / 300)
    reduced = digits.with_train_examples(300)
    for split in ("validation", "test"):
        np.testing.assert_array_equal(reduced.rows(split), digits.rows(split))
    assert digits.with_train_examples(None) is digits


def test_more_train_examples_than_there_are_is_one_sentence(few_digits: Dataset) -> None:
    count = len(few_digits.rows("train"))
    with pytest.raises(UserError) as caught:
        few_digits.with_train_examples(count + 1)
    assert_one_sentence(caught.value, "train_examples", str(count + 1), f"at most {count}")


def test_a_run_trains_on_its_own_train_split(few_digits: Dataset) -> None:
    few = make_run(train_examples=40)
    reduced = few_digits.with_train_examples(40)
    got = train([few], few_digits)[few.path]
    expected = train([make_run()], reduced)[make_run().path]
    for name, weight in expected.weights.items():
        assert torch.equal(weight, got.weights[name]), name
    assert few.pack_key != make_run().pack_key


@pytest.mark.parametrize(
    ("hidden", "activation"), [([], "relu"), ([33, 7], "tanh"), ([5], "silu"), ([1], "relu")]
)
@pytest.mark.parametrize("latent_dim", [1, 3, 16])
def test_packs_change_no_bit_for_odd_shapes_and_a_last_batch_of_one(
    hidden: list[int], activation: str, latent_dim: int, few_digits: Dataset
) -> None:
    runs = arms("gaussian", latent_dim)[:6]
    options = model_options(hidden=hidden, activation=activation)
    dataset = make_dataset(few_digits.x[:200, :49], shares=(0.505, 0.3))
    assert len(dataset.rows("train")) % 50 == 1
    whole = train(runs, dataset, options)
    assert_same(train(runs[2:4], dataset, options), whole)
    assert_same(train(runs[:1], dataset, options), whole)
    assert_same(train(runs[5:], dataset, options), whole)


def test_packs_change_no_bit_at_the_default_sizes(digits: Dataset) -> None:
    options = model_options(hidden=[128])
    runs = arms("discretized_logistic", 8)
    whole = train(runs, digits, options, epochs=1, batch_size=128)
    assert_same(train(runs[3:4], digits, options, epochs=1, batch_size=128), whole)
    assert_same(train(runs[5:8], digits, options, epochs=1, batch_size=128), whole)


def test_a_pack_takes_as_many_steps_as_one_of_its_runs(few_digits: Dataset) -> None:
    runs = arms("gaussian")[:8]
    steps = []
    for members in (runs, runs[:1]):
        taken: list[None] = []
        hooks = Hooks(before_step=partial(taken.append, None))
        train(members, few_digits, epochs=8, hooks=hooks)
        steps.append(len(taken))
    assert steps == [8 * -(-len(few_digits.rows("train")) // 50)] * 2


def test_packs_change_no_bit_with_early_stopping(few_digits: Dataset) -> None:
    settings = {"epochs": 30, "early_stopping_patience": 2, "learning_rate": 0.02}
    runs = arms("gaussian")
    whole = train(runs, few_digits, **settings)
    stopped = {len(result.history) for result in whole.values()}
    assert len(stopped) > 1, "no run stopped before another: the test shows nothing"
    assert_same(train(runs[:3], few_digits, **settings), whole)
    for run in runs[3:6]:
        assert_same(train([run], few_digits, **settings), whole)


def test_packs_change_no_bit_with_dynamic_binarisation_clipping_and_warm_up(
    few_digits: Dataset,
) -> None:
    x = few_digits.x
    drawn = (np.random.default_rng(0).random(x.shape) < x).astype(np.float32)
    dataset = make_dataset(x, levels=2, binary=True, dynamic=True, fixed=drawn)
    runs = arms("bernoulli", kl_warmup_epochs=2)
    assert runs[2].kl_warmup_epochs == 2
    whole = train(runs, dataset, gradient_clip=5.0)
    assert_same(train(runs[6:9], dataset, gradient_clip=5.0), whole)
    assert_same(train(runs[2:3], dataset, gradient_clip=5.0), whole)


def test_packs_change_no_bit_in_parts(few_digits: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    runs = arms("continuous_bernoulli")[:7]
    settings = {"epochs": 12, "early_stopping_patience": 2, "learning_rate": 0.02}
    whole = train(runs, few_digits, **settings)
    for runs_a_part in (3, 1):
        values = runs_a_part * training_settings()["batch_size"] * few_digits.observed.dims
        monkeypatch.setattr(training, "PART_VALUES", values)
        assert_same(train(runs, few_digits, **settings), whole)
    assert_same(train(runs[:2], few_digits, **settings), whole)


def test_the_same_run_gives_the_same_bytes_again(few_digits: Dataset) -> None:
    runs = arms("gaussian")[:3]
    assert_same(train(runs, few_digits), train(runs, few_digits))


def test_training_leaves_torchs_global_generator_alone_and_does_not_read_it(
    few_digits: Dataset,
) -> None:
    torch.manual_seed(1)
    state = torch.get_rng_state()
    first = train([make_run()], few_digits)
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(2)
    assert_same(first, train([make_run()], few_digits))


def test_seeds_differ_and_arms_of_one_seed_start_from_the_same_weights(
    few_digits: Dataset,
) -> None:
    runs = [make_run(beta=1.0), make_run(beta=4.0), make_run(beta=1.0, seed=1)]
    models = [VAE(few_digits.observed, "gaussian", 2, model_options(), run.seed) for run in runs]
    first = [model.encoder.network[0].weight for model in models]
    assert torch.equal(first[0], first[1])
    assert not torch.equal(first[0], first[2])
    results = train(runs, few_digits)
    rows = [results[run.path].history for run in runs]
    assert not np.array_equal(rows[0], rows[2])
    assert not np.array_equal(rows[0], rows[1])


# --- runs that diverge or fail -------------------------------------------------------------------


@pytest.mark.parametrize("beta", [1e38, 1e300])
def test_a_diverging_neighbour_changes_no_bit(beta: float, few_digits: Dataset) -> None:
    fine = [make_run(beta=1.0), make_run(beta=1.0, seed=1), make_run(kl=False)]
    bad = make_run(beta=beta)
    whole = train([fine[0], bad, *fine[1:]], few_digits, epochs=4)
    assert whole[bad.path].status == "diverged"
    assert len(whole[bad.path].history) < 4
    if beta > 1e38:  # no float32 holds it: the first step already is infinite
        assert "not finite" in whole[bad.path].reason
    assert np.isfinite(whole[bad.path].history).all()
    assert_same(train(fine, few_digits, epochs=4), whole)


def test_a_gradient_whose_square_overflows_is_marked_and_not_passed_off_as_ok(
    few_digits: Dataset,
) -> None:
    (result,) = train([make_run(beta=1e25)], few_digits, epochs=2).values()
    assert result.status == "diverged"
    assert "too large" in result.reason


def test_a_pack_in_which_every_run_diverges_ends(few_digits: Dataset) -> None:
    runs = [make_run(beta=1e300, seed=seed) for seed in range(2)]
    results = train(runs, few_digits, epochs=4)
    assert {result.status for result in results.values()} == {"diverged"}


def test_a_huge_learning_rate_diverges_and_is_marked(few_digits: Dataset) -> None:
    (result,) = train([make_run(kl=False)], few_digits, learning_rate=1e18, epochs=5).values()
    assert result.status == "diverged"


def fail_with_seed_13(runs: Sequence[Run], epoch: int) -> None:
    """Raise before the second epoch of every pack that holds seed 13."""
    if epoch == 1 and any(run.seed == 13 for run in runs):
        raise RuntimeError("an error\nof one run")


def test_a_failing_run_is_alone_in_failing(few_digits: Dataset) -> None:
    fine = arms("gaussian")[:6]
    bad = make_run(seed=13)
    alone = train(fine, few_digits)
    hooks = Hooks(before_epoch=fail_with_seed_13)
    whole = train([*fine[:4], bad, *fine[4:]], few_digits, hooks=hooks)
    assert whole[bad.path].status == "failed"
    assert whole[bad.path].reason == "RuntimeError: an error of one run"
    assert not whole[bad.path].weights
    assert len(whole[bad.path].history) == 0
    assert_same(alone, whole)


def test_a_users_error_is_not_taken_for_a_failing_run(few_digits: Dataset) -> None:
    if torch.backends.mps.is_available():
        pytest.skip("this machine has the device that the test takes to be absent")
    with pytest.raises(UserError, match=r"training\.device is 'mps'"):
        train([make_run()], few_digits, device="mps")


def test_auto_takes_a_device_that_is_there() -> None:
    assert choose_device("cpu") == CPU
    assert choose_device("auto").type in {"cpu", "cuda", "mps"}


# --- what is minimised and what is recorded ------------------------------------------------------


def reference_training(
    run: Run, dataset: Dataset, options: dict[str, Any], settings: dict[str, Any]
) -> tuple[VAE, list[list[float]]]:
    """The textbook loop of one run, with torch.optim.Adam, on the same random streams."""
    model = VAE(dataset.observed, run.likelihood, run.latent_dim, options, run.seed)
    adam = torch.optim.Adam(model.parameters(), lr=settings["learning_rate"])
    shuffle, noises = stream(run.seed, "shuffle"), stream(run.seed, "noise")
    x = torch.from_numpy(dataset.observe("train"))
    held_out = torch.from_numpy(dataset.observe("validation"))
    held_out_noise = torch.randn(
        len(held_out), run.latent_dim, generator=stream(run.seed, "validation")
    )
    rows = []
    for epoch in range(settings["epochs"]):
        warmup = run.kl_warmup_epochs
        weight = run.beta * (min(1.0, epoch / warmup) if warmup else 1.0)
        order = torch.randperm(len(x), generator=shuffle)
        noise = torch.randn(len(x), run.latent_dim, generator=noises)
        sums = np.zeros(2)
        for start in range(0, len(x), settings["batch_size"]):
            batch = x[order[start : start + settings["batch_size"]]]
            distortion, rate = textbook_terms(
                model, batch, noise[start : start + settings["batch_size"]]
            )
            loss = (distortion + weight * rate).mean()
            adam.zero_grad()
            loss.backward()
            adam.step()
            sums += [float(distortion.detach().sum()), float(rate.detach().sum())]
        with torch.no_grad():
            validation = [float(t.mean()) for t in textbook_terms(model, held_out, held_out_noise)]
        terms = [[*(sums / len(x))], validation]
        rows.append([v for d, r in terms for v in (d, r, d + run.beta * r)])
    return model, rows


def textbook_terms(
    model: VAE, x: torch.Tensor, noise: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Gaussian distortion and rate by torch.distributions."""
    mean, log_std = model.encoder.network(x).chunk(2, -1)
    q = torch.distributions.Normal(mean, log_std.exp())
    z = mean + log_std.exp() * noise
    scale = model.decoder.options["gaussian_sigma"]
    log_p = torch.distributions.Normal(model.decoder.network(z), scale).log_prob(x)
    prior = torch.distributions.Normal(torch.zeros_like(mean), torch.ones_like(mean))
    return -log_p.sum(-1), torch.distributions.kl_divergence(q, prior).sum(-1)


@pytest.mark.parametrize("warmup", [0, 3])
def test_training_is_the_textbook_loop(warmup: int, few_digits: Dataset) -> None:
    options = model_options(hidden=[16], gaussian_scale="fixed", gaussian_sigma=0.3)
    settings = training_settings(epochs=4, batch_size=64)
    runs = [
        make_run(beta=0.5, latent_dim=3, kl_warmup_epochs=warmup),
        make_run(beta=4.0, latent_dim=3, seed=1, kl_warmup_epochs=warmup),
    ]
    for result in train_pack(runs, few_digits, options, settings):
        model, rows = reference_training(result.run, few_digits, options, settings)
        np.testing.assert_allclose(result.history, rows, rtol=2e-4)
        for name, weight in model.named_parameters():
            np.testing.assert_allclose(
                result.weights[name], weight.detach(), atol=2e-4, err_msg=name
            )


def test_the_history_has_a_row_per_epoch_and_falls(few_digits: Dataset) -> None:
    (result,) = train([make_run(beta=0.1)], few_digits, epochs=25).values()
    assert result.history.shape == (25, 6)
    assert result.history.dtype == np.float64
    assert result.epochs_kept == 25
    objective = result.history[:, 3] + 0.1 * result.history[:, 4]
    np.testing.assert_array_equal(result.history[:, 5], objective)
    assert objective[-1] < objective[0] - 1
    assert (result.history[:, [1, 4]] >= 0).all()


def test_a_larger_beta_buys_a_smaller_rate(few_digits: Dataset) -> None:
    runs = [make_run(kl=False), make_run(beta=0.01), make_run(beta=1.0), make_run(beta=16.0)]
    results = train(runs, few_digits, epochs=60, learning_rate=0.005)
    rates = [results[run.path].history[-1, 4] for run in runs]
    assert rates == sorted(rates, reverse=True)
    assert rates[-1] < 0.1
    assert rates[0] > 5


def test_warm_up_begins_without_the_kl_and_reaches_beta(few_digits: Dataset) -> None:
    off, on = make_run(kl=False), make_run(beta=4.0, kl_warmup_epochs=5)
    warm = train([on], few_digits, epochs=1)
    without = train([off], few_digits, epochs=1)
    terms = [0, 1, 3, 4]
    off_terms = without[off.path].history[:, terms]
    np.testing.assert_array_equal(warm[on.path].history[:, terms], off_terms)
    at_once = make_run(beta=4.0)
    cold = train([at_once], few_digits, epochs=1)
    assert (cold[at_once.path].history[:, terms] != off_terms).any()


def test_a_warm_up_over_one_epoch_is_kl_off_for_that_epoch_only(few_digits: Dataset) -> None:
    off, on = make_run(kl=False), make_run(beta=4.0, kl_warmup_epochs=1)
    warm = train([on], few_digits, epochs=2)[on.path].history
    without = train([off], few_digits, epochs=2)[off.path].history
    np.testing.assert_array_equal(warm[0, [0, 1, 3, 4]], without[0, [0, 1, 3, 4]])
    assert warm[1, 4] < without[1, 4]


# --- the step size -------------------------------------------------------------------------------


def test_the_staged_schedule_is_that_of_burda_et_al() -> None:
    settings = training_settings(epochs=3280, learning_rate=0.001, learning_rate_schedule="staged")
    truth = [0.001 * 10 ** (-i / 7) for i in range(8) for _ in range(3**i)]
    assert [step_size(settings, epoch) for epoch in range(3280)] == pytest.approx(truth)
    short = settings | {"epochs": 20}
    rates = [step_size(short, epoch) for epoch in range(20)]
    assert rates == sorted(rates, reverse=True)
    assert rates[-1] == pytest.approx(1e-4)


def test_the_cosine_schedule_falls_from_the_step_size_towards_nothing() -> None:
    settings = training_settings(epochs=10, learning_rate=0.5, learning_rate_schedule="cosine")
    rates = [step_size(settings, epoch) for epoch in range(10)]
    assert rates[0] == 0.5
    assert rates[5] == pytest.approx(0.25)
    assert 0 < rates[-1] < 0.02
    assert {step_size(training_settings(epochs=10), epoch) for epoch in range(10)} == {0.002}


def test_the_schedule_reaches_the_optimiser(few_digits: Dataset) -> None:
    run = make_run(beta=0.1)
    constant = train([run], few_digits, epochs=4)[run.path].history
    falling = train([run], few_digits, epochs=4, learning_rate_schedule="cosine")[run.path].history
    np.testing.assert_array_equal(constant[0], falling[0])
    assert (constant[1:] != falling[1:]).any()


# --- several draws, the importance-weighted bound -------------------------------------------------


def iwae_reference(
    run: Run, dataset: Dataset, options: dict[str, Any], settings: dict[str, Any]
) -> VAE:
    """The importance-weighted autoencoder of one run, written with torch.distributions."""
    model = VAE(dataset.observed, run.likelihood, run.latent_dim, options, run.seed)
    adam = torch.optim.Adam(model.parameters(), lr=settings["learning_rate"])
    shuffle, noises = stream(run.seed, "shuffle"), stream(run.seed, "noise")
    x = torch.from_numpy(dataset.observe("train"))
    k = run.importance_samples
    for _ in range(settings["epochs"]):
        order = torch.randperm(len(x), generator=shuffle)
        noise = torch.randn(len(x), k, run.latent_dim, generator=noises)
        for start in range(0, len(x), settings["batch_size"]):
            rows = slice(start, start + settings["batch_size"])
            batch = x[order[rows]]
            mean, log_std = model.encoder.network(batch).chunk(2, -1)
            q = torch.distributions.Normal(mean[:, None], log_std.exp()[:, None])
            z = mean[:, None] + log_std.exp()[:, None] * noise[rows]
            p_x = torch.distributions.Normal(
                model.decoder.network(z), options["gaussian_sigma"]
            ).log_prob(batch[:, None])
            p_z = torch.distributions.Normal(0.0, 1.0).log_prob(z)
            log_w = p_x.sum(-1) + p_z.sum(-1) - q.log_prob(z).sum(-1)
            if run.objective == "iwae":
                loss = -(log_w.logsumexp(-1) - np.log(k)).mean()
            else:
                prior = torch.distributions.Normal(0.0, 1.0)
                rate = torch.distributions.kl_divergence(q, prior).sum((1, 2))
                loss = (rate - p_x.sum(-1).mean(-1)).mean()
            adam.zero_grad()
            loss.backward()
            adam.step()
    return model


@pytest.mark.parametrize("kind", ["elbo", "iwae"])
def test_several_draws_are_averaged_or_importance_weighted(kind: str, few_digits: Dataset) -> None:
    options = model_options(hidden=[16], gaussian_scale="fixed", gaussian_sigma=0.3)
    settings = training_settings(epochs=3, batch_size=64)
    run = make_run(latent_dim=3, objective=kind, importance_samples=5)
    (result,) = train_pack([run], few_digits, options, settings)
    reference = iwae_reference(run, few_digits, options, settings)
    for name, weight in reference.named_parameters():
        np.testing.assert_allclose(result.weights[name], weight.detach(), atol=5e-4, err_msg=name)


def test_the_importance_weighted_bound_lies_below_minus_elbo(few_digits: Dataset) -> None:
    run = make_run(latent_dim=3, objective="iwae", importance_samples=20)
    history = train([run], few_digits, epochs=10)[run.path].history
    assert (history[:, 5] < history[:, 3] + history[:, 4]).all()
    assert history[-1, 5] < history[0, 5]


def test_noise_drawn_in_blocks_is_noise_drawn_at_once() -> None:
    assert noise_blocks(1000, 128, 20, CPU) == [range(1000)]
    blocks = noise_blocks(54_000, 128, BLOCKS["cpu"] // 300, CPU)
    assert [i for block in blocks for i in block] == list(range(54_000))
    assert all(len(block) % 128 == 0 for block in blocks[:-1])
    assert max(map(len, blocks)) <= 300


@pytest.mark.parametrize(
    "further",
    [
        {"condition": "label"},
        {"objective": "iwae", "importance_samples": 5},
        {"importance_samples": 3},
        {"architecture": "conv"},
        {"posterior": "fixed"},
    ],
)
@pytest.mark.parametrize("likelihood", ["gaussian", "discretized_logistic"])
def test_packs_change_no_bit_on_further_axes(
    likelihood: str, further: dict[str, Any], few_digits: Dataset
) -> None:
    options = model_options(hidden=[7], channels=[3, 5])
    runs = [make_run(likelihood, seed=seed, **further) for seed in range(3)]
    if "objective" not in further:
        runs += [make_run(likelihood, kl=False, **further), make_run(likelihood, 2, 4.0, **further)]
    whole = train(runs, few_digits, options)
    assert_same(train(runs[1:2], few_digits, options), whole)
    assert_same(train(runs[:2], few_digits, options), whole)


@pytest.mark.parametrize("further", [{"architecture": "conv"}, {"posterior": "fixed"}])
def test_packs_change_no_bit_of_further_axes_that_are_told_the_label(
    further: dict[str, Any], few_digits: Dataset
) -> None:
    options = model_options(hidden=[7], channels=[3, 5])
    runs = [make_run(seed=seed, condition="label", **further) for seed in range(3)]
    whole = train(runs, few_digits, options)
    assert_same(train(runs[1:2], few_digits, options), whole)


# --- counts --------------------------------------------------------------------------------------


@pytest.mark.parametrize("likelihood", COUNT_LIKELIHOODS)
def test_a_run_on_counts_has_the_same_bytes_alone_in_a_pack_and_in_another_order(
    likelihood: str, cells: Dataset
) -> None:
    runs = arms(likelihood)[:8]
    whole = train(runs, cells)
    assert all(result.status == "ok" for result in whole.values())
    assert_same(train(runs[::-1], cells), whole)
    assert_same(train(runs[2:5], cells), whole)
    for run in (runs[0], runs[4]):
        assert_same(train([run], cells), whole)


@pytest.mark.parametrize(
    "further",
    [
        {"condition": "batch"},
        {"condition": "label"},
        {"dispersion": "gene_cell"},
        {"architecture": "poe"},
        {"architecture": "poe", "objective": "mvae"},
        {"architecture": "poe", "objective": "mvae", "model.dropout": 0.2},
        {"architecture": "poe", "objective": "mvae", "importance_samples": 3, "condition": "batch"},
        {"objective": "iwae", "importance_samples": 3},
    ],
)
def test_packs_of_counts_change_no_bit_on_further_axes(
    further: dict[str, Any], cells: Dataset
) -> None:
    runs = [make_run("negative_binomial", seed=seed, **further) for seed in range(3)]
    if further.get("objective") != "iwae":
        runs += [make_run("negative_binomial", beta=4.0, **further)]
        runs += [make_run("negative_binomial", kl=False, **further)]
    whole = train(runs, cells)
    assert all(result.status == "ok" for result in whole.values())
    assert len({result.history.tobytes() for result in whole.values()}) == len(runs)
    assert_same(train(runs[::-1], cells), whole)
    assert_same(train(runs[1:2], cells), whole)
    assert_same(train(runs[:2], cells), whole)


@pytest.mark.parametrize("dispersion", ["gene", "gene_cell"])
def test_zero_inflation_changes_no_bit_in_a_pack_at_either_dispersion(
    dispersion: str, cells: Dataset
) -> None:
    runs = [
        make_run("zero_inflated_negative_binomial", seed=seed, dispersion=dispersion)
        for seed in range(3)
    ]
    assert_same(train(runs[1:2], cells), train(runs, cells))


@pytest.mark.parametrize("likelihood", ["gaussian", "poisson"])
def test_runs_with_different_warm_ups_share_a_pack_and_change_no_bit(
    likelihood: str, few_digits: Dataset, cells: Dataset
) -> None:
    dataset = cells if likelihood == "poisson" else few_digits
    runs = [
        make_run(likelihood, beta=2.0),
        make_run(likelihood, beta=2.0, kl_warmup_epochs=2),
        make_run(likelihood, beta=2.0, kl_warmup_epochs=5),
        make_run(likelihood, kl=False),
    ]
    assert len({run.pack_key for run in runs}) == 1
    whole = train(runs, dataset, epochs=4)
    for run in runs:
        assert_same(train([run], dataset, epochs=4), whole)
    assert len({whole[run.path].history.tobytes() for run in runs}) == 4


@pytest.mark.parametrize("beta", [0.25, 1.0, 4.0])
@pytest.mark.parametrize("warmup", [0, 1, 3, 10])
def test_a_warm_up_is_linear_in_epochs_from_0_to_beta(beta: float, warmup: int) -> None:
    run = make_run(beta=beta, kl_warmup_epochs=warmup)
    elbo = OBJECTIVES["elbo"]
    found = [warmed_up(elbo, run, {}, epoch)["beta"] for epoch in range(12)]
    truth = np.interp(range(12), [0, warmup], [0, beta]) if warmup else np.full(12, beta)
    np.testing.assert_allclose(found, truth)


def test_early_stopping_waits_for_each_runs_own_warm_up(few_digits: Dataset) -> None:
    settings = {"epochs": 12, "early_stopping_patience": 1, "learning_rate": 0.05}
    runs = [make_run(beta=4.0, kl_warmup_epochs=warmup) for warmup in (0, 8)]
    results = train(runs, few_digits, **settings)
    short, long = (results[run.path] for run in runs)
    assert len(short.history) < 8 < len(long.history)
    assert long.epochs_kept > 8


class Watched:
    """The batches that training shows to the runs of a pack."""

    def __init__(self) -> None:
        self.rows: dict[str, list[torch.Tensor]] = {"train": [], "validation": []}
        self.x: dict[str, list[torch.Tensor]] = {"train": [], "validation": []}
        self.context: dict[str, list[torch.Tensor]] = {"train": [], "validation": []}
        self.hooks = Hooks(batch=self.add)

    def add(self, split: str, rows: torch.Tensor, x: torch.Tensor, context: torch.Tensor) -> None:
        self.rows[split].append(rows)
        self.x[split].append(x)
        self.context[split].append(context)


@pytest.mark.parametrize("split", ["train", "validation"])
def test_batches_come_with_the_library_and_the_condition_of_their_cells(
    split: str, cells: Dataset
) -> None:
    assert cells.cells is not None
    assert cells.cells.batch is not None
    watched = Watched()
    runs = [make_run("poisson", condition="batch", seed=seed) for seed in range(2)]
    train(runs, cells, epochs=1, hooks=watched.hooks)
    seen = zip(watched.rows[split], watched.x[split], watched.context[split], strict=True)
    shown = set()
    for within, x, context in seen:
        rows = cells.rows(split)[within.numpy()]
        shown |= set(rows.ravel())
        np.testing.assert_array_equal(x, cells.x[rows])
        np.testing.assert_array_equal(context[..., 0], cells.x[rows][..., :30].sum(-1))
        np.testing.assert_array_equal(context[..., 1:].argmax(-1), cells.cells.batch[rows])
        assert (context[..., 1:].sum(-1) == 1).all()
    assert shown == set(cells.rows(split))


def test_the_objective_of_an_mvae_is_the_sum_of_its_parts(cells: Dataset) -> None:
    run = make_run("poisson", beta=0.5, architecture="poe", objective="mvae")
    result = train([run], cells)[run.path]
    model = trained_model(result, cells, model_options())
    rows = cells.rows("validation")
    x, context = (torch.from_numpy(v) for v in (cells.x[rows], cells.context(rows)))
    noise = torch.randn(len(rows), 2, generator=stream(run.seed, "validation"))
    total, both = 0.0, []
    with torch.no_grad():
        for present, block in (
            ((True, True), slice(0, 35)),
            ((True, False), slice(0, 30)),
            ((False, True), slice(30, 35)),
        ):
            q = model.encoder(x, context, present)
            p = model.decoder(q.mean + q.std * noise, context)
            rna = torch.distributions.Poisson(p.parts[0].mean).log_prob(x[:, :30])
            theta = p.parts[1].log_dispersion.exp()
            protein = torch.distributions.NegativeBinomial(
                theta, logits=p.parts[1].log_mean - p.parts[1].log_dispersion
            ).log_prob(x[:, 30:])
            distortion = -torch.cat([rna, protein], -1)[:, block].sum(-1).mean()
            normal = torch.distributions.Normal(q.mean, q.std)
            prior = torch.distributions.Normal(torch.zeros(2), torch.ones(2))
            rate = torch.distributions.kl_divergence(normal, prior).sum(-1).mean()
            total += float(distortion + 0.5 * rate)
            both.append((float(distortion), float(rate)))
    assert result.history.shape == (3, 6)
    assert result.history[-1, 3:5] == pytest.approx(both[0], rel=1e-4)
    assert result.history[-1, 5] == pytest.approx(total, rel=1e-4)


def test_training_on_counts_fits_better_than_it_began(cells: Dataset) -> None:
    for likelihood in COUNT_LIKELIHOODS:
        run = make_run(likelihood, beta=1.0)
        history = train([run], cells, epochs=20, learning_rate=0.01)[run.path].history
        assert history[-1, 5] < history[0, 5] - 1, likelihood


def test_a_centred_encoder_of_counts_sees_log_counts_minus_their_mean(cells: Dataset) -> None:
    options = model_options(center=True)
    run = make_run("poisson")
    (result,) = train([run], cells, options, epochs=1).values()
    mean = np.log1p(cells.observe("train").astype(np.float64)).mean(0)
    np.testing.assert_allclose(result.weights["encoder.centre"], mean, atol=1e-5)


def test_counts_that_stay_sparse_train_to_the_same_bytes(cells: Dataset) -> None:
    assert isinstance(cells.x, np.ndarray)
    sparse = replace(cells, x=CountMatrix.of(csr_matrix(cells.x.astype(np.int64))))
    for further in ({}, {"condition": "batch"}):
        runs = [make_run("negative_binomial", seed=seed, **further) for seed in range(2)]
        assert_same(train(runs, sparse), train(runs, cells))


# --- being told the label ------------------------------------------------------------------------


def test_a_conditional_vae_draws_the_class_that_is_asked_for(digits: Dataset) -> None:
    run = make_run(latent_dim=4, condition="label")
    options = model_options(hidden=[64], gaussian_scale="fixed", gaussian_sigma=0.2)
    settings = training_settings(epochs=25, batch_size=64, learning_rate=0.005)
    (result,) = train_pack([run], digits, options, settings)
    model = trained_model(result, digits, options)
    asked = torch.arange(10).repeat_interleave(20)
    z = torch.randn(len(asked), 4, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        drawn = model.decoder(z, torch.eye(10)[asked]).mean.numpy()
    x, labels = digits.observe("test"), digits.labels_of("test")
    means = np.stack([x[labels == digit].mean(0) for digit in range(10)])
    nearest = np.square(drawn[:, None] - means).sum(-1).argmin(1)
    assert (nearest == asked.numpy()).mean() > 0.8


def test_examples_without_a_label_are_told_none(few_digits: Dataset) -> None:
    labels = few_digits.labels.copy()
    labels[::3] = -1
    context = replace(few_digits, labels=labels).context(np.arange(300), "label")
    assert (context[::3] == 0).all()
    np.testing.assert_array_equal(context[1::3].argmax(1), labels[1::3])
    np.testing.assert_array_equal(context[1::3].sum(1), 1)


def test_a_centred_encoder_sees_x_minus_the_mean_of_the_train_split(few_digits: Dataset) -> None:
    options = model_options(center=True)
    run = make_run(beta=0.1)
    (result,) = train([run], few_digits, options, epochs=2).values()
    mean = few_digits.observe("train").astype(np.float64).mean(0)
    np.testing.assert_allclose(result.weights["encoder.centre"], mean, atol=1e-6)
    model = trained_model(result, few_digits, options)
    x = torch.from_numpy(few_digits.observe("test"))
    with torch.no_grad():
        truth = model.encoder.network(x - torch.from_numpy(mean).float())[:, :2]
        np.testing.assert_allclose(model.encoder(x).mean, truth, atol=1e-5)
    plain = train([run], few_digits, epochs=2)[run.path]
    assert "encoder.centre" not in plain.weights
    pair = train([run, make_run(kl=False)], few_digits, options, epochs=2)
    assert_same({run.path: result}, {run.path: pair[run.path]})


# --- snapshots -----------------------------------------------------------------------------------


def test_snapshots_show_the_decoder_after_the_chosen_epochs(few_digits: Dataset) -> None:
    run = make_run(beta=0.1)
    (result,) = train([run], few_digits, epochs=6).values()
    assert result.snapshots["epochs"].tolist() == [0, 1, 2, 3, 4, 5, 6]
    assert result.snapshots["images"].shape == (7, 10, 8, 8)
    shown = few_digits.labels_of("validation")
    model = trained_model(result, few_digits, model_options())
    originals = result.snapshots["originals"].reshape(10, 64) / 255
    distances = np.abs(originals[:, None] - few_digits.observe("validation")[None]).max(-1)
    rows = distances.argmin(1)
    assert (distances.min(1) < 1 / 500).all()
    assert sorted(shown[rows]) == sorted(set(shown))
    with torch.no_grad():
        x = torch.from_numpy(few_digits.observe("validation")[rows])
        mean = model.decoder(model.encoder(x).mean).mean.numpy().clip(0, 1)
    np.testing.assert_allclose(
        result.snapshots["images"][-1].reshape(10, 64) / 255, mean, atol=0.003
    )


def test_data_that_are_not_images_have_no_snapshots() -> None:
    flat = make_dataset(np.random.default_rng(0).random((60, 12)))
    (result,) = train([make_run()], flat).values()
    assert result.snapshots == {}


# --- point posteriors ----------------------------------------------------------------------------


def test_a_point_posterior_has_no_noise(few_digits: Dataset) -> None:
    point = make_run(posterior="point")
    (result,) = train([point], few_digits).values()
    model = trained_model(result, few_digits, model_options())
    x = torch.from_numpy(few_digits.observe("validation"))
    with torch.no_grad():
        exact = -model.decoder(model.encoder(x).mean).log_prob(x).double().mean()
    assert result.history[-1, 3] == pytest.approx(float(exact), rel=1e-5)


def test_a_point_posteriors_scale_outputs_are_never_trained(few_digits: Dataset) -> None:
    point = make_run(posterior="point")
    start = VAE(few_digits.observed, "gaussian", 2, model_options(), 0).state_dict()
    (result,) = train([point], few_digits).values()
    last = "encoder.network.2.weight"
    assert torch.equal(result.weights[last][2:], start[last][2:])
    assert not torch.equal(result.weights[last][:2], start[last][:2])


# --- early stopping ------------------------------------------------------------------------------


def test_early_stopping_keeps_the_weights_of_the_best_epoch(few_digits: Dataset) -> None:
    run = make_run(kl=False)
    settings = {"learning_rate": 0.03, "epochs": 80}
    stopped = train([run], few_digits, early_stopping_patience=4, **settings)[run.path]
    objective = stopped.history[:, 5]
    best = int(objective.argmin()) + 1
    assert len(stopped.history) == best + 4 < 80
    assert stopped.epochs_kept == best
    until_best = train([run], few_digits, **(settings | {"epochs": best}))[run.path]
    assert stopped.history[:best].tobytes() == until_best.history.tobytes()
    for name, weight in until_best.weights.items():
        assert torch.equal(stopped.weights[name], weight), name


def test_a_run_that_never_stops_keeps_its_best_weights_too(few_digits: Dataset) -> None:
    run = make_run(kl=False)
    settings = {"learning_rate": 0.05, "epochs": 14}
    result = train([run], few_digits, early_stopping_patience=50, **settings)[run.path]
    best = int(result.history[:, 5].argmin()) + 1
    assert len(result.history) == 14
    assert result.epochs_kept == best
    until_best = train([run], few_digits, **(settings | {"epochs": best}))[run.path]
    for name, weight in until_best.weights.items():
        assert torch.equal(result.weights[name], weight), name


def test_early_stopping_watches_the_runs_own_beta(few_digits: Dataset) -> None:
    run = make_run(beta=4.0)
    result = train([run], few_digits, early_stopping_patience=2, epochs=60, learning_rate=0.03)[
        run.path
    ]
    objective = result.history[:, 3] + 4.0 * result.history[:, 4]
    assert result.epochs_kept == int(objective.argmin()) + 1


def test_early_stopping_waits_for_the_warm_up(few_digits: Dataset) -> None:
    run = make_run(beta=4.0, kl_warmup_epochs=8)
    settings = {"early_stopping_patience": 1, "learning_rate": 0.02}
    result = train([run], few_digits, epochs=12, **settings)[run.path]
    assert len(result.history) > 8
    assert result.epochs_kept > 8


# --- gradient clipping ---------------------------------------------------------------------------


def test_clipping_is_that_of_torch_for_each_run_on_its_own() -> None:
    generator = torch.Generator().manual_seed(0)
    gradient = torch.randn(3, 48, generator=generator) * torch.tensor([[0.01], [1.0], [100.0]])
    clipped = torch.cat(
        clipped_each_run(gradient.split([16, 32], dim=1), torch.full((len(gradient),), 1.5)), dim=1
    )
    for run in range(3):
        parameter = torch.nn.Parameter(torch.zeros(48))
        parameter.grad = gradient[run].clone()
        torch.nn.utils.clip_grad_norm_([parameter], 1.5)
        np.testing.assert_allclose(clipped[run], parameter.grad, rtol=1e-5, atol=1e-9)
    assert torch.equal(clipped[0], gradient[0]), "a small gradient was changed"


def test_a_gradient_that_is_not_finite_stays_with_its_run() -> None:
    gradient = torch.tensor([[3.0, 4.0], [float("inf"), 1.0], [float("nan"), 1.0]])
    (clipped,) = clipped_each_run([gradient], torch.ones(len(gradient)))
    np.testing.assert_allclose(clipped[0], [0.6, 0.8], rtol=1e-6)
    assert not torch.isfinite(clipped[1:]).all(dim=1).any()


def test_a_wide_clip_changes_nothing_and_a_tight_one_does(few_digits: Dataset) -> None:
    runs = [make_run()]
    free = train(runs, few_digits)[runs[0].path]
    wide = train(runs, few_digits, gradient_clip=1e9)[runs[0].path]
    tight = train(runs, few_digits, gradient_clip=1e-9)[runs[0].path]
    assert free.history.tobytes() == wide.history.tobytes()
    # Adam divides by the size of the gradient, all but where it is as small as its epsilon
    assert tight.history[-1, 3] > free.history[-1, 3]


# --- binarised data ------------------------------------------------------------------------------


def test_dynamic_binarisation_shows_training_zeros_and_ones_that_are_redrawn() -> None:
    x = np.full((160, 40), 0.3, np.float32)
    dataset = make_dataset(x, levels=2, binary=True, dynamic=True, fixed=np.zeros_like(x))
    watched = Watched()
    runs = [make_run("bernoulli"), make_run("bernoulli", seed=1)]
    train(runs, dataset, epochs=5, batch_size=48, hooks=watched.hooks)
    values = torch.cat(watched.x["train"], dim=1)
    assert set(values.unique().tolist()) == {0.0, 1.0}
    n = values[0].numel()
    assert abs(float(values.mean()) - 0.3) < 4 * np.sqrt(0.21 / (2 * n))
    assert not torch.equal(values[0], values[1])
    per_epoch = values[0].reshape(5, -1, 40)
    assert len({epoch.numpy().tobytes() for epoch in per_epoch}) == 5


def test_static_binarisation_trains_on_the_one_fixed_draw(few_digits: Dataset) -> None:
    fixed = (few_digits.x > 0.4).astype(np.float32)
    dataset = make_dataset(few_digits.x, levels=2, binary=True, fixed=fixed)
    watched = Watched()
    train([make_run("bernoulli")], dataset, epochs=1, hooks=watched.hooks)
    for split in ("train", "validation"):
        shown = dataset.observe(split)
        for rows, x in zip(watched.rows[split], watched.x[split], strict=True):
            np.testing.assert_array_equal(x, shown[rows.numpy()])
    np.testing.assert_array_equal(dataset.observe("train"), fixed[dataset.rows("train")])


# --- progress ------------------------------------------------------------------------------------


def test_progress_rises_to_one(few_digits: Dataset) -> None:
    told: list[float] = []
    train_pack([make_run()], few_digits, model_options(), training_settings(epochs=4), told.append)
    assert told == [0.25, 0.5, 0.75, 1.0]


def test_trained_weights_load_into_the_single_run_module(few_digits: Dataset) -> None:
    runs = arms("discretized_logistic")[:3]
    results = list(train(runs, few_digits).values())
    models = [trained_model(result, few_digits, model_options()) for result in results]
    x = torch.from_numpy(few_digits.observe("test"))
    packed = encode(stacked(models), examples(x))
    for index, model in enumerate(models):
        with torch.no_grad():
            np.testing.assert_allclose(packed.mean[index], model.encoder(x).mean, atol=1e-5)
