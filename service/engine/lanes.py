"""Builds what runs a model on each lane."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from service.engine.bound import BoundRuns, Shapes
from service.engine.providers import CPU
from service.engine.session import open_session
from service.engine.unbound import UnboundRuns

if TYPE_CHECKING:
    from pathlib import Path

    import onnxruntime  # type: ignore[import-untyped]

    from service.engine.batch import Runs
    from service.engine.buckets import Buckets
    from service.engine.options import EngineOptions
    from service.engine.placement import Lane, Placement


@dataclass(frozen=True)
class Plan:
    """What is built alike on every lane."""

    path: Path
    digest: str
    shapes: Shapes
    buckets: Buckets
    options: EngineOptions


@dataclass(frozen=True)
class Built:
    """What runs on each lane, by which provider, and how a GPU is driven."""

    lanes: list[Runs]
    provider: str
    gpu_mode: str


def build_all(plan: Plan, placement: Placement, first: onnxruntime.InferenceSession) -> Built:
    """Return what runs the model on every lane of the CPU; `first` is a session as the first lane needs it.

    A session that has no threads of its own is shared by all lanes, and its weights with it.
    """
    lanes: list[Runs] = []
    for lane in placement.lanes:
        session = first if lane.threads == 1 or not lanes else open_session(plan.path, lane.device, lane.threads)
        lanes.append(_on_cpu(plan, session))
    if not plan.buckets.padded and placement.lanes[0].threads == 1:
        lanes = lanes[:1] * len(lanes)
    return Built(lanes, CPU, "")


def build(plan: Plan, lane: Lane, gpu_mode: str) -> Runs:  # noqa: ARG001
    """Return what runs the model on one lane."""
    return _on_cpu(plan, open_session(plan.path, lane.device, lane.threads))


def _on_cpu(plan: Plan, session: onnxruntime.InferenceSession) -> Runs:
    if not plan.buckets.padded:
        return UnboundRuns(session)
    return BoundRuns("cpu", dict.fromkeys(plan.buckets.sizes, session), plan.shapes, _pageable)


def _pageable(shape: tuple[int, ...]) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    return np.empty(shape, np.uint8)
