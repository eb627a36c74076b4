"""Tables of what the repository has, what the server holds, and what follows from that."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.models.reconcile import Actions, Held, reconcile, settled, wanted
from service.models.repository import Place, Stamp

ONE, TWO, THREE = Place("a", 1), Place("a", 2), Place("a", 3)
OTHER = Place("b", 1)
OLD, NEW = Stamp(1, 1, 1), Stamp(2, 2, 2)

IDLE = Held(OLD)
READY = Held(OLD, is_tried=True, is_loaded=True, is_ready=True)
RECOVERING = replace(READY, is_ready=False)
BROKEN = Held(OLD, is_tried=True, is_broken=True)
DEVICELESS = Held(OLD, is_tried=True)
LEAVING = Held(OLD, is_leaving=True)
REFUSED = Held(OLD, refused=OLD)
ASKED = replace(READY, is_asked_for=True)
OUTDATED = replace(READY, stamp=NEW, is_broken=True)


def seen(*places: Place, **stamps: Stamp) -> dict[Place, Stamp]:
    """Returns a repository with files as old as held, and with `A1=stamp` others."""
    return dict.fromkeys(places, OLD) | {Place("a", int(name[1:])): stamp for name, stamp in stamps.items()}


@pytest.mark.parametrize(
    ("there", "held", "labelled", "expected"),
    [
        # Nothing held yet.
        (seen(ONE), {}, {}, Actions(add=(ONE,), load=(ONE,))),
        (seen(ONE, TWO, OTHER), {}, {}, Actions(add=(ONE, TWO, OTHER), load=(TWO, OTHER))),
        (seen(ONE, TWO, THREE), {}, {ONE}, Actions(add=(ONE, TWO, THREE), load=(ONE, THREE))),
        (seen(ONE), {}, {TWO}, Actions(add=(ONE,), load=(ONE,))),
        # A new version takes over once it is ready.
        (seen(ONE, TWO), {ONE: READY}, {}, Actions(add=(TWO,), load=(TWO,))),
        (seen(ONE, TWO), {ONE: READY, TWO: DEVICELESS}, {}, Actions()),
        (seen(ONE, TWO), {ONE: READY, TWO: READY}, {}, Actions(unload=(ONE,))),
        (seen(ONE, TWO), {ONE: READY, TWO: READY}, {ONE}, Actions()),
        (seen(ONE, TWO), {ONE: READY, TWO: RECOVERING}, {}, Actions()),
        (seen(ONE, TWO), {ONE: IDLE, TWO: READY}, {}, Actions()),
        (seen(ONE, TWO), {ONE: LEAVING, TWO: READY}, {}, Actions()),
        # A label brings a version back, even one that is just going.
        (seen(ONE, TWO), {ONE: IDLE, TWO: READY}, {ONE}, Actions(load=(ONE,))),
        (seen(ONE, TWO), {ONE: LEAVING, TWO: READY}, {ONE}, Actions(load=(ONE,))),
        # A broken version: the one that serves stays, and a lower one takes the place of one that never served.
        (seen(ONE, TWO), {ONE: READY, TWO: BROKEN}, {}, Actions()),
        (seen(ONE, TWO), {ONE: IDLE, TWO: BROKEN}, {}, Actions(load=(ONE,))),
        (seen(ONE, TWO), {ONE: IDLE, TWO: DEVICELESS}, {}, Actions()),
        (seen(ONE, A2=NEW), {ONE: READY, TWO: BROKEN}, {}, Actions(load=(TWO,))),
        (seen(ONE), {ONE: BROKEN}, {}, Actions()),
        (seen(A1=NEW), {ONE: BROKEN}, {}, Actions(load=(ONE,))),
        # A file that is replaced in its place.
        (seen(A1=NEW), {ONE: READY}, {}, Actions(load=(ONE,))),
        (seen(A1=NEW), {ONE: RECOVERING}, {}, Actions(load=(ONE,))),
        (seen(A1=NEW), {ONE: OUTDATED}, {}, Actions()),
        (seen(A1=OLD), {ONE: OUTDATED}, {}, Actions(load=(ONE,))),
        (seen(ONE, A2=NEW), {ONE: IDLE, TWO: OUTDATED}, {}, Actions()),
        # What is gone from the repository.
        (seen(TWO), {ONE: READY, TWO: READY}, {}, Actions(unload=(ONE,))),
        (seen(TWO), {ONE: READY, TWO: READY}, {ONE}, Actions(unload=(ONE,))),
        (seen(TWO), {ONE: READY, TWO: BROKEN}, {}, Actions()),
        (seen(ONE), {ONE: IDLE, TWO: READY}, {}, Actions(load=(ONE,))),
        (seen(OTHER), {ONE: READY, OTHER: READY}, {}, Actions(unload=(ONE,))),
        (seen(OTHER), {ONE: LEAVING, OTHER: READY}, {}, Actions()),
        (seen(OTHER), {ONE: IDLE, TWO: BROKEN, OTHER: READY}, {}, Actions(forget=(ONE, TWO))),
        # What was unloaded on request stays so, and nothing takes its place, until its file changes.
        (seen(ONE, TWO), {ONE: IDLE, TWO: REFUSED}, {}, Actions()),
        (seen(ONE, TWO), {ONE: READY, TWO: REFUSED}, {ONE}, Actions()),
        (seen(ONE), {ONE: REFUSED}, {ONE}, Actions()),
        (seen(A1=NEW), {ONE: REFUSED}, {}, Actions(load=(ONE,))),
        (seen(ONE, TWO), {ONE: REFUSED}, {}, Actions(add=(TWO,), load=(TWO,))),
        # What was loaded on request stays.
        (seen(ONE, TWO), {ONE: ASKED, TWO: READY}, {}, Actions()),
    ],
)
def test_latest_version_serves(
    there: dict[Place, Stamp], held: dict[Place, Held], labelled: set[Place], expected: Actions
) -> None:
    assert reconcile(there, held, set(labelled), "latest") == expected


@pytest.mark.parametrize(
    ("there", "held", "expected"),
    [
        (seen(ONE, TWO), {}, Actions(add=(ONE, TWO), load=(ONE, TWO))),
        (seen(ONE, TWO), {ONE: READY, TWO: READY}, Actions()),
        (seen(ONE, TWO), {ONE: BROKEN, TWO: READY}, Actions()),
        (seen(ONE, TWO), {ONE: REFUSED, TWO: READY}, Actions()),
        (seen(TWO), {ONE: READY, TWO: READY}, Actions(unload=(ONE,))),
        (seen(TWO), {ONE: READY, TWO: BROKEN}, Actions()),
    ],
)
def test_all_versions_serve(there: dict[Place, Stamp], held: dict[Place, Held], expected: Actions) -> None:
    assert reconcile(there, held, set(), "all") == expected


@pytest.mark.parametrize(
    ("found", "before", "held", "expected"),
    [
        (seen(ONE), seen(ONE), {}, seen(ONE)),
        (seen(ONE, TWO), seen(ONE), {}, seen(ONE)),
        (seen(ONE, A2=NEW), seen(ONE, TWO), {}, seen(ONE)),
        (seen(A1=NEW), seen(ONE), {ONE: READY}, seen(ONE)),
        (seen(A1=NEW), seen(A1=NEW), {ONE: READY}, seen(A1=NEW)),
        (seen(A1=Stamp(3, 3, 3)), seen(A1=NEW), {ONE: READY}, seen(ONE)),
        (seen(), seen(ONE), {ONE: READY}, seen(ONE)),
        (seen(), seen(), {ONE: READY}, seen()),
    ],
    ids=["steady", "new", "being copied", "changed", "settled", "being replaced", "gone for a moment", "gone"],
)
def test_what_changed_since_the_last_look_is_left_alone(
    found: dict[Place, Stamp], before: dict[Place, Stamp], held: dict[Place, Held], expected: dict[Place, Stamp]
) -> None:
    assert settled(found, before, held) == expected


PLACES = st.sampled_from([ONE, TWO, THREE, OTHER])
STAMPS = st.sampled_from([OLD, NEW])
HELD = st.sampled_from([IDLE, READY, RECOVERING, BROKEN, DEVICELESS, LEAVING, REFUSED, ASKED, OUTDATED])


@given(
    there=st.dictionaries(PLACES, STAMPS),
    held=st.dictionaries(PLACES, HELD),
    labelled=st.sets(PLACES),
    policy=st.sampled_from(["latest", "all"]),
)
def test_model_in_the_repository_never_loses_its_last_version_that_serves(
    there: dict[Place, Stamp], held: dict[Place, Held], labelled: set[Place], policy: str
) -> None:
    actions = reconcile(there, held, labelled, policy)  # type: ignore[arg-type]
    for name in {place.name for place in there}:
        ready = {place for place, one in held.items() if place.name == name and one.is_ready}
        assert not ready or ready - set(actions.unload)
    assert not set(actions.load) & set(actions.unload)
    assert set(actions.load) <= wanted(there, held, labelled, policy)  # type: ignore[arg-type]


@given(there=st.dictionaries(PLACES, STAMPS), labelled=st.sets(PLACES), policy=st.sampled_from(["latest", "all"]))
def test_it_comes_to_rest_whatever_fails(there: dict[Place, Stamp], labelled: set[Place], policy: str) -> None:
    """Carries out what is asked for, every other load failing: no version is tried twice."""
    held: dict[Place, Held] = {}
    tried: list[Place] = []
    while (actions := reconcile(there, held, labelled, policy)) != Actions():  # type: ignore[arg-type]
        held |= {place: Held(there[place]) for place in actions.add}
        held |= {
            place: replace(held[place], is_tried=False, is_loaded=False, is_ready=False) for place in actions.unload
        }
        for place in actions.load:
            tried.append(place)
            ok = len(tried) % 2 == 0
            held[place] = Held(there[place], is_tried=True, is_broken=not ok, is_loaded=ok, is_ready=ok)
    assert len(tried) == len(set(tried))
