"""Labels in posterior means and in sampled codes."""

from __future__ import annotations

from planted import contrast, found, only

SAMPLED = contrast("beta", "4", "probe_accuracy_sampled", (-0.4, -0.45, -0.35), "worse",
                   family="exploratory", reference_mean=0.84, mean=0.44)  # fmt: skip
MEANS = contrast("beta", "4", "probe_accuracy", (-0.002, -0.005, 0.001), "equivalent")
OPEN = contrast("beta", "4", "nll", (3.0, 2.0, 4.0), "worse")


def test_sampled_codes_that_lose_labels_which_means_keep() -> None:
    finding = only(found([OPEN, SAMPLED, MEANS], topic="beta/probe_accuracy_sampled"))
    assert str(finding.headline) == (
        "At β = 4, sampled codes lose labels that posterior means keep"
    )
    assert "from 0.84 to 0.44; read from posterior means, it is equivalent" in str(finding.text)


def test_undecided_means_are_not_said_to_keep_labels() -> None:
    means = contrast("beta", "4", "probe_accuracy", (-0.02, -0.05, 0.01), "undecided")
    finding = only(found([OPEN, SAMPLED, means], topic="beta/probe_accuracy_sampled"))
    assert str(finding.headline).endswith("lose more labels than posterior means do")


def test_where_both_lose_alike_nothing_is_hidden() -> None:
    means = MEANS | {"ci_low": -1.0, "ci_high": -0.6}
    finding = only(found([OPEN, SAMPLED, means], topic="beta/probe_accuracy_sampled"))
    assert "posterior means keep" not in str(finding.headline)


def test_means_that_lose_as_well_are_not_said_to_keep_labels() -> None:
    means = MEANS | {"ci_low": -0.3, "ci_high": -0.1, "verdict": "worse"}
    finding = only(found([OPEN, SAMPLED, means], topic="beta/probe_accuracy_sampled"))
    assert (
        str(finding.headline) == "At β = 4, sampled codes lose more labels than posterior means do"
    )
