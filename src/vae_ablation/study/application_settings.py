"""Checks of application settings against the names in the data, before planning. No torch."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from vae_ablation.common.errors import UserError

Settings = Mapping[str, Any]

_SHOWN = 12


@dataclass(frozen=True)
class Names:
    """Names in a dataset.

    Attributes:
        labels: of its labels.
        columns: further columns of obs that it keeps.
    """

    labels: tuple[str, ...]
    columns: tuple[str, ...]


def check_trajectory(
    where: str, block: Settings, settings: Mapping[str, Settings], known: Mapping[str, Names]
) -> None:
    """Refuse names that no dataset has, or that a dataset's own settings get wrong.

    A name that is meant for all datasets may be absent in some of them: the application is then
    left out there, with the reason in its log.

    Args:
        where: the config file, to name in the error.
        block: applications.trajectory of the resolved config.
        settings: what it says of each dataset.
        known: names in each of these datasets.

    Raises:
        UserError: naming key, value and what is there.
    """
    key = f"{where}: applications.trajectory"
    for dataset, own in settings.items():
        if own["start"] is not None and own["start"] == own["end"]:
            raise UserError(
                f"{key}: start and end are both {own['start']!r} for dataset {dataset}; allowed: "
                "two different labels."
            )
        for option, name in _named(block["datasets"].get(dataset) or {}):
            if name not in _there(option, known[dataset]):
                place = f"{key}.datasets.{dataset}.{option}"
                raise _absent(place, option, name, {dataset: known[dataset]})
    for option, name in _named(block):
        # Datasets with a setting of their own do not read it.
        read = {
            dataset: known[dataset]
            for dataset in settings
            if option not in (block["datasets"].get(dataset) or {})
        }
        if read and not any(name in _there(option, names) for names in read.values()):
            raise _absent(f"{key}.{option}", option, name, read)


def _named(settings: Settings) -> Iterator[tuple[str, str]]:
    """Names that settings hold, with their option."""
    for option in ("start", "end", "truth"):
        if settings.get(option) is not None:
            yield option, str(settings[option])
    for name in settings.get("states") or ():
        yield "states", str(name)


def _there(option: str, names: Names) -> tuple[str, ...]:
    return names.columns if option == "truth" else names.labels


def _absent(place: str, option: str, name: str, read: Mapping[str, Names]) -> UserError:
    what = "columns kept by obs" if option == "truth" else "labels"
    there = list(dict.fromkeys(n for names in read.values() for n in _there(option, names)))
    shown = ", ".join(there[:_SHOWN]) or f"null, since there are no {what}"
    more = f" and {len(there) - _SHOWN} more" if len(there) > _SHOWN else ""
    plural = "s" if len(read) > 1 else ""
    return UserError(
        f"{place} is {name!r}, which is not among the {what} of dataset{plural} "
        f"{', '.join(read)}; allowed: {shown}{more}."
    )
