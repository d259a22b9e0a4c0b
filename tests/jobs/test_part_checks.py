"""`vae-ablation check`: a right part passes, and an error planted in each kind is found."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from jobs import tried_parts
from jobs.tried_parts import wrong
from study.test_plugins import PARTS, parts_file, plugins_public
from vae_ablation import cli
from vae_ablation.jobs.part_checks import Outcome, check_file

pytestmark = pytest.mark.usefixtures("forget_plugins")


def outcomes(folder: Path, text: str) -> list[Outcome]:
    head = f"import torch\nfrom torch import nn\nfrom vae_ablation.parts import {NAMES}\n"
    return tried_parts.outcomes(folder, head + text)


NAMES = ", ".join([*plugins_public(), "Posterior", "PosteriorKind", "StandardNormal"])


def test_right_parts_pass(tmp_path: Path) -> None:
    found = check_file(parts_file(tmp_path, *(set(PARTS) - {"application"})))
    assert wrong(found) == []
    notes = [one.sentence for one in found if one.verdict == "note"]
    assert any("train one by one" in note and "Batch norm" in note for note in notes)
    assert len({one.part for one in found}) == 6


COUNTING = """    def terms(self, model, batch):
        found = super().terms(model, batch)
        code = model.encoder(batch.x, batch.context).mean[:, 0]
        return found | {"rate": found["rate"] + (code[:, None] - code).abs().mean(1)}

    def loss"""
BRANCHING = """    def terms(self, model, batch):
        found = super().terms(model, batch)
        return found if found["rate"].sum() > 0 else {}

    def loss"""
PLANTED = {
    "likelihood without its constant": (
        "likelihood",
        "FromTorch(torch.distributions.Laplace(output, scale, validate_args=False))",
        "Bare(output, scale)",
        "density integrates to",
    ),
    "likelihood averaged over x": (
        "likelihood",
        "FromTorch(torch.distributions.Laplace(output, scale, validate_args=False))",
        "Averaged(torch.distributions.Laplace(output, scale, validate_args=False))",
        "density integrates to",
    ),
    "likelihood that draws from the global stream": (
        "likelihood",
        "FromTorch(torch.distributions.Laplace(output, scale, validate_args=False))",
        "Global(torch.distributions.Laplace(output, scale, validate_args=False))",
        "drawn from the global stream of torch",
    ),
    "likelihood whose draws are too wide": (
        "likelihood",
        "FromTorch(torch.distributions.Laplace(output, scale, validate_args=False))",
        "Wide(torch.distributions.Laplace(output, scale, validate_args=False))",
        "sample and log_prob disagree: the distribution of 4,000 draws",
    ),
    "likelihood that exits": (
        "likelihood",
        "scale = torch.full_like",
        "raise SystemExit(3)\n        scale = torch.full_like",
        "(SystemExit: 3)",
    ),
    "prior in double precision": (
        "prior",
        "log_prob(z).sum(-1)",
        "log_prob(z.double()).sum(-1)",
        "log_prob is torch.float64",
    ),
    "prior that takes no z in float64": (
        "prior",
        "log_prob(z).sum(-1)",
        "log_prob(z @ torch.eye(z.shape[-1])).sum(-1)",
        "log_prob of z in float64, as evaluation asks for, ended in an error",
    ),
    "objective whose loss is one number": (
        "objective",
        'return numbers["gamma"] * terms["distortion"] + numbers["beta"] * terms["rate"]',
        'return (numbers["beta"] * terms["rate"]).mean()',
        "its loss has the shape (); wanted: (12,)",
    ),
    "prior that is not normalised": (
        "prior",
        "log_prob(z).sum(-1)",
        "log_prob(z).sum(-1) + 0.2",
        "density integrates to 1.2",
    ),
    "prior whose sample and log_prob disagree": (
        "prior",
        "2 * noise",
        "1.7 * noise",
        "sample and log_prob disagree",
    ),
    "objective that counts fill-up examples": (
        "objective",
        "    def loss",
        COUNTING,
        "examples that fill a batch up (weight 0) change rate",
    ),
    "objective that is not linear in its terms": (
        "objective",
        'numbers["gamma"] * terms["distortion"]',
        'terms["distortion"] ** 2',
        "its loss of mean terms is",
    ),
    "objective that branches on values": (
        "objective",
        "    def loss",
        BRANCHING,
        "ended in an error",
    ),
    "module that draws from the global stream": (
        "architecture",
        "nn.BatchNorm1d(width)",
        "Noisy()",
        "in evaluation is drawn from the global stream of torch",
    ),
    "module of the wrong shape": (
        "architecture",
        "nn.Linear(width, outputs)",
        "nn.Linear(width, outputs + 1)",
        "gives the shape",
    ),
    "metric that draws from the global stream": (
        "metric",
        "(context.codes**2).sum(1).mean()",
        "torch.rand(()) + context.codes.sum()",
        "in compute is drawn from the global stream of torch",
    ),
    "metric of an undeclared column": (
        "metric",
        '{"code_norm"',
        '{"code_length"',
        "not declared",
    ),
    "source that describes other data": (
        "source",
        "Observed((4, 4), 5)",
        "Observed((4, 4), 9)",
        "it describes (4, 4) with 9 levels",
    ),
}
HELPERS = """
class Bare:
    def __init__(self, loc, scale):
        self.mean, self.scale = loc, scale

    def log_prob(self, x):
        return -((x - self.mean).abs() / self.scale).sum(-1)

    def sample(self, generator=None):
        uniform = torch.rand(self.mean.shape, generator=generator) - 0.5
        return self.mean - self.scale * uniform.sign() * torch.log1p(-2 * uniform.abs())


class Averaged(FromTorch):
    def log_prob(self, x):
        return self.distribution.log_prob(x).mean(-1)


class Global(FromTorch):
    def sample(self, generator=None):
        return self.distribution.sample()


class Wide(FromTorch):
    def sample(self, generator=None):
        return self.mean + 2 * (super().sample(generator) - self.mean)


class Noisy(nn.Module):
    def forward(self, x):
        return x + 0.1 * torch.randn_like(x)
"""


@pytest.mark.parametrize("fault", PLANTED)
def test_a_planted_error_is_found(fault: str, tmp_path: Path) -> None:
    kind, right, planted, words = PLANTED[fault]
    assert PARTS[kind].count(right) == 1
    found = wrong(outcomes(tmp_path, HELPERS + PARTS[kind].replace(right, planted)))
    assert any(words in sentence for sentence in found), found


def test_a_kl_that_is_not_the_mean_of_the_log_ratio_is_found(tmp_path: Path) -> None:
    closed = (
        "\n    def kl_per_dim(self, posterior):\n"
        "        return StandardNormal.of(self.latent_dim).kl_per_dim(posterior)\n"
    )
    found = wrong(outcomes(tmp_path, PARTS["prior"] + closed))
    assert any("its KL in closed form is" in sentence for sentence in found), found


def test_the_command_says_how_many_parts_are_wrong(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = parts_file(tmp_path, "prior", "metric")
    assert cli.main(["check", str(path)]) == 0
    assert "0 of 2 parts are wrong." in capsys.readouterr().out
    path.write_text(path.read_text("utf-8").replace("2 * noise", "noise"), "utf-8")
    assert cli.main(["check", str(path)]) == 1
    said = capsys.readouterr().out
    assert "wrong prior wide: sample and log_prob disagree" in said
    assert "1 of 2 parts are wrong." in said
    assert cli.main(["check", str(tmp_path / "none.py")]) == 1
    assert "no plug-in can be read here" in capsys.readouterr().err


def test_importing_a_file_that_changes_what_others_share_is_found(tmp_path: Path) -> None:
    effect = "torch.manual_seed(1)\ntorch.set_grad_enabled(False)\n"
    try:
        found = wrong(outcomes(tmp_path, effect + PARTS["prior"]))
    finally:
        torch.set_grad_enabled(True)
    assert any("changes torch's gradient mode" in sentence for sentence in found), found
    assert any("seeds the global stream of torch" in sentence for sentence in found), found


def test_what_was_found_before_an_error_is_said_and_the_error_once(tmp_path: Path) -> None:
    text = PARTS["prior"].replace("log_prob(z).sum(-1)", "log_prob(z).sum()")
    found = wrong(outcomes(tmp_path, text))
    assert "shapes are log_prob ()" in found[0]
    assert sum("ended in an error" in sentence for sentence in found) == 1
