"""ResNets, layer normalisation, dropout and skip connections: by hand, and in packs."""

from __future__ import annotations

import signal
from typing import Any

import pytest
import torch
from torch.nn.functional import layer_norm

from support import (
    assert_one_sentence,
    cpu_vae,
    make_run,
    model_options,
    resolved,
    result_bytes,
    stacked,
    training_settings,
)
from vae_ablation.common.errors import UserError
from vae_ablation.data.base import Dataset, Observed
from vae_ablation.models.architectures import ARCHITECTURES
from vae_ablation.models.networks import Dense, LayerNorm, Residual, RichDense, dense
from vae_ablation.models.vae import VAE
from vae_ablation.study.run import Run
from vae_ablation.training.checkpoint import Checkpointer, Stopped
from vae_ablation.training.pack import Hooks, train_pack

DIGITS = Observed((8, 8), 17)


def test_layer_normalisation_is_torchs_whatever_the_padding() -> None:
    norm = LayerNorm(13)
    with torch.no_grad():
        norm.weight.normal_()
        norm.bias.normal_()
    x = torch.randn(7, 13)
    expected = layer_norm(x, (13,), norm.weight, norm.bias)
    torch.testing.assert_close(norm(x), expected)
    wide = norm(torch.nn.functional.pad(x, (0, 3)))
    torch.testing.assert_close(wide[:, :13], expected)
    assert not wide[:, 13:].any()


def test_a_residual_block_adds_two_convolutions_to_its_input() -> None:
    block = Residual(4, "relu")
    x = torch.randn(2, 4, 5, 6)
    expected = x + block.second(block.first(x.relu()).relu())
    torch.testing.assert_close(block(x), expected)


def test_later_layers_of_the_decoder_get_z() -> None:
    network = dense([3, 5, 4, 6], model_options(skip=True), skip=True)
    assert [layer.in_features for layer in network if isinstance(layer, torch.nn.Linear)] == [
        3, 5 + 3, 4 + 3,
    ]  # fmt: skip
    z = torch.randn(2, 7, 3)
    inner = network[0](z).relu()
    inner = network[2](torch.cat([inner, z], -1)).relu()
    torch.testing.assert_close(network(z), network[4](torch.cat([inner, z], -1)))
    encoder = cpu_vae(DIGITS, "gaussian", "mlp", skip=True).encoder.network
    assert type(encoder) is Dense


@pytest.mark.parametrize("blocks", [0, 1])
def test_convolutions_of_the_decoder_get_z_as_maps(blocks: int) -> None:
    """By hand: z at every pixel, through torch's own layers."""
    options = {**model_options(hidden=[7], channels=[4, 6], skip=True), "blocks": blocks}
    name = "resnet" if blocks else "conv"
    decoder = ARCHITECTURES[name].decoder(DIGITS, 5, 64, options)
    z, condition = torch.randn(2, 3, 2), torch.randn(3, 3)
    given = torch.cat([z, condition.expand(2, 3, 3)], -1).reshape(6, 5)
    layers = dict(decoder.named_parameters())
    hidden = (given @ layers["dense.0.weight"].T + layers["dense.0.bias"]).relu()
    seen = torch.cat([hidden, given], -1)
    images = (seen @ layers["dense.2.weight"].T + layers["dense.2.bias"]).reshape(6, 6, 2, 2)

    def with_z(values: torch.Tensor) -> torch.Tensor:
        maps = torch.ones(*given.shape, *values.shape[2:]) * given[:, :, None, None]
        return torch.cat([values.relu(), maps], 1)

    for one in decoder.modules():
        if isinstance(one, Residual):
            images = images + one.second(one.first(with_z(images)).relu())
        elif isinstance(one, torch.nn.ConvTranspose2d):
            images = one(with_z(images))
    torch.testing.assert_close(decoder(z, condition), images.reshape(2, 3, 64))


@pytest.mark.parametrize("name", ["mlp", "conv", "resnet"])
def test_weights_of_skip_connections_are_reckoned_with(name: str) -> None:
    options = model_options(hidden=[20, 15], channels=[8, 12], blocks=2, skip=True)
    observed = Observed((9, 11), 256)
    model = VAE(observed, "gaussian", 40, options | {"gaussian_scale": "fixed"}, 0, name)
    count = sum(weight.numel() for weight in model.parameters())
    reckoned, _ = ARCHITECTURES[name].size(observed, 40, observed.dims, options)
    assert reckoned == pytest.approx(count, rel=0.06)


def test_experts_drop_and_normalise_each_on_their_own() -> None:
    """By hand: the precisions of two dense encoders and of the prior add up."""
    cells = Observed((9,), None, counts=True, proteins=3)
    options = model_options(dropout=0.4, layer_norm=True, hidden=[8, 5])
    network = ARCHITECTURES["poe"].encoder(cells, 0, 4, options)
    x, draws = torch.randn(11, 9), torch.rand(11, 26)
    precision, weighted = torch.ones(11, 2), torch.zeros(11, 2)
    parts = ((x[:, :6], draws[:, :13]), (x[:, 6:], draws[:, 13:]))
    for expert, (part, drawn) in zip(network.experts, parts, strict=True):
        assert isinstance(expert, RichDense)
        mean, log_std = expert(part, draws=drawn).chunk(2, -1)
        precision = precision + (-2 * log_std).exp()
        weighted = weighted + mean * (-2 * log_std).exp()
    found_mean, found_log_std = network(x, draws=draws).chunk(2, -1)
    torch.testing.assert_close(found_mean, weighted / precision)
    torch.testing.assert_close(found_log_std, -0.5 * precision.log())


def test_dropout_zeroes_the_drawn_units_and_scales_the_others() -> None:
    network = dense([3, 50, 2], model_options(dropout=0.3))
    assert isinstance(network, RichDense)
    x, draws = torch.randn(40, 3), torch.rand(40, network.draws)
    hidden = network[0](x).relu() * (draws >= 0.3) / 0.7
    torch.testing.assert_close(network(x, draws=draws), network[2](hidden))
    torch.testing.assert_close(network(x), network[2](network[0](x).relu()))


def test_without_these_options_networks_are_plain() -> None:
    for name in ("mlp", "conv"):
        vae = cpu_vae(DIGITS, "gaussian", name)
        assert not [one for one in vae.modules() if isinstance(one, (RichDense, Residual))]
        assert not vae.encoder.draws


@pytest.mark.parametrize("side", [(8, 8), (9, 11), (28, 28, 3)])
@pytest.mark.parametrize("blocks", [1, 3])
def test_a_resnet_has_as_many_weights_as_packs_reckon_with(
    side: tuple[int, ...], blocks: int
) -> None:
    options = model_options(hidden=[20], channels=[8, 12], blocks=blocks)
    observed = Observed(side, 256)
    model = VAE(observed, "gaussian", 4, options | {"gaussian_scale": "fixed"}, 0, "resnet")
    count = sum(weight.numel() for weight in model.parameters())
    reckoned, _ = ARCHITECTURES["resnet"].size(observed, 4, observed.dims, options)
    assert reckoned == pytest.approx(count, rel=0.06)
    x = torch.rand(3, observed.dims)
    posterior = model.encoder(x)
    assert model.decoder(posterior.mean).mean.shape == x.shape


VARIANTS: dict[str, tuple[str, dict[str, Any]]] = {
    "resnet": ("resnet", {"channels": [5], "blocks": 2}),
    "norm": ("mlp", {"layer_norm": True, "hidden": [13, 9]}),
    "dropout": ("mlp", {"dropout": 0.2, "hidden": [13, 9]}),
    "skip": ("mlp", {"skip": True, "hidden": [13, 9]}),
    "all": ("mlp", {"layer_norm": True, "dropout": 0.5, "skip": True, "hidden": [13, 9]}),
    "conv": ("conv", {"layer_norm": True, "dropout": 0.5, "channels": [5]}),
    "conv skip": ("conv", {"skip": True, "hidden": [], "channels": [5, 7]}),
    "resnet all": (
        "resnet",
        {"layer_norm": True, "dropout": 0.5, "skip": True, "channels": [5], "blocks": 1},
    ),
}


def runs_of(architecture: str, seeds: range) -> list[Run]:
    return [make_run(architecture=architecture, seed=seed, beta=1 + seed) for seed in seeds]


@pytest.mark.parametrize("name", VARIANTS)
def test_a_run_is_the_same_alone_and_in_a_pack(name: str, few_digits: Dataset) -> None:
    architecture, changes = VARIANTS[name]
    options, settings = model_options(**changes), training_settings(epochs=2)
    runs = runs_of(architecture, range(3))
    together = train_pack(runs, few_digits, options, settings)
    for run, result in zip(runs, together, strict=True):
        assert result.status == "ok", result.reason
        (alone,) = train_pack([run], few_digits, options, settings)
        assert result_bytes(alone) == result_bytes(result)


@pytest.mark.parametrize("name", VARIANTS)
def test_a_pack_gives_what_single_models_give(name: str) -> None:
    architecture, changes = VARIANTS[name]
    models = [
        VAE.of(run, DIGITS, model_options(**changes)) for run in runs_of(architecture, range(3))
    ]
    pack = stacked(models)
    x, z = torch.rand(3, 6, 64), torch.randn(3, 6, 2)
    means = pack.map(lambda model, values: model.encoder(values).mean, x)
    decoded = pack.map(lambda model, codes: model.decoder(codes).mean, z)
    for place, model in enumerate(models):
        torch.testing.assert_close(means[place], model.encoder(x[place]).mean, atol=1e-5, rtol=0)
        torch.testing.assert_close(decoded[place], model.decoder(z[place]).mean, atol=1e-5, rtol=0)


def test_dropout_draws_from_the_runs_own_stream(few_digits: Dataset) -> None:
    """Other arms of one seed drop the same units; other seeds drop others."""
    options, seen = model_options(dropout=0.5, hidden=[13]), []

    def batch(split: str, rows: Any, x: Any, context: torch.Tensor) -> None:
        if split == "train":
            seen.append(context)

    runs = [make_run(beta=beta, seed=seed) for beta in (1, 4) for seed in (0, 1)]
    settings = training_settings(epochs=1, batch_size=40)
    train_pack(runs, few_digits, options, settings, hooks=Hooks(batch=batch))
    first = seen[0]
    assert first.shape[2] == 26
    assert torch.equal(first[0], first[2])
    assert not torch.equal(first[0], first[1])
    assert not torch.equal(seen[0], seen[1])


def test_dropout_goes_on_from_a_checkpoint_to_the_same_bytes(
    few_digits: Dataset, tmp_path: Any
) -> None:
    options, settings = model_options(dropout=0.3, hidden=[13]), training_settings(epochs=3)
    runs = runs_of("mlp", range(2))
    whole = train_pack(runs, few_digits, options, settings)
    hashes = {run.path: "hash" for run in runs}
    checkpointer = Checkpointer(tmp_path, hashes, "code", None)
    steps = 0

    def before_step() -> None:
        nonlocal steps
        steps += 1
        if steps == 5:
            signal.raise_signal(signal.SIGTERM)

    hooks = Hooks(before_step=before_step)
    with checkpointer.listening(), pytest.raises(Stopped):
        train_pack(runs, few_digits, options, settings, checkpointer=checkpointer, hooks=hooks)
    again = Checkpointer(tmp_path, hashes, "code", None)
    resumed = train_pack(runs, few_digits, options, settings, checkpointer=again)
    assert again.resumed == 1
    for one, other in zip(whole, resumed, strict=True):
        assert result_bytes(one) == result_bytes(other)


@pytest.mark.parametrize(
    ("changes", "parts"),
    [
        ({"blocks": 0}, ["model.blocks is 0", "at least 1"]),
        ({"dropout": 1}, ["model.dropout is 1", "less than 1"]),
        ({"dropout": -0.1}, ["model.dropout is -0.1"]),
        ({"layer_norm": "yes"}, ["model.layer_norm is 'yes'", "true or false"]),
        ({"skip": 2}, ["model.skip is 2"]),
    ],
)
def test_wrong_settings_end_in_one_sentence(changes: dict[str, Any], parts: list[str]) -> None:
    with pytest.raises(UserError) as caught:
        resolved(model=changes)
    assert_one_sentence(caught.value, *parts)


def test_what_an_architecture_lacks_is_said() -> None:
    """Each reads what it has; nothing that it has not counts for a run's hash."""
    cells = Observed((9,), None, counts=True, proteins=3)
    assert ARCHITECTURES["poe"].unsupported(cells, model_options(dropout=0.1)) is None
    assert "needs images" in str(ARCHITECTURES["conv"].unsupported(cells, model_options(skip=True)))
    bare = model_options(hidden=[], skip=True)
    assert "skip" in ARCHITECTURES["conv"].reads(bare)
    assert "skip" not in ARCHITECTURES["mlp"].reads(bare)


def test_they_are_axes_of_a_grid() -> None:
    run = make_run(**{"model.dropout": 0.2, "model.layer_norm": True, "model.skip": True})
    assert str(run.arm) == "beta1-norm-on-dropout0.2-skip-on"
    assert run.pack_key != make_run().pack_key
