"""An actor that fits nowhere is not waited for, unless nodes may come."""

from __future__ import annotations

from typing import Any

import pytest

from service.bulk import room
from service.bulk.errors import BulkError
from service.bulk.settings import BulkSettings

GROUP = {"ray.io/node-group": "gpu"}


def settings(**chosen: object) -> BulkSettings:
    return BulkSettings(input="in", output="out", **chosen)


def node(cores: float, gpus: float = 0, labels: dict[str, str] | None = None) -> dict[str, Any]:
    return {"Resources": {"CPU": cores, **({"GPU": gpus} if gpus else {})}, "Labels": labels or {}}


def test_actors_are_as_many_as_the_nodes_have_room_for() -> None:
    assert room.actors(settings(cpus=2), [node(5), node(3), node(1)], on_gpu=False) == 3
    assert room.actors(settings(cpus=2, gpus=0.1), [node(64, 1)], on_gpu=True) == 10
    assert room.actors(settings(cpus=2, actors=7), [node(5)], on_gpu=False) == 7


@pytest.mark.parametrize("given", [0, 1])
def test_actor_that_does_not_fit_on_this_machine_is_refused(given: int) -> None:
    with pytest.raises(BulkError, match=r"--cpus 8: an actor does not fit: .* at most 2 cores each"):
        room.actors(settings(cpus=8, actors=given), [node(2)], on_gpu=False)


def test_actor_that_fits_on_no_node_is_refused_though_all_have_enough() -> None:
    with pytest.raises(BulkError, match="give --actors"):
        room.actors(settings(cpus=3), [node(2), node(2)], on_gpu=False)


@pytest.mark.parametrize("nodes", [[node(0)], [node(2, labels=GROUP)], [node(2), node(2)]])
def test_nodes_that_may_come_are_waited_for_and_it_is_said(
    nodes: list[dict[str, Any]], capsys: pytest.CaptureFixture[str]
) -> None:
    assert room.actors(settings(cpus=8, actors=3), nodes, on_gpu=False) == 3
    (told,) = capsys.readouterr().err.splitlines()
    assert told.endswith("; waiting for a node that has")


def test_gpus_that_are_not_there_are_told_of() -> None:
    with pytest.raises(BulkError, match="--devices cuda: the Ray cluster has no GPUs"):
        room.actors(settings(devices="cuda"), [node(8)], on_gpu=True)
