"""Rows of models made elsewhere, by the definitions of the runs and beside the controls."""

from __future__ import annotations

from functools import partial
from typing import Any

from vae_ablation.common.errors import UserError
from vae_ablation.common.isolation import Isolated
from vae_ablation.data.base import Dataset
from vae_ablation.data.examples import spaced
from vae_ablation.evaluation.codes import active_units
from vae_ablation.evaluation.context import TRAIN_CODES, CodeContext
from vae_ablation.evaluation.controls import ControlSamples
from vae_ablation.evaluation.external_codes import read_codes
from vae_ablation.evaluation.external_models import Held
from vae_ablation.evaluation.families import FAMILIES
from vae_ablation.evaluation.family import Columns, defined
from vae_ablation.evaluation.features import FeatureNetworks
from vae_ablation.study.external import ExternalArm, Place

FACTORS = "factors"
"""Family that needs codes alone and that controls leave out: nobody asked them to disentangle."""


class ExternalContext(CodeContext):
    """Codes of a model from elsewhere; under a prior they may have collapsed."""

    @property
    def collapsed(self) -> bool:
        """Whether a prior left no unit active."""
        return self.scaled and not active_units(self.codes)


def external_rows(
    arm: ExternalArm,
    split_seed: int | None,
    dataset: Dataset,
    seed: int,
    extractor: FeatureNetworks,
    draws: int,
) -> list[dict[str, Any]]:
    """Rows of metrics.csv of an arm: one for each latent dimension and seed.

    Of codes in a file only what needs no decoder is known; of an object what its methods give. An
    error that nobody foresaw costs the columns that it hit, which `reason` names.

    Args:
        arm: the arm.
        split_seed: of the data; None for the dataset's own split.
        dataset: the prepared dataset.
        seed: of the evaluation.
        extractor: features of the dataset, in which samples are compared with it.
        draws: sets of samples, as many in each as held-out examples.

    Raises:
        UserError: a file does not hold codes of these examples, or an object gives something else
            than its methods say.
    """
    samples = ControlSamples(dataset, extractor, seed, draws)
    return [_row(arm, place, dataset, seed, samples) for place in arm.places(split_seed)]


def _row(
    arm: ExternalArm, place: Place, dataset: Dataset, seed: int, samples: ControlSamples
) -> dict[str, Any]:
    part = Isolated(f"{arm.name} on {dataset.name}")
    held = None if arm.model is None else Held(arm, place, dataset)
    nothing: tuple[dict[str, Any], Columns] = ({"status": "failed"}, {})
    known, columns = part(
        "codes", lambda: _of_codes(arm, place, dataset, seed, held, part), nothing
    )
    if held is not None and not known.get("status"):
        none: Columns = {}
        columns |= part("reconstruction", held.reconstruction, none)
        columns |= part("samples", partial(held.samples, samples), none)
    values = defined(columns)
    traces = "" if place.seed is None else f"/seed{place.seed}"
    dim = known.get("latent_dim", place.latent_dim)
    return {
        "run": f"{dataset.name}/{arm.name}/z{dim}{traces}",
        "model": arm.name,
        "dataset": dataset.name,
        **arm.cells,
        "latent_dim": dim,
        **({} if place.seed is None else {"seed": place.seed}),
        **known,
        **values,
        **({"reason": part.reason} if part.reasons else {}),
    }


def _of_codes(
    arm: ExternalArm,
    place: Place,
    dataset: Dataset,
    seed: int,
    held: Held | None,
    part: Isolated,
) -> tuple[dict[str, Any], Columns]:
    """The latent dimension, and the columns of every family that asks for codes alone."""
    if held is not None:
        codes = held.codes
    else:
        assert place.path is not None
        codes = read_codes(place.path, arm.key, dataset)
    dim = codes.test.shape[1]
    if place.latent_dim not in (None, dim):
        raise UserError(
            f"external.{arm.name}: the codes of {place.path or arm.model} have {dim} dimensions; "
            f"allowed: {place.latent_dim}, as latent_dim says."
        )
    rows = dataset.rows("train")
    some = spaced(len(rows), TRAIN_CODES)
    train = codes.train[some] if len(codes.train) == len(rows) else codes.train
    context = ExternalContext(
        dataset, seed, codes.test, train, rows[some], scaled=arm.normal_prior, latent_dim=dim
    )
    columns: Columns = {}
    none: Columns = {}
    for each in FAMILIES.values():
        if each.codes or each.name == FACTORS:
            columns |= part(each.name, partial(each, context), none)
    return {"latent_dim": dim}, columns
