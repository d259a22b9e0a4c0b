"""The registry: what each likelihood can stand on, and what its score may be compared with."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats
from scipy.special import expit, softmax

from support import COUNT_LIKELIHOODS, IMAGE_LIKELIHOODS, given, model_options
from vae_ablation.data.base import Observed
from vae_ablation.models.distributions import DiscretizedLogistic, Gaussian
from vae_ablation.models.likelihoods import LIKELIHOODS

GREY17 = Observed((4,), 17)
GREY256 = Observed((4,), 256)
SMOOTH = Observed((4,), None)
BINARY = Observed((4,), 2, binary=True)
REAL = Observed((4,), None, real=True)
COUNTS = Observed((4,), None, counts=True)
MULTIOME = Observed((7,), None, counts=True, proteins=3)


def test_the_registry_has_the_likelihoods_under_their_names() -> None:
    assert set(IMAGE_LIKELIHOODS) == {
        *("bernoulli", "continuous_bernoulli", "gaussian", "discretized_logistic"),
        *("laplace", "student_t"),
    }
    assert set(COUNT_LIKELIHOODS) == {
        "poisson", "negative_binomial", "zero_inflated_negative_binomial", "log_normal_gaussian"
    }  # fmt: skip
    assert all(likelihood.name == name for name, likelihood in LIKELIHOODS.items())


@pytest.mark.parametrize(
    ("name", "observed", "measure", "proper"),
    [
        ("bernoulli", BINARY, "binary/mass", True),
        ("bernoulli", GREY17, "grey/cross-entropy", False),
        ("bernoulli", SMOOTH, "grey/cross-entropy", False),
        ("continuous_bernoulli", GREY17, "grey/density", True),
        ("continuous_bernoulli", SMOOTH, "grey/density", True),
        ("continuous_bernoulli", BINARY, "binary/density", True),
        ("gaussian", GREY256, "grey/density", True),
        ("gaussian", BINARY, "binary/density", True),
        ("discretized_logistic", GREY17, "grey17/mass-open", True),
        ("discretized_logistic", GREY256, "grey256/mass-open", True),
        ("discretized_logistic", BINARY, "binary/mass", True),
        ("laplace", GREY17, "grey/density", True),
        ("student_t", SMOOTH, "grey/density", True),
        ("gaussian", REAL, "standardised/density", True),
        ("laplace", REAL, "standardised/density", True),
        ("student_t", REAL, "standardised/density", True),
    ],
)
def test_measure_and_marks(name: str, observed: Observed, measure: str, proper: bool) -> None:
    likelihood = LIKELIHOODS[name]
    assert likelihood.unsupported(observed) is None
    assert likelihood.measure(observed) == measure
    assert likelihood.proper(observed) is proper


@pytest.mark.parametrize(
    "name", ["bernoulli", "continuous_bernoulli", "discretized_logistic", *COUNT_LIKELIHOODS]
)
def test_only_densities_on_the_real_line_are_for_tables(name: str) -> None:
    complaint = LIKELIHOODS[name].unsupported(REAL)
    assert complaint is not None
    assert "real numbers" in complaint


def test_only_the_discretized_logistic_needs_grey_levels() -> None:
    refused = {name for name in IMAGE_LIKELIHOODS if LIKELIHOODS[name].unsupported(SMOOTH)}
    assert refused == {"discretized_logistic"}


def test_a_bernoulli_on_grey_pixels_does_not_integrate_to_one() -> None:
    grid = torch.linspace(0, 1, 1001)[:, None]
    distribution = LIKELIHOODS["bernoulli"].distribution(
        torch.tensor([0.7]), {}, given(Observed((1,), None), model_options())
    )
    total = float(distribution.log_prob(grid).exp().mean())
    assert abs(total - 1) > 0.2


def test_gaussian_scales_are_fixed_scalar_or_per_dimension() -> None:
    gaussian = LIKELIHOODS["gaussian"]

    def scales(kind: str) -> list[int]:
        options = model_options(gaussian_scale=kind)
        return [len(scale) for scale in gaussian.parameters(GREY17, options).values()]

    sizes = {kind: scales(kind) for kind in ("fixed", "learned_scalar", "learned_per_dimension")}
    assert sizes == {"fixed": [], "learned_scalar": [1], "learned_per_dimension": [4]}
    fixed = model_options(gaussian_scale="fixed", gaussian_sigma=0.25)
    output = torch.zeros(2, 4)
    x = torch.rand(2, 4)
    ours = gaussian.distribution(output, {}, given(GREY17, fixed)).log_prob(x)
    np.testing.assert_allclose(ours, stats.norm.logpdf(x.numpy(), 0, 0.25).sum(1), rtol=1e-5)


@pytest.mark.parametrize("name", ["gaussian", "discretized_logistic"])
def test_a_learned_scale_never_falls_below_its_floor(name: str) -> None:
    options = model_options(scale_floor=0.05)
    parameters = {
        key: torch.full_like(value, -1e4)
        for key, value in LIKELIHOODS[name].parameters(GREY17, options).items()
    }
    made = LIKELIHOODS[name].distribution(torch.zeros(4), parameters, given(GREY17, options))
    assert isinstance(made, (Gaussian, DiscretizedLogistic))
    np.testing.assert_allclose(made.scale, 0.05)


def test_the_continuous_bernoullis_logits_stay_within_their_clamp() -> None:
    options = model_options(logit_clamp=3.0)
    output = torch.tensor([-1e4, -1.0, 0.0, 1e-3, 1e4])
    made = LIKELIHOODS["continuous_bernoulli"].distribution(
        output, {}, given(Observed((5,), None), options)
    )
    logits = made.logits  # type: ignore[attr-defined]
    assert logits.abs().max() <= 3
    np.testing.assert_allclose(logits[2:4], output[2:4], rtol=1e-5)


@pytest.mark.parametrize("name", LIKELIHOODS)
@pytest.mark.parametrize("size", [0.0, 1.0, 1e2, 1e4])
def test_gradients_reach_the_decoder_finite_from_extreme_outputs(name: str, size: float) -> None:
    likelihood, options = LIKELIHOODS[name], model_options() | {"dispersion": "gene"}
    observed = COUNTS if likelihood.counts else BINARY if name == "bernoulli" else GREY17
    pattern = torch.tensor([-1.0, 1.0, -0.5, 0.25]).repeat(4)[
        : likelihood.outputs(observed, options)
    ]
    output = (size * pattern).requires_grad_()
    parameters = {
        key: value.requires_grad_()
        for key, value in likelihood.parameters(observed, options).items()
    }
    seen = [torch.zeros(4), torch.ones(4), torch.tensor([0.0, 1.0, 0.5, 0.5])]
    if likelihood.counts:
        seen = [torch.zeros(4), torch.ones(4), torch.tensor([0.0, 3.0, 100.0, 20_000.0])]
    for x in seen:
        stands_on = given(observed, options, torch.tensor([50.0]) if likelihood.counts else None)
        log_prob = likelihood.distribution(output, parameters, stands_on).log_prob(x)
        assert torch.isfinite(log_prob)
        for gradient in torch.autograd.grad(log_prob, [output, *parameters.values()]):
            assert torch.isfinite(gradient).all()


def test_reading_the_registry_imports_no_torch() -> None:
    code = "import sys, vae_ablation.models.likelihoods; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


# --- counts --------------------------------------------------------------------------------------


def options_of(dispersion: str = "gene") -> dict[str, Any]:
    return model_options() | {"dispersion": dispersion}


@pytest.mark.parametrize("counts", [COUNTS, MULTIOME])
@pytest.mark.parametrize("name", IMAGE_LIKELIHOODS)
def test_likelihoods_of_images_refuse_counts_and_name_those_that_are_allowed(
    name: str, counts: Observed
) -> None:
    complaint = LIKELIHOODS[name].unsupported(counts)
    assert complaint is not None
    assert name in complaint
    assert all(allowed in complaint for allowed in COUNT_LIKELIHOODS)


@pytest.mark.parametrize("images", [GREY17, SMOOTH, BINARY])
@pytest.mark.parametrize("name", COUNT_LIKELIHOODS)
def test_likelihoods_of_counts_refuse_images(name: str, images: Observed) -> None:
    complaint = LIKELIHOODS[name].unsupported(images)
    assert complaint == f"{name} needs counts, and these are images"
    assert LIKELIHOODS[name].unsupported(COUNTS) is None
    assert LIKELIHOODS[name].unsupported(MULTIOME) is None


@pytest.mark.parametrize(
    ("name", "measure"),
    [
        ("poisson", "counts/mass given library"),
        ("negative_binomial", "counts/mass given library"),
        ("zero_inflated_negative_binomial", "counts/mass given library"),
        ("log_normal_gaussian", "counts/density given library"),
    ],
)
def test_masses_of_counts_are_compared_with_masses_of_counts_alone(name: str, measure: str) -> None:
    for observed in (COUNTS, MULTIOME):
        assert LIKELIHOODS[name].measure(observed) == measure
        assert LIKELIHOODS[name].proper(observed)
    images = {LIKELIHOODS[one].measure(GREY17) for one in IMAGE_LIKELIHOODS}
    assert measure not in images


@pytest.mark.parametrize(
    ("name", "dispersion", "heads", "scales"),
    [
        ("poisson", "gene", 1, []),
        ("poisson", "gene_cell", 1, []),
        ("negative_binomial", "gene", 1, ["log_dispersion"]),
        ("negative_binomial", "gene_cell", 2, []),
        ("zero_inflated_negative_binomial", "gene", 2, ["log_dispersion"]),
        ("zero_inflated_negative_binomial", "gene_cell", 3, []),
        ("log_normal_gaussian", "gene", 1, ["log_scale"]),
        ("log_normal_gaussian", "gene_cell", 1, ["log_scale"]),
    ],
)
def test_the_decoder_gives_each_gene_its_heads_and_each_protein_one_output(
    name: str, dispersion: str, heads: int, scales: list[str]
) -> None:
    likelihood, options = LIKELIHOODS[name], options_of(dispersion)
    assert likelihood.outputs(COUNTS, options) == 4 * heads
    assert likelihood.outputs(MULTIOME, options) == 4 * heads + 3
    alone = {key: len(value) for key, value in likelihood.parameters(COUNTS, options).items()}
    assert alone == dict.fromkeys(scales, 4)
    both = {key: len(value) for key, value in likelihood.parameters(MULTIOME, options).items()}
    assert both == alone | {"protein_log_dispersion": 3}


OUTPUT = torch.tensor(
    [
        [0.5, -1.0, 2.0, 0.0, -2.0, 0.3, 1.0, -0.4, 0.7, 1.5, -0.2, 0.1, 1.0, 2.0, 3.0],
        [1.0, 1.0, -3.0, 0.2, 0.9, -0.3, 0.0, 2.0, -1.0, 0.4, 0.6, 0.0, 0.5, 0.0, 4.0],
    ]
)
LIBRARY = torch.tensor([[40.0], [1000.0]])
CELLS = torch.tensor(
    [[3.0, 0.0, 20.0, 17.0, 2.0, 0.0, 30.0], [400.0, 550.0, 0.0, 50.0, 1.0, 3.0, 0.0]]
)


def made(name: str, dispersion: str, observed: Observed = MULTIOME) -> tuple[np.ndarray, Any, Any]:
    """Output, parameters (drawn) and the distribution that a likelihood makes of them."""
    likelihood, options = LIKELIHOODS[name], options_of(dispersion)
    output = OUTPUT[:, -likelihood.outputs(observed, options) :]
    random = torch.Generator().manual_seed(0)
    parameters = {
        key: torch.randn(len(value), generator=random)
        for key, value in likelihood.parameters(observed, options).items()
    }
    found = likelihood.distribution(output, parameters, given(observed, options, LIBRARY))
    return output.double().numpy(), {k: v.double().numpy() for k, v in parameters.items()}, found


def negative_binomial(x: np.ndarray, mean: np.ndarray, dispersion: np.ndarray) -> np.ndarray:
    """Log mass with variance mean + mean² / dispersion."""
    return stats.nbinom.logpmf(x, dispersion, dispersion / (dispersion + mean))


@pytest.mark.parametrize("dispersion", ["gene", "gene_cell"])
@pytest.mark.parametrize("name", COUNT_LIKELIHOODS)
def test_counts_have_scipys_log_mass_at_library_size_times_proportion(
    name: str, dispersion: str
) -> None:
    output, parameters, found = made(name, dispersion)
    x, library = CELLS.double().numpy(), LIBRARY.double().numpy()
    rna, heads = x[:, :4], np.split(output[:, :-3], output[:, :-3].shape[1] // 4, axis=1)
    mean = library * softmax(heads[0], axis=1)
    theta = np.exp(heads[-1] if dispersion == "gene_cell" else parameters.get("log_dispersion", 0))
    if name == "poisson":
        truth = stats.poisson.logpmf(rna, mean)
    elif name == "log_normal_gaussian":
        scale = 0.01 + np.exp(parameters["log_scale"])
        values = np.log1p(rna * 1e4 / library)
        truth = stats.norm.logpdf(values, heads[0], scale) + np.log(1e4 / library) - values
    else:
        truth = negative_binomial(rna, mean, theta)
        if name == "zero_inflated_negative_binomial":
            gate = expit(heads[1])
            truth = np.log((rna == 0) * gate + (1 - gate) * np.exp(truth))
    protein_theta = np.exp(parameters["protein_log_dispersion"])
    protein = negative_binomial(x[:, 4:], np.exp(output[:, -3:]), protein_theta)
    np.testing.assert_allclose(found.log_prob(CELLS), truth.sum(1) + protein.sum(1), rtol=2e-5)
    np.testing.assert_allclose(
        found.log_probs(CELLS), np.stack([truth.sum(1), protein.sum(1)], 1), rtol=2e-5
    )
    if name != "log_normal_gaussian":
        shown = mean * (1 - expit(heads[1])) if name.startswith("zero") else mean
        np.testing.assert_allclose(found.mean[:, :4], shown, rtol=1e-5)
    np.testing.assert_allclose(found.mean[:, 4:], np.exp(output[:, -3:]), rtol=1e-5)


@pytest.mark.parametrize("name", ["poisson", "negative_binomial"])
def test_expected_rna_sums_to_the_library_and_proteins_have_none(name: str) -> None:
    likelihood, options = LIKELIHOODS[name], options_of()
    output, parameters = OUTPUT[:, -7:], likelihood.parameters(MULTIOME, options)
    one, ten = (
        likelihood.distribution(output, parameters, given(MULTIOME, options, factor * LIBRARY)).mean
        for factor in (1, 10)
    )
    np.testing.assert_allclose(one[:, :4].sum(1, keepdim=True), LIBRARY, rtol=1e-5)
    np.testing.assert_allclose(ten[:, :4], 10 * one[:, :4], rtol=1e-5)
    assert torch.equal(one[:, 4:], ten[:, 4:])


@pytest.mark.parametrize("name", ["poisson", "negative_binomial"])
def test_genes_outside_the_data_have_their_share_of_the_library(name: str) -> None:
    """The softmax has one more class, of a fixed logit, whose counts are not among the data."""
    observed = Observed((5,), None, counts=True, outside=True)
    random = np.random.default_rng(0)
    output = torch.tensor(random.normal(0, 2, (7, 5)), dtype=torch.float64)
    library = torch.tensor(random.uniform(100, 1e4, (7, 1)))
    likelihood = LIKELIHOODS[name]
    parameters = {"log_dispersion": torch.zeros(5)} if name != "poisson" else {}
    mean = likelihood.distribution(output, parameters, given(observed, options_of(), library)).mean
    every = torch.cat([output, torch.full((7, 1), np.log(5))], 1).softmax(1)
    np.testing.assert_allclose(mean, (library * every)[:, :5], rtol=1e-6)
    assert (mean.sum(1) < library[:, 0]).all()


def test_a_log_normal_scale_never_falls_below_its_floor() -> None:
    options = model_options(scale_floor=0.05) | {"dispersion": "gene"}
    likelihood = LIKELIHOODS["log_normal_gaussian"]
    parameters = {"log_scale": torch.full((4,), -1e4)}
    found = likelihood.distribution(torch.zeros(4), parameters, given(COUNTS, options, LIBRARY[0]))
    np.testing.assert_allclose(found.scale, 0.05)  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("name", "reference"),
    [
        ("gaussian", lambda scale: stats.norm(scale=scale).std()),
        ("laplace", lambda scale: stats.laplace(scale=scale).std()),
        ("student_t", lambda scale: stats.t(5.0, scale=scale).std()),
        ("discretized_logistic", lambda scale: stats.logistic(scale=scale).std()),
    ],
)
def test_the_noise_scale_is_the_standard_deviation(name: str, reference: Any) -> None:
    options = model_options(student_freedom=5.0, scale_floor=0.01)
    learned = {"log_scale": torch.tensor([-1.0, 0.5])}
    found = LIKELIHOODS[name].noise_scale(learned, options)
    assert found is not None
    expected = [reference(0.01 + np.exp(value)) for value in (-1.0, 0.5)]
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-6)


def test_a_scale_without_a_standard_deviation_is_none() -> None:
    options = model_options(student_freedom=2.0)
    learned = {"log_scale": torch.tensor([0.0])}
    assert LIKELIHOODS["student_t"].noise_scale(learned, options) is None
