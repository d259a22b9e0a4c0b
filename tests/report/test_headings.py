"""Headings and labels under which the report shows a figure."""

from __future__ import annotations

from types import SimpleNamespace

from vae_ablation.report.headings import figure_category, figure_labels


def test_labels_are_words_and_latent_dimensions_are_as_wide_as_each_other() -> None:
    def labels(latent: str) -> dict[str, str]:
        picture = {"figure": "kl_on_off", "dataset": "digits", "likelihood": "continuous_bernoulli"}
        return figure_labels(SimpleNamespace(**picture, latent=latent))

    assert labels("z16") == {
        "figure": "KL on off",
        "dataset": "digits",
        "likelihood": "continuous bernoulli",
        "latent dimension": "\u200716",
    }
    shown = [labels(latent)["latent dimension"] for latent in ("z2", "z16", "all")]
    assert [text.lstrip("\u2007") for text in shown] == ["2", "16", "all"]
    assert {len(text) for text in shown} == {3}


def test_a_figure_stands_under_the_heading_of_its_category() -> None:
    assert figure_category(SimpleNamespace(figure="effects")) == "2. Comparison"
