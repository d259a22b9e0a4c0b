"""Control rows against scipy and scikit-learn."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats
from sklearn.decomposition import PCA
from sklearn.neighbors import KNeighborsClassifier

from support import make_run, model_options
from vae_ablation.data.base import Dataset
from vae_ablation.evaluation.controls import (
    LinearOptimum,
    ProbabilisticPCA,
    Spectrum,
    control_rows,
)
from vae_ablation.evaluation.features import fit_features
from vae_ablation.models.vae import VAE


def correlated(n: int = 400, dims: int = 6) -> np.ndarray:
    rng = np.random.default_rng(0)
    return rng.normal(size=(n, dims)) @ rng.normal(size=(dims, dims)) + rng.normal(size=dims)


@pytest.mark.parametrize("latent_dim", [1, 3, 6])
@pytest.mark.parametrize("variance", [None, 0.3])
def test_pcas_nll_is_scipys_multivariate_normal(latent_dim: int, variance: float | None) -> None:
    x = correlated()
    pca = ProbabilisticPCA.fit(x[:300], latent_dim, variance)
    covariance = pca.weights @ pca.weights.T + pca.variance * np.eye(6)
    truth = stats.multivariate_normal(pca.mean, covariance).logpdf(x[300:]).mean()
    assert pca.nll(x[300:]) == pytest.approx(-truth, rel=1e-9)
    if variance is not None:
        assert pca.variance == variance


def test_the_maximum_likelihood_is_scikit_learns() -> None:
    x = correlated()
    ours = ProbabilisticPCA.fit(x, 3, None)
    theirs = PCA(3, svd_solver="full").fit(x)
    # scikit-learn divides by n − 1
    n = len(x)
    assert ours.variance == pytest.approx(theirs.noise_variance_ * (n - 1) / n)
    covariance = ours.weights @ ours.weights.T + ours.variance * np.eye(6)
    np.testing.assert_allclose(covariance, theirs.get_covariance() * (n - 1) / n, rtol=1e-9)


def test_no_other_variance_fits_better() -> None:
    x = correlated()
    best = ProbabilisticPCA.fit(x, 3, None)
    for factor in (0.8, 1.25):
        assert ProbabilisticPCA.fit(x, 3, best.variance * factor).nll(x) > best.nll(x)


def test_codes_are_posterior_means_and_decoding_projects_on_the_principal_plane() -> None:
    x = correlated()
    pca = ProbabilisticPCA.fit(x, 2, 1e-9)
    plane = PCA(2, svd_solver="full").fit(x)
    np.testing.assert_allclose(
        pca.decode(pca.codes(x)), plane.inverse_transform(plane.transform(x)), atol=1e-6
    )
    noisy = ProbabilisticPCA.fit(x, 2, 0.5)
    joint = noisy.weights.T @ np.linalg.inv(noisy.weights @ noisy.weights.T + 0.5 * np.eye(6))
    np.testing.assert_allclose(noisy.codes(x), (x - noisy.mean) @ joint.T, rtol=1e-8)


def test_samples_have_the_moments_of_what_they_come_from() -> None:
    random = np.random.default_rng(0)
    x = random.normal(size=(500, 6)) @ random.normal(size=(6, 6)) + np.arange(6)
    data = Spectrum.of(x)
    pca = ProbabilisticPCA.of(data, 2, None)
    low = pca.weights @ pca.weights.T
    cases = (
        (data.sample(200_000, random), np.cov(x.T, bias=True)),
        (pca.sample(200_000, random, noise=False), low),
        (pca.sample(200_000, random, noise=True), low + pca.variance * np.eye(6)),
    )
    for drawn, covariance in cases:
        np.testing.assert_allclose(drawn.mean(0), x.mean(0), atol=0.05)
        np.testing.assert_allclose(np.cov(drawn.T), covariance, atol=0.02 * covariance.max())


@pytest.fixture(scope="module")
def sampled(digits: Dataset) -> dict[str, dict[str, Any]]:
    """Control rows of all digits by their run, measured by samples too."""
    runs, extractor = [make_run(latent_dim=d) for d in (2, 16)], fit_features(digits, 0)
    rows = control_rows(digits, runs, model_options(), 0, extractor, 4)
    return {row["run"]: row for row in rows}


def test_real_data_bound_what_samples_reach(sampled: dict[str, dict[str, Any]]) -> None:
    real, gauss = sampled["digits/real"], sampled["digits/full_gaussian"]
    small, large = (sampled[f"digits/pca/z{dim}"] for dim in (2, 16))
    assert real["sample_fid"] == real["sample_fid_floor"] == gauss["sample_fid_floor"]
    distances = [one["sample_fid"] for one in (real, gauss, large, small)]
    assert distances == sorted(distances)
    assert real["sample_coverage"] == pytest.approx(1 - 2**-5, abs=0.03)
    assert real["sample_density"] == pytest.approx(1, abs=0.15)
    for other in (gauss, large, small):
        assert other["sample_coverage"] < 0.6
    # an audit of this project found 0.75 and 0.92 for these, with another seed of the features
    assert gauss["sample_fid"] == pytest.approx(0.75, rel=0.3)
    assert large["sample_fid"] == pytest.approx(0.92, rel=0.3)


def test_raw_data_and_untrained_encoders_have_no_samples(
    sampled: dict[str, dict[str, Any]],
) -> None:
    for name, row in sampled.items():
        if "raw" in name or "untrained" in name:
            assert not any(column.startswith("sample_") for column in row)
        assert all(isinstance(value, (str, int, float, bool)) for value in row.values())


def test_samples_of_controls_follow_the_seed(
    few_digits: Dataset,
) -> None:
    extractor = fit_features(few_digits, 0)
    found = [
        {row["run"]: row for row in control_rows(few_digits, [], model_options(), seed, extractor)}
        for seed in (0, 0, 1)
    ]
    first, again, other = (rows["digits/full_gaussian"]["sample_fid"] for rows in found)
    assert first == again != other


@pytest.fixture(scope="module")
def rows(few_digits: Dataset) -> dict[str, dict[str, object]]:
    runs = [make_run(latent_dim=d, seed=s) for d in (2, 4) for s in (0, 1)]
    return {row["run"]: row for row in control_rows(few_digits, runs, model_options(), seed=0)}


def test_there_is_a_row_per_control(rows: dict[str, dict[str, object]]) -> None:
    untrained = {f"digits/untrained/z{d}/seed{s}" for d in (2, 4) for s in (0, 1)}
    assert set(rows) == {"digits/raw", "digits/pca/z2", "digits/pca/z4"} | untrained
    models = {row["run"]: row["model"] for row in rows.values()}
    assert all(model in str(run) for run, model in models.items())


def test_raw_data_score_what_scikit_learn_says(
    rows: dict[str, dict[str, object]], few_digits: Dataset
) -> None:
    knn = KNeighborsClassifier(15).fit(few_digits.x[few_digits.rows("train")],
                                       few_digits.labels_of("train"))  # fmt: skip
    truth = knn.score(few_digits.observe("test"), few_digits.labels_of("test"))
    assert rows["digits/raw"]["knn_accuracy"] == pytest.approx(truth)
    assert "latent_dim" not in rows["digits/raw"]
    assert "nll" not in rows["digits/raw"]


def test_pcas_mse_is_of_its_reconstruction_and_falls_with_the_dimension(
    rows: dict[str, dict[str, object]], few_digits: Dataset
) -> None:
    pca = ProbabilisticPCA.fit(few_digits.observe("train"), 4, None)
    x = few_digits.observe("test")
    truth = np.square(pca.decode(pca.codes(x)) - x).mean()
    assert rows["digits/pca/z4"]["mse"] == pytest.approx(truth)
    assert rows["digits/pca/z4"]["mse"] < rows["digits/pca/z2"]["mse"]
    assert rows["digits/pca/z4"]["nll"] == pytest.approx(pca.nll(x))
    assert rows["digits/pca/z4"]["active_units"] == 4
    assert rows["digits/pca/z4"]["measure"] == "grey/density"


def test_pcas_nll_stands_only_beside_gaussian_arms_of_one_scale(few_digits: Dataset) -> None:
    cases = {
        ("gaussian", "fixed"): True,
        ("gaussian", "learned_scalar"): True,
        ("gaussian", "learned_per_dimension"): False,
        ("continuous_bernoulli", "learned_scalar"): False,
    }
    for (likelihood, scale), filled in cases.items():
        options = model_options(gaussian_scale=scale, gaussian_sigma=0.2)
        found = control_rows(few_digits, [make_run(likelihood)], options, seed=0)
        (row,) = (row for row in found if row["model"] == "pca")
        assert ("nll" in row) == filled, (likelihood, scale)
        if scale == "fixed":
            pca = ProbabilisticPCA.fit(few_digits.observe("train"), 2, 0.2**2)
            assert row["nll"] == pytest.approx(pca.nll(few_digits.observe("test")))


def test_the_untrained_encoder_is_the_one_that_runs_start_from(
    rows: dict[str, dict[str, object]], few_digits: Dataset
) -> None:
    model = VAE(few_digits.observed, "discretized_logistic", 4, model_options(), seed=1)
    with torch.no_grad():
        means = model.encoder(torch.from_numpy(few_digits.observe("test"))).mean.double().numpy()
    truth = np.sqrt(np.square(means).mean())
    assert rows["digits/untrained/z4/seed1"]["code_rms"] == pytest.approx(truth, rel=1e-6)


# --- the linear optimum --------------------------------------------------------------------------


@pytest.mark.parametrize("beta", [0.05, 0.5, 2.0])
@pytest.mark.parametrize("sigma", [1.0, 0.5])
def test_no_linear_vae_is_better_than_the_optimum(beta: float, sigma: float) -> None:
    """Gradient descent on the exact objective, from many sides, ends there and never below."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(400, 6)) * [2.0, 1.4, 1.0, 0.6, 0.3, 0.1] + rng.normal(size=6)
    best = LinearOptimum.fit(x, 3, beta, sigma)
    truth = best.distortion(x) + beta * best.rate(x)
    data = torch.tensor(x - x.mean(0))
    covariance = data.T @ data / len(x)
    torch.manual_seed(0)
    decoder, encoder = (torch.randn(6, 3, dtype=torch.float64) * 0.5 for _ in range(2))
    log_std = torch.zeros(3, dtype=torch.float64)
    leaves = [leaf.requires_grad_() for leaf in (decoder, encoder, log_std)]
    adam = torch.optim.Adam(leaves, lr=0.02)
    for step in range(6000):
        adam.param_groups[0]["lr"] = 0.03 * (1 - step / 6000)
        residual = torch.eye(6, dtype=torch.float64) - encoder @ decoder.T
        error = (residual.T @ covariance @ residual).trace()
        error = error + (decoder.square().sum(0) * (2 * log_std).exp()).sum()
        means = (encoder.T @ covariance @ encoder).diagonal()
        rate = 0.5 * (means + (2 * log_std).exp() - 1 - 2 * log_std).sum()
        loss = 0.5 * error / sigma**2 + 3 * np.log(2 * np.pi * sigma**2) + beta * rate
        assert loss.item() > truth - 1e-9
        adam.zero_grad()
        loss.backward()
        adam.step()
    assert loss.item() == pytest.approx(truth, abs=2e-3)
    assert rate.item() == pytest.approx(best.rate(x), abs=0.03)


def test_the_optimum_gives_the_closed_form_on_the_rows_trained_on() -> None:
    rng = np.random.default_rng(1)
    x = rng.normal(size=(300, 5)) * [2.0, 1.0, 0.7, 0.4, 0.2]
    values = np.sort(np.linalg.eigvalsh(np.cov(x, rowvar=False, bias=True)))[::-1]
    for beta in (0.1, 0.6, 10.0):
        best = LinearOptimum.fit(x, 3, beta, 1.0)
        active = values[:3][values[:3] > beta]
        assert best.rate(x) == pytest.approx(0.5 * np.log(active / beta).sum())
        half = 0.5 * (beta * len(active) + values.sum() - active.sum())
        assert best.distortion(x) == pytest.approx(half + 2.5 * np.log(2 * np.pi))


def test_the_optimum_stands_beside_linear_arms_of_fixed_scale_only(few_digits: Dataset) -> None:
    runs = [make_run(beta=0.1), make_run(beta=0.5), make_run(kl=False)]
    options = model_options(hidden=[], gaussian_scale="fixed", gaussian_sigma=0.5)
    found = [r for r in control_rows(few_digits, runs, options, 0) if r["model"] == "optimum"]
    assert [row["run"] for row in found] == [
        "digits/optimum/z2/beta0.1".replace("digits", few_digits.name),
        "digits/optimum/z2/beta0.5".replace("digits", few_digits.name),
    ]
    assert found[0]["active_units"] == 2
    for other in (
        model_options(gaussian_scale="fixed"),
        model_options(hidden=[], gaussian_scale="learned_scalar"),
    ):
        rows = control_rows(few_digits, runs, other, 0)
        assert all(row["model"] != "optimum" for row in rows)
