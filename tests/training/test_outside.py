"""Parts from outside the package whose values have other shapes: refused before they train."""

from __future__ import annotations

from pathlib import Path

import pytest

from support import make_run, model_options, training_settings
from vae_ablation.common.registry import load_parts
from vae_ablation.data.base import Dataset
from vae_ablation.study.plugins import use_plugins
from vae_ablation.training.pack import train_pack

pytestmark = pytest.mark.usefixtures("forget_plugins")

PARTS = {
    "posterior": '''
@register
class One(PosteriorKind):
    """One number for each pair of outputs."""

    name = "odd"

    def outputs(self, latent_dim):
        return latent_dim

    def posterior(self, output, options):
        return Posterior(*output.chunk(2, -1))
''',
    "likelihood": '''
@register
class One(Likelihood):
    """One mean for all of x."""

    name = "odd"

    def distribution(self, output, parameters, given):
        mean = output.mean(-1, keepdim=True)
        return FromTorch(torch.distributions.Laplace(mean, 0.1, validate_args=False))
''',
    "prior": '''
@register
class One(Prior):
    """A density with an axis too many."""

    name = "odd"

    def log_prob(self, z):
        return -z.square().sum(-1, keepdim=True)

    def at(self, noise, generator):
        return noise
''',
    "objective": '''
@register
class One(Elbo):
    """A rate that is one number."""

    name = "odd"

    def terms(self, model, batch):
        found = super().terms(model, batch)
        return found | {"rate": found["rate"].mean()}
''',
}
WORDS = {
    "posterior": "mean of the posterior odd has the shape (3, 1) for 3 examples; wanted: (3, 2)",
    "likelihood": "mean of the likelihood odd has the shape (3, 1, 1) for 3 examples; wanted:",
    "prior": "log_prob of the prior odd has the shape (3, 1, 1) for 3 examples; wanted: (3, 1)",
    "objective": "the term rate of the objective odd has the shape () for 3 examples; wanted: (3,)",
}


@pytest.mark.parametrize("kind", PARTS)
def test_a_shape_that_would_broadcast_fails_the_runs_of_its_part_alone(
    kind: str, few_digits: Dataset, tmp_path: Path
) -> None:
    file = tmp_path / "my_parts.py"
    file.write_text(f"import torch\nfrom vae_ablation.parts import *\n{PARTS[kind]}", "utf-8")
    settings = few_digits, model_options(hidden=[4]), training_settings(epochs=1)
    use_plugins([str(file)])
    load_parts()
    runs = [make_run(latent_dim=2, seed=seed, **{kind: "odd"}) for seed in (0, 1)]
    results = train_pack(runs, *settings)
    assert [one.status for one in results] == ["failed", "failed"]
    assert all(WORDS[kind] in one.reason for one in results), results[0].reason
    assert all("my_parts.py" in one.reason for one in results)
