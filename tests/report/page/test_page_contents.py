"""The page's data keep their contract, and hold neither places nor values that are no numbers."""

from __future__ import annotations

import base64
import getpass
import gzip
import json
import math
import re
import socket
from dataclasses import replace
from importlib.resources import files
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pandas as pd
import pytest

from report.page.studies import GRID, draw_pictures, made_rows, ten_axes, write_study
from vae_ablation.report.page.answer import (
    Answer,
    Answers,
    Rest,
    first_sentences,
    five,
    read_answers,
)
from vae_ablation.report.page.build import checks, design, question, report, warning, well
from vae_ablation.report.page.bundle import Bundle
from vae_ablation.report.page.contents import Contents
from vae_ablation.report.page.render import apart, counts
from vae_ablation.report.page.sections import sections
from vae_ablation.report.page.values import column, in_script, short, without_places
from vae_ablation.tables.collect import read_metrics, write_csv
from vae_ablation.tables.contrasts import contrasts

SCHEMA = json.loads(
    files("vae_ablation.report.page").joinpath("contract.schema.json").read_text("utf-8")
)


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    rows = made_rows(GRID[:-2]) + made_rows(GRID[-2:], "diverged")
    folder = write_study(tmp_path_factory.mktemp("contents") / "results" / "made", rows)
    draw_pictures(folder, rows, (8, 8))
    return folder


@pytest.fixture(scope="module")
def contents(study: Path) -> Contents:
    return Contents(study)


@pytest.fixture(scope="module")
def data(contents: Contents) -> dict[str, Any]:
    return json.loads(json.dumps(contents.to_json(), allow_nan=False))


def test_the_schema_is_one_and_the_data_fit_it(data: dict[str, Any]) -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    jsonschema.validate(data, SCHEMA)
    assert len(data["shown"]) == 16


@pytest.mark.parametrize(
    "spoil",
    [
        lambda data: data.update(further=1),
        lambda data: data["arms"]["at"].append([-1]),
        lambda data: data["axes"][0].update(levels=[]),
        lambda data: data["runs"].pop("seed"),
        lambda data: next(iter(data["metrics"].values())).update(better=2),
    ],
)
def test_data_that_break_the_contract_are_refused(spoil: Any, data: dict[str, Any]) -> None:
    spoiled = json.loads(json.dumps(data))
    spoil(spoiled)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(spoiled, SCHEMA)


def test_means_and_intervals_are_those_of_the_summary(study: Path, data: dict[str, Any]) -> None:
    summary = pd.read_csv(study / "tables" / "summary.csv")
    for at in range(len(data["arms"]["at"])):
        levels = dict(
            zip([axis["name"] for axis in data["axes"]], data["arms"]["at"][at], strict=True)
        )
        axes = {axis["name"]: axis["levels"][levels[axis["name"]]] for axis in data["axes"]}
        row = summary[
            (summary["likelihood"] == axes["likelihood"]["id"])
            & (summary["latent_dim"] == axes["latent_dim"]["value"])
            & (summary["arm"] == data["arms"]["name"][at])
            & (summary["metric"] == "mse")
        ]
        held = data["arms"]["m"]["mse"]
        if row.empty:
            assert held["mean"][at] is None
            continue
        for name, key in (("mean", "mean"), ("low", "ci_low"), ("high", "ci_high")):
            wanted = row[key].iloc[0]
            held_here = held[name][at]
            assert (
                held_here is None
                if pd.isna(wanted)
                else held_here == pytest.approx(wanted, rel=1e-4)
            )


def test_numbers_have_five_digits_at_most(data: dict[str, Any]) -> None:
    def numbers(value: Any) -> Any:
        if isinstance(value, dict):
            for item in value.values():
                yield from numbers(item)
        elif isinstance(value, list):
            for item in value:
                yield from numbers(item)
        elif isinstance(value, float):
            yield value

    for part in ("arms", "runs", "kl", "contrasts", "controls"):
        assert all(value == float(f"{value:.5g}") for value in numbers(data[part]))


def test_every_array_lies_within_its_part(contents: Contents, data: dict[str, Any]) -> None:
    sizes = {
        name: len(gzip.decompress(base64.b64decode(text)))
        for name, text in contents.parts.texts.items()
    }
    for arm, shown in data["shown"].items():
        for name in ("reconstructions", "samples", "codes"):
            stored = shown[name]
            assert stored["at"] + stored["length"] * stored["width"] <= sizes[f"arm{arm}"]
    for curve in data["curves"].values():
        for columns in curve["splits"].values():
            for stored in columns.values():
                assert stored["at"] + stored["length"] * stored["width"] <= sizes[curve["part"]]


def test_a_diverged_run_has_its_curve_up_to_the_last_finite_epoch(data: dict[str, Any]) -> None:
    status = data["runs"]["status"]
    diverged = status["words"].index("diverged")
    places = [i for i, at in enumerate(status["at"]) if at == diverged]
    assert len(places) == 2
    for place in places:
        assert data["curves"][str(place)]["epochs"] == [1, 2]
    fine = next(i for i in range(len(status["at"])) if i not in places)
    assert data["curves"][str(fine)]["epochs"] == [1, 2, 3, 4, 5]


def test_two_builds_are_equal(study: Path) -> None:
    assert report(study) == report(study)


def test_no_place_of_this_machine_is_in_the_file(study: Path) -> None:
    text = re.sub(r"[A-Za-z0-9+/=]{200,}", "", report(study))  # compressed parts apart
    host = rf"(?<!\w){re.escape(socket.gethostname())}(?!\w)"
    assert not re.search(host, text)
    for name in (str(Path.home()), str(study.parents[1]), "secret-host"):
        assert name not in text
    assert getpass.getuser() == "root" or f"/{getpass.getuser()}/" not in text


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("cannot read /home/me/data/x.npz: no file", "cannot read …/x.npz: no file"),
        ("'/srv/a b/c.h5ad'", "'…/a b/c.h5ad'"),
        ("C:\\Users\\me\\x.npz", "…/x.npz"),
        ("nats/example, 3/4, https://a.example/b/c", "nats/example, 3/4, https://a.example/b/c"),
        ("data/raw/x.npz", "data/raw/x.npz"),
    ],
)
def test_absolute_paths_keep_only_their_end(text: str, wanted: str) -> None:
    assert without_places(text) == wanted


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, None, pd.NA, np.float64("nan")])
def test_values_that_are_no_numbers_are_none(value: Any) -> None:
    assert short(value) is None


def test_text_in_a_script_ends_no_element() -> None:
    text = in_script({"</script><script>": "<!-- \u2028"})
    assert "<" not in text
    assert json.loads(text) == {"</script><script>": "<!-- \u2028"}
    with pytest.raises(ValueError, match="JSON"):
        in_script([math.nan])


def test_columns_of_text_have_each_word_once() -> None:
    assert column(pd.Series(["a", "b", "a", None])) == {
        "words": ["a", "b", None],
        "at": [0, 1, 0, 2],
    }
    assert column(pd.Series([1.0, None, 123456.7])) == [1, None, 123460]


def test_the_question_and_the_design_name_what_varies(contents: Contents) -> None:
    assert question(contents.axes) == (
        "What do β, the KL term, the likelihood and the latent dimension do to a variational "
        "autoencoder?"
    )
    text = design(contents)
    assert "every combination of likelihood (discretised logistic, Gaussian)" in text
    assert "β (0.1, 1, 4, or no KL term)" in text
    assert "Each of the 16 arms" in text
    assert "3 seeds; scores are of the 40 test examples unless they say otherwise." in text


def test_checks_count_what_is_not_well(contents: Contents) -> None:
    found = checks(contents)
    assert found[0]["count"] == "2 of 48"
    assert not found[0]["good"]
    assert any(one["text"].startswith("runs have NLL") for one in found)


def test_runs_that_still_changed_are_counted_and_drawn(study: Path) -> None:
    contents = Contents(study)
    drift = contents.arms.runs["drift"].dropna()
    moving = int((drift.abs() >= contents.margin).sum())
    found = next(one for one in checks(contents) if "converged" in one["text"])
    assert found["count"] == f"{moving} of {len(drift)}"
    assert 0 < moving < len(drift)
    bad = int((contents.arms.runs["status"] != "ok").sum())
    ended = f"{bad} of {len(contents.arms.runs)} runs failed or diverged"
    assert well(contents) == f"{ended}; {moving} of {len(drift)} had not converged"
    trust = sections(contents.arms, contents.has, contents.margin)[-1]
    assert trust.figures[0].options == {"metric": "drift", "limit": 0.5}


def test_a_study_of_one_axis_and_one_seed_says_what_it_is(tmp_path: Path) -> None:
    wanted = {"likelihood": "gaussian", "latent_dim": 2, "kl": True, "seed": 0}
    rows = made_rows([one for one in GRID if all(one[k] == v for k, v in wanted.items())])
    folder = write_study(tmp_path / "results" / "made", rows)
    draw_pictures(folder, rows, (4, 4, 3))
    contents = Contents(folder)
    assert question(contents.axes) == "What does β do to a variational autoencoder?"
    assert "on digits (4 × 4 pixels in colour), for each level of β (0.1, 1, 4)." in design(
        contents
    )
    page = report(folder)
    assert "there are no intervals" in page
    assert "95 % confidence intervals over" not in page


@pytest.mark.parametrize(
    ("extra", "words"),
    [
        ({}, "on digits, for 15 of the 16 combinations of likelihood ("),
        ({"dataset": "blobs"},
         "on blobs and digits, for 16 of the 32 combinations of data set, likelihood ("),
    ],
)  # fmt: skip
def test_a_part_of_all_combinations_says_how_many_there_are(
    extra: dict[str, Any], words: str, tmp_path: Path
) -> None:
    last = [one for one in GRID if (one["latent_dim"], one["beta"], one["likelihood"], one["kl"])
            == (8, 4.0, "gaussian", True)]  # fmt: skip
    rest = [one for one in GRID if one not in last]
    settings = rest + [one | extra for one in last if extra]
    assert words in design(
        Contents(write_study(tmp_path / "results" / "made", made_rows(settings)))
    )


def test_arms_without_a_kl_term_end_the_list_of_betas(tmp_path: Path) -> None:
    rows = made_rows([{"beta": 1.0}, {"beta": 4.0}, {"kl": False}, {"posterior": "point"}])
    text = design(Contents(write_study(tmp_path / "results" / "made", rows)))
    assert "β (1, 4, a deterministic autoencoder, or no KL term)" in text


def test_the_question_names_five_settings_at_most(tmp_path: Path) -> None:
    axes = Contents(write_study(tmp_path / "results" / "made", ten_axes())).axes
    assert question(axes).startswith("What do β, the likelihood, the latent dimension, the ")
    assert question(axes).endswith(" and 7 other settings do to a variational autoencoder?")


def test_headings_of_what_has_no_finding_have_numbers(
    contents: Contents, data: dict[str, Any]
) -> None:
    assert counts(data) == "16 arms and 48 runs"
    means = contents.arms.runs.groupby("arm_at")["rate"].mean()
    ends = [float(f"{value:.3g}") for value in (means.min(), means.max())]
    heading = sections(contents.arms, contents.has)[0].heading
    assert heading.startswith("The rate of 16 arms runs from ")
    assert [float(word) for word in re.findall(r"[\d.]+", heading)[1:]] == ends
    runs = contents.arms.runs.assign(rate=lambda rows: rows["rate"].where(rows["arm_at"] > 0, 2e-4))
    collapsed = sections(replace(contents.arms, runs=runs), contents.has)[0].heading
    assert collapsed.startswith("The rate of 16 arms runs from less than 0.01 to ")


def test_levels_are_drawn_at_equal_rate_where_two_of_them_have_several(contents: Contents) -> None:
    def drawn(runs: pd.DataFrame) -> bool:
        made = sections(replace(contents.arms, runs=runs), contents.has)
        return any(figure.draws == "matched" for section in made for figure in section.figures)

    runs = contents.arms.runs
    first, *_ = sorted(runs["likelihood"].unique())
    assert drawn(runs)
    assert not drawn(runs[(runs["likelihood"] == first) | (runs["beta"] == 1)])


def finding(section: str, rank: int, conclusive: bool = True, leads: bool = True) -> Answer:
    return Answer(section, f"h{rank}", f"t{rank}.", conclusive, None, rank, leads)


def test_axes_beside_the_five_findings_have_a_headline_or_are_called_undecided() -> None:
    """β is varied and decides a primary metric, and is not among what leads."""
    answers = [
        finding("kl_off", 0), finding("collapse", 1), finding("latent_dim", 2),
        finding("condition", 3), finding("trust", 4),
        replace(finding("beta", 5, leads=False), primary=False),
        finding("beta", 6, leads=False), finding("beta", 7, leads=False),
        finding("prior", 8, conclusive=False, leads=False),
        replace(finding("objective", 9, leads=False), primary=False),
        *(finding(f"axis{i}", 10 + i, leads=False) for i in range(4)),
    ]  # fmt: skip
    asked = ["kl_off", "beta", "latent_dim", "condition", "prior", "objective", "dispersion",
             *(f"axis{i}" for i in range(4))]  # fmt: skip
    chosen = five(answers, [*asked, "collapse", "trust"])
    assert [one.rank for one in chosen] == [0, 2, 3, 1, 4]
    rest = Rest.of(answers, chosen, asked)
    assert [(one.rank, one.lead) for one in rest.brief] == [(6, ""), (10, ""), (11, "")]
    assert rest.named == ["axis2", "axis3"]
    assert rest.undecided == ["prior", "objective", "dispersion"]


def test_the_answer_names_what_is_undecided_and_nothing_without_intervals(tmp_path: Path) -> None:
    def said(name: str, seeds: int) -> str:
        rows = made_rows([one for one in GRID if one["seed"] < seeds])
        folder = write_study(tmp_path / name, rows, [
            {"id": "digits/beta/nll", "section": "beta", "headline": "The NLL is worse",
             "text": "By far.", "verdict": "worse", "lead": True, "caveats": [],
             "evidence": {"rows": [{"family": "primary"}]}},
        ])  # fmt: skip
        asked = contrasts(read_metrics(folder / "tables" / "metrics.csv"), ["nll"], None)
        write_csv(asked, folder / "tables" / "contrasts.csv")
        section = report(folder).partition('id="answer"')[2].partition("</section>")[0]
        return re.sub("<[^>]+>", "", section)

    text = said("three", 3)
    assert "The NLL is worse." in text
    assert "Undecided in every primary metric: Without the KL term, Latent dimension." in text
    assert "Undecided" not in said("one", 1)


def test_the_answer_takes_sections_in_turn_and_conclusive_findings_first() -> None:
    answers = [
        finding("beta", 0, conclusive=False), finding("beta", 1), finding("beta", 2),
        finding("kl_off", 3), finding("trust", 4), finding("map", 5, leads=False),
        finding("collapse", 6), finding("latent_dim", 7),
    ]  # fmt: skip
    order = ["map", "beta", "kl_off", "collapse", "latent_dim", "trust"]
    assert [one.rank for one in five(answers, order)] == [1, 3, 6, 7, 4]
    assert [one.rank for one in five(answers[:3], order)] == [0, 1, 2]


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("One is 1.5 times two. Two is more.", "One is 1.5 times two."),
        ("A. B.", "A. B."),
        (f"First; {'long ' * 20}end.", "First; …"),
    ],
)
def test_sentences_are_cut_where_one_ends(text: str, wanted: str) -> None:
    assert first_sentences(text, 25) == wanted


def test_findings_of_either_layout_find_their_section(tmp_path: Path) -> None:
    (tmp_path / "tables").mkdir()
    entries = [
        {"kind": "kl_off_codes", "headline": "a", "sentence": "b.", "conclusive": False},
        {"question": "beta", "section": "beta", "headline": "c", "text": "d.", "verdict": "worse",
         "lead": False, "caveats": ["e."]},
        {"question": "point", "section": "point", "headline": "f", "text": "g.", "verdict": ""},
        {"kind": "unknown", "headline": "h", "sentence": "i."},
    ]  # fmt: skip
    (tmp_path / "tables" / "findings.json").write_text(json.dumps(entries), "utf-8")
    found = read_answers(tmp_path, ["map", "beta", "kl_off"])
    assert [one.section for one in found] == ["kl_off", "beta", "kl_off", "map"]
    assert [one.conclusive for one in found] == [False, True, False, True]
    assert [one.leads for one in found] == [True, False, True, True]
    assert found[1].caveats == ("e.",)


def test_caveats_that_begin_alike_are_one_sentence() -> None:
    texts = ["Exploratory: the MSE.", "Bounds only.", "Exploratory: the rate and the MSE.",
             "Exploratory: the mean and variance."]  # fmt: skip
    answers = [replace(finding("beta", k), caveats=(text,)) for k, text in enumerate(texts)]
    told = ["Exploratory: the MSE, the rate and the mean and variance.", "Bounds only."]
    assert [lines for _, lines in Answers.of(answers).caveats] == [told]
    answers[1] = replace(answers[1], dataset="other")
    assert [(one.dataset, lines) for one, lines in Answers.of(answers).caveats] == [
        (None, told[:1]), ("other", told[1:]),
    ]  # fmt: skip


def test_arms_that_matter_less_go_without_pictures_where_there_is_no_room(study: Path) -> None:
    contents = Contents(study)
    contents.parts.room = 12_000
    data = contents.to_json()
    jsonschema.validate(json.loads(json.dumps(data)), SCHEMA)
    assert 0 < len(data["shown"]) < 16
    assert data["omitted"] > 0
    reference = next(
        at for at, levels in enumerate(data["arms"]["at"])
        if all(level == axis["reference"] for level, axis in zip(levels, data["axes"], strict=True))
    )  # fmt: skip
    assert str(reference) in data["shown"]


def test_bytes_of_images_are_what_was_drawn(study: Path, contents: Contents) -> None:
    arm, shown = next(iter(contents.shown.items()))
    content = gzip.decompress(base64.b64decode(contents.parts.texts[f"arm{arm}"]))
    stored = shown["samples"]
    with np.load(study / "runs" / shown["run"] / "pictures.npz") as arrays:
        wanted = arrays["samples"].tobytes()
    assert content[stored["at"] : stored["at"] + stored["length"]] == wanted
    assert isinstance(Bundle().text(), str)


def test_snapshots_are_within_three_grey_levels(study: Path, contents: Contents) -> None:
    arm, shown = next(iter(contents.shown.items()))
    content = gzip.decompress(base64.b64decode(contents.parts.texts[f"snapshots{arm}"]))
    stored = shown["snapshots"]["images"]
    kept = np.frombuffer(content, np.uint8)[stored["at"] : stored["at"] + stored["length"]]
    with np.load(study / "runs" / shown["run"] / "snapshots.npz") as arrays:
        exact = arrays["images"].ravel().astype(int)
    assert np.abs(kept - exact).max() <= 3
    assert {0, 255} >= {*kept[(exact < 4)], *kept[exact > 251]}


def test_long_tables_are_parts_of_their_own(data: dict[str, Any]) -> None:
    kept, long = apart(data)
    assert "curves" not in kept
    assert set(kept["contrasts"]) == {"count", "whole"}
    read = {
        name: json.loads(gzip.decompress(base64.b64decode(text))) for name, text in long.items()
    }
    assert read == {"contrasts": data["contrasts"]["columns"], "curves": data["curves"]}
    assert data["contrasts"]["columns"] is not None


def test_a_run_that_is_not_ok_has_the_end_of_its_log(study: Path) -> None:
    bad = "digits/discretized_logistic/z8/kl-off/seed2"
    plan = {"config_path": "study.yaml", "runs": [{"path": bad, "pack": "p1"}]}
    (study / "plan.json").write_text(json.dumps(plan), "utf-8")
    log = study / "logs" / "train" / "p1.log"
    log.parent.mkdir(parents=True)
    log.write_text("\n".join([*map(str, range(30)), "cannot read /home/me/x.npz"]), "utf-8")
    data = Contents(study).to_json()
    place = data["runs"]["path"].index(bad)
    assert data["logs"] == {str(place): [*map(str, range(11, 30)), "cannot read …/x.npz"]}
    assert data["reproduce"] == {"config": "study.yaml"}


def test_failures_missing_results_and_versions_are_said_first(tmp_path: Path) -> None:
    rows = made_rows(GRID[:4]) + made_rows(GRID[4:6], "failed")
    folder = write_study(tmp_path / "results" / "made", rows)
    path = folder / "tables" / "overview.json"
    overview = json.loads(path.read_text("utf-8"))
    overview |= {
        "missing": ["p1\\: <i>lost</i>"],
        "code": {"a": 1, "b": 5},
        "improper": ["bernoulli"],
    }
    path.write_text(json.dumps(overview), "utf-8")
    contents = Contents(folder)
    assert warning(contents) == "2 of 6 runs failed or diverged; 1 result is missing"
    texts = [f"{one['count']} {one['text']}" for one in checks(contents)]
    assert any(text.startswith("2 versions of the training code") for text in texts)
    assert any("Scores of Bernoulli on grey pixels" in text for text in texts)
    page = report(folder)
    assert page.index("1 result is missing") < page.index('id="map"')
    assert "p1: &lt;i&gt;lost&lt;/i&gt;" in page
