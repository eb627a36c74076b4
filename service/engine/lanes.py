"""Builds what runs a model on each lane."""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from service.engine import cuda, tensorrt
from service.engine.bound import BoundRuns
from service.engine.providers import CPU, Profile, preload_cuda, split_device, wanted_provider
from service.engine.session import DeviceUnavailable, open_session
from service.engine.timing import seconds_per_picture, settle
from service.engine.turnstile import gpu
from service.engine.unbound import UnboundRuns
from service.errors import InferenceFailed, StartupError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import onnxruntime  # type: ignore[import-untyped]
    from numpy.typing import DTypeLike

    from service.engine.batch import Runs, Sample
    from service.engine.buckets import Buckets
    from service.engine.contract import Contract, Pixels
    from service.engine.options import EngineOptions
    from service.engine.placement import Lane

AUTO, GRAPHS, SESSIONS = "auto", "graphs", "sessions"


@dataclass(frozen=True)
class Plan:
    """What is built alike on every lane."""

    path: Path
    digest: str
    contract: Contract
    buckets: Buckets
    options: EngineOptions

    @property
    def sizes_vary(self) -> bool:
        """Whether pictures of more than one size come by: none is worth buffers of its own then."""
        return self.contract.input.any_size

    @property
    def longest_side(self) -> int:
        """The longest side of a picture that TensorRT is to be ready for; pictures may be 2:1 up to the limit."""
        given = self.contract.input
        longest = math.isqrt(2 * self.options.max_model_pixels)
        return max(given.height, given.width, longest - longest % (given.multiple or 1))


@dataclass(frozen=True)
class Built:
    """What runs on each lane, by which provider, and how a CUDA device is driven ("" where there is none)."""

    lanes: list[Runs]
    provider: str
    gpu_mode: str


def build_on_cpu(plan: Plan, lanes: tuple[Lane, ...], first: onnxruntime.InferenceSession) -> Built:
    """Return what runs the model on every lane of the CPU; `first` is a session as the first lane needs it.

    A session without threads of its own is shared by all lanes, and its weights with it.
    """
    alone = lanes[0].threads > 1
    if plan.sizes_vary:
        first = _session(plan, lanes[0])
    sessions = [first, *(_session(plan, lane) if alone else first for lane in lanes[1:])]
    if plan.buckets.padded or alone:
        return Built([_on_cpu(plan, session) for session in sessions], CPU, "")
    return Built([_on_cpu(plan, first)] * len(lanes), CPU, "")


def build_on_gpu(plan: Plan, lanes: tuple[Lane, ...], blank: Sample) -> Built:
    """Return what runs the model on every lane; where it is not told, the first one finds out how CUDA is best driven.

    Raises StartupError when the model cannot be loaded, and DeviceUnavailable when it would not run on a lane's device.
    """
    mode: str = plan.options.gpu_mode
    runs = []
    for lane in lanes:
        if mode == AUTO and _is_cuda(lane) and not plan.sizes_vary:
            mode, found = faster(functools.partial(build, plan, lane), plan.buckets, blank)
        else:
            found = build(plan, lane, mode)
        runs.append(found)
    driven = any(map(_is_cuda, lanes)) and not plan.sizes_vary
    return Built(runs, wanted_provider(lanes[0].device), mode if driven else "")


def build(plan: Plan, lane: Lane, gpu_mode: str) -> Runs:
    """Return what runs the model on one lane, with new sessions."""
    if lane.device == "cpu":
        return _on_cpu(plan, _session(plan, lane))
    with gpu.shared():
        return _on_cuda(plan, lane, gpu_mode) if _is_cuda(lane) else _on_tensorrt(plan, lane)


def faster(make: Callable[[str], Runs], buckets: Buckets, blank: Sample) -> tuple[str, Runs]:
    """Return the mode that takes less time for a picture, averaged over the buckets, and what was made to find out.

    A mode that cannot be made or run is out: not every model can be recorded. Raises the last error when none is left.
    """
    timed: dict[str, tuple[float, Runs]] = {}
    refusals = []
    for mode in (GRAPHS, SESSIONS):
        try:
            timed[mode] = _timed(make(mode), buckets, blank)
        except (StartupError, InferenceFailed) as error:
            refusals.append(error)
    if not timed:
        raise refusals[-1]
    best = min(timed, key=lambda mode: timed[mode][0])
    for mode, (_, runs) in timed.items():
        if mode != best:
            runs.close()
    return best, timed[best][1]


def _timed(runs: Runs, buckets: Buckets, blank: Sample) -> tuple[float, Runs]:
    try:
        settle(runs, blank, buckets.sizes)
        return seconds_per_picture(runs, blank, buckets.sizes), runs
    except InferenceFailed:
        runs.close()
        raise


def _is_cuda(lane: Lane) -> bool:
    return split_device(lane.device)[0] == "cuda"


def _on_cpu(plan: Plan, session: onnxruntime.InferenceSession) -> Runs:
    if plan.sizes_vary or not plan.buckets.padded:
        return UnboundRuns(session)
    return BoundRuns("cpu", dict.fromkeys(plan.buckets.sizes, session), plan.contract, _pageable)


def _pageable(shape: tuple[int, ...], dtype: DTypeLike) -> Pixels:
    return np.empty(shape, dtype)


def _session(plan: Plan, lane: Lane) -> onnxruntime.InferenceSession:
    return open_session(plan.path, lane.device, lane.threads, sizes_vary=plan.sizes_vary)


def _on_cuda(plan: Plan, lane: Lane, gpu_mode: str) -> Runs:
    if plan.sizes_vary:
        return UnboundRuns(_session(plan, lane), on_gpu=True)
    sizes, graphs = plan.buckets.sizes, gpu_mode == GRAPHS
    if graphs:
        sessions = dict.fromkeys(sizes, open_session(plan.path, lane.device, lane.threads, graphs=True))
    else:
        sessions = {size: _session(plan, lane) for size in sizes}
    return BoundRuns(lane.device, sessions, plan.contract, _pinned(lane), graphs=graphs)


def _on_tensorrt(plan: Plan, lane: Lane) -> Runs:
    version, options = tensorrt.preload(), plan.options
    if not version:
        raise DeviceUnavailable(f"asked for a GPU ({lane.device}), but TensorRT 10 (libnvinfer.so.10) is not installed")
    name = cuda.gpu_name(split_device(lane.device)[1])
    root = options.engine_cache
    cache = root and tensorrt.cache_folder(root, name, version, plan.digest)
    contract = plan.contract
    profile = Profile(
        contract.input, plan.buckets.sizes, options.tensorrt_fp16, cache, contract.takes_seed, plan.longest_side
    )
    session = open_session(plan.path, lane.device, lane.threads, profile=profile, sizes_vary=plan.sizes_vary)
    if plan.sizes_vary:
        return UnboundRuns(session, on_gpu=True)
    return BoundRuns(lane.device, dict.fromkeys(plan.buckets.sizes, session), contract, _pinned(lane))


def _pinned(lane: Lane) -> Callable[[tuple[int, ...], DTypeLike], Pixels]:
    preload_cuda()
    return cuda.pinned(split_device(lane.device)[1], cuda.runtime())
