"""What is to be loaded and unloaded next: a pure function of what the repository has and what the server holds."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Mapping
    from collections.abc import Set as AbstractSet

    from service.models.repository import Place, Stamp

    Places = AbstractSet[Place]

Policy = Literal["latest", "all"]


@dataclass(frozen=True)
class Held:
    """What the server holds of a version.

    - `stamp`: of the file that was tried last, or found where none was
    - `is_tried`: that file was loaded, or failed
    - `is_broken`: it failed, and a lower version may take its place
    - `is_loaded`: there is an engine that is not on its way out; `is_ready`: it takes requests
    - `is_leaving`: there is an engine on its way out
    - `is_asked_for`: someone wanted it loaded, whatever the policy
    - `refused`: someone wanted it unloaded while its file had that stamp
    """

    stamp: Stamp
    is_tried: bool = False
    is_broken: bool = False
    is_loaded: bool = False
    is_ready: bool = False
    is_leaving: bool = False
    is_asked_for: bool = False
    refused: Stamp | None = None


@dataclass(frozen=True)
class Actions:
    """What is to be done, each in order of name and version."""

    add: tuple[Place, ...] = ()
    load: tuple[Place, ...] = ()
    unload: tuple[Place, ...] = ()
    forget: tuple[Place, ...] = ()


def settled(
    found: Mapping[Place, Stamp], before: Mapping[Place, Stamp], held: Mapping[Place, Held]
) -> dict[Place, Stamp]:
    """Return what to take the repository for: of a version that changed between two looks, what is held of it.

    A file that is being copied changes from one look to the next; one that is being replaced may be gone for a moment.
    """
    seen = {place: one.stamp for place, one in held.items() if found.get(place) != before.get(place)}
    seen |= {place: stamp for place, stamp in found.items() if before.get(place) == stamp}
    return dict(sorted(seen.items()))


def reconcile(seen: Mapping[Place, Stamp], held: Mapping[Place, Held], labelled: Places, policy: Policy) -> Actions:
    """Return what brings the server to where the repository, the labels and the policy want it.

    A version is loaded where it is wanted and not there, or where its file is another than was tried; a file that
    failed is not tried again. What is not wanted any more goes when another version of the model is wanted and ready,
    or when the repository has the model no more: a broken version never takes the place of one that serves.
    """
    due = wanted(seen, held, labelled, policy)
    serving = {place.name for place in due if place in held and held[place].is_ready}
    there = {place.name for place in seen}
    return Actions(
        add=tuple(place for place in seen if place not in held),
        load=tuple(place for place in sorted(due) if place not in held or _is_new(held[place], seen[place])),
        unload=tuple(
            place
            for place, one in sorted(held.items())
            if one.is_loaded and place not in due and (place.name in serving or place.name not in there)
        ),
        forget=tuple(
            place
            for place, one in sorted(held.items())
            if place not in seen and not one.is_loaded and not one.is_leaving
        ),
    )


def wanted(seen: Mapping[Place, Stamp], held: Mapping[Place, Held], labelled: Places, policy: Policy) -> set[Place]:
    """Return the versions that the policy, a label or a request wants loaded, but for those that cannot be."""
    chosen: set[Place] = set()
    for _, places in groupby(sorted(seen), key=lambda place: place.name):
        usable = [place for place in places if place not in held or not _is_hopeless(held[place], seen[place])]
        chosen |= set(usable if policy == "all" else usable[-1:])
        chosen |= {place for place in usable if place in labelled or (place in held and held[place].is_asked_for)}
    return {place for place in chosen if place not in held or held[place].refused != seen[place]}


def _is_new(held: Held, stamp: Stamp) -> bool:
    """Return whether the file is to be loaded: it is another than was tried, or has been unloaded since."""
    return not held.is_tried or held.stamp != stamp


def _is_hopeless(held: Held, stamp: Stamp) -> bool:
    """Return whether there is nothing to be had of the version: its file failed, and no earlier load of it serves."""
    return held.is_broken and not held.is_loaded and held.stamp == stamp
