"""Proper names of likelihoods, in sentences and figures."""

from __future__ import annotations

PROPER_NAMES = {
    "bernoulli": "Bernoulli",
    "continuous_bernoulli": "continuous Bernoulli",
    "discretized_logistic": "discretised logistic",
    "gaussian": "Gaussian",
    "laplace": "Laplace",
    "log_normal_gaussian": "log-normal Gaussian",
    "negative_binomial": "negative binomial",
    "poisson": "Poisson",
    "student_t": "Student-t",
    "zero_inflated_negative_binomial": "zero-inflated negative binomial",
}
"""Likelihoods whose names are words of the language; others are written as they are called."""


def likelihood(name: str) -> str:
    """Proper name of a likelihood: `Gaussian`, `discretised logistic`; others keep theirs."""
    return PROPER_NAMES.get(name, name)
