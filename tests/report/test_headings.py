"""Headings and labels under which the report shows a figure."""

from __future__ import annotations

from types import SimpleNamespace

from vae_ablation.report.headings import figure_category, figure_labels


def test_a_label_is_in_words_and_latent_dimensions_are_as_wide_as_each_other() -> None:
    def labels(latent: str) -> dict[str, str]:
        picture = {"figure": "kl_on_off", "dataset": "digits", "likelihood": "continuous_bernoulli"}
        return figure_labels(SimpleNamespace(**picture, latent=latent))

    assert labels("z16") == {"figure": "KL on off · digits · continuous bernoulli · \u200716"}
    shown = [labels(latent)["figure"] for latent in ("z2", "z16", "all")]
    assert [text.split("\u2007")[-1][-3:].strip(" ·") for text in shown] == ["2", "16", "all"]
    assert len({len(text) for text in shown}) == 1


def test_a_figure_stands_under_the_heading_of_its_category() -> None:
    assert figure_category(SimpleNamespace(figure="effects")) == "2. Comparison"
