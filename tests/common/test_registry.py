"""The registry of parts: every part of the package is in it, and what is not one is refused."""

from __future__ import annotations

import inspect
from collections.abc import Iterator

import pytest

from vae_ablation.applications import APPLICATIONS, Application
from vae_ablation.common.public import PUBLIC, home
from vae_ablation.common.registry import REGISTRIES, PartError, Registry
from vae_ablation.data import SOURCES
from vae_ablation.data.base import Source
from vae_ablation.models.architectures import ARCHITECTURES, Architecture
from vae_ablation.models.likelihoods import LIKELIHOODS, Likelihood
from vae_ablation.models.objectives import OBJECTIVES, Objective
from vae_ablation.models.posteriors import POSTERIORS, PosteriorKind
from vae_ablation.models.priors import PRIORS, Prior

KINDS = {
    Application: APPLICATIONS,
    Architecture: ARCHITECTURES,
    Likelihood: LIKELIHOODS,
    Objective: OBJECTIVES,
    PosteriorKind: POSTERIORS,
    Prior: PRIORS,
    Source: SOURCES,
}


def descendants(cls: type) -> Iterator[type]:
    for child in cls.__subclasses__():
        yield child
        yield from descendants(child)


@pytest.mark.parametrize("kind", KINDS)
def test_every_part_of_the_package_is_registered(kind: type) -> None:
    own = {
        cls
        for cls in descendants(kind)
        if cls.__module__.startswith("vae_ablation.") and not inspect.isabstract(cls)
    }
    entries = {one if isinstance(one, type) else type(one) for one in KINDS[kind].values()}
    missing = {cls.__name__ for cls in own} - {cls.__name__ for cls in entries}
    assert not missing, f"put @register above {', '.join(sorted(missing))}"


def test_a_name_that_a_path_cannot_show_is_refused() -> None:
    registry: Registry[object] = Registry("kind of this test")
    del REGISTRIES["kind of this test"]  # other tests go through all kinds
    for name in ("Big", "two words", "all", "none", "", "ä", "1st", "a" * 61, "a/b"):
        with pytest.raises(PartError, match="has the name"):
            registry.add(type("One", (), {"name": name, "__doc__": "Words."}))
    registry.add(type("One", (), {"name": "one-2_b", "__doc__": "Words."}))
    assert [*registry] == ["one-2_b"]


def test_every_public_name_is_where_the_table_says() -> None:
    import vae_ablation.parts

    for name in PUBLIC:
        module, attribute = home(name)
        found = getattr(vae_ablation.parts, name)
        assert found.__name__ == attribute
        assert found.__module__.startswith("vae_ablation.")
        assert module.startswith("vae_ablation.")
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        _ = vae_ablation.parts.nothing
