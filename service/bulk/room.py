"""How many actors the nodes of a Ray cluster have room for."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from service.bulk.errors import BulkError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from service.bulk.settings import BulkSettings

# The label of nodes that belong to a group which KubeRay, or Ray's own launcher, makes larger and smaller.
_GROUP = "ray.io/node-group"
# Of an actor's share: 0.1 ten times makes no whole number.
_ROUNDING = 1e-6


def grows(nodes: Sequence[Mapping[str, Any]]) -> bool:
    """Return whether nodes may come to these, as `ray.nodes` tells of them, by themselves.

    No single machine with cores does that, unless it belongs to a group.
    """
    alone = len(nodes) == 1 and bool(nodes[0]["Resources"].get("CPU"))
    return not alone or any(node.get("Labels", {}).get(_GROUP) for node in nodes)


def actors(settings: BulkSettings, nodes: Sequence[Mapping[str, Any]], *, on_gpu: bool) -> int:
    """Return how many actors there may be.

    Where none has room it says so and leaves them to wait, if their number was given and nodes may come; else it raises
    BulkError.
    """
    has = [node["Resources"] for node in nodes]
    fitting = sum(_fitting(settings, node, on_gpu=on_gpu) for node in has)
    if fitting:
        return settings.actors or fitting
    told = _told(settings, has, on_gpu=on_gpu)
    if not grows(nodes):
        raise BulkError(told)
    if not settings.actors:
        raise BulkError(f"{told}; give --actors to wait for nodes that have")
    print(f"{told}; waiting for a node that has", file=sys.stderr, flush=True)
    return settings.actors


def _fitting(settings: BulkSettings, node: Mapping[str, float], *, on_gpu: bool) -> int:
    rooms = [node.get("CPU", 0) / settings.cpus, *([node.get("GPU", 0) / settings.gpus] if on_gpu else [])]
    return int(min(rooms) + _ROUNDING)


def _told(settings: BulkSettings, nodes: Sequence[Mapping[str, float]], *, on_gpu: bool) -> str:
    if on_gpu and not any(node.get("GPU") for node in nodes):
        return f"--devices {settings.devices}: the Ray cluster has no GPUs"
    wanted = f"--cpus {settings.cpus:g}" + (f" --gpus {settings.gpus:g}" if on_gpu else "")
    cores = max((node.get("CPU", 0) for node in nodes), default=0)
    gpus = max((node.get("GPU", 0) for node in nodes), default=0)
    most = f"at most {cores:g} cores" + (f" and {gpus:g} GPUs" if on_gpu else "")
    return f"{wanted}: an actor does not fit: the nodes of the Ray cluster have {most} each"
