from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from service.engine import bound, lanes, tensorrt
from service.engine.batch import Prepared, Sample
from service.engine.bound import BoundRuns
from service.engine.buckets import Buckets
from service.engine.contract import Contract, PictureShape
from service.engine.engine import Engine
from service.engine.lanes import Plan, build_on_gpu, faster
from service.engine.options import EngineOptions
from service.engine.placement import Lane, Placement
from service.engine.session import DeviceUnavailable, open_session
from service.engine.turnstile import Turnstile
from service.errors import InferenceFailed, StartupError
from service.models.metadata import Description
from tests.service.engine.conftest import Make, grey

if TYPE_CHECKING:
    from collections.abc import Sequence
    from contextlib import AbstractContextManager

    from service.engine.batch import Runs
    from service.engine.options import GpuMode
    from tests.service.conftest import WriteModel
    from tests.service.engine.conftest import Pixels

BLANK = Sample(grey(0))
CONTRACT = Contract(PictureShape(8, 8, 3), PictureShape(8, 8, 3), takes_seed=False, description=Description())


@dataclass
class Clocked:
    """Runs that take as long as they are told to, on a clock that they turn themselves."""

    clock: list[float]
    seconds: float
    fails: bool = False
    stages: bool = True
    settling: int = 3
    closed: bool = False
    sizes: list[int] = field(default_factory=list)

    def prepare(self, rows: Sequence[Pixels], bucket: int, seeds: Sequence[int] = ()) -> Prepared:  # noqa: ARG002
        return Prepared(np.stack([*rows, *[rows[-1]] * (bucket - len(rows))]), len(rows))

    def discard(self, prepared: Prepared) -> None:
        """Nothing is lent."""

    def run(self, prepared: Prepared) -> list[Pixels]:
        if self.fails:
            raise InferenceFailed("cannot be recorded")
        self.clock[0] += self.seconds
        self.sizes.append(len(prepared.pixels))
        return list(prepared.pixels[: prepared.rows])

    def close(self) -> None:
        self.closed = True


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [0.0]
    monkeypatch.setattr("service.engine.timing.time.perf_counter", lambda: now[0])
    return now


@pytest.mark.parametrize(("graphs", "sessions", "best"), [(0.1, 0.2, "graphs"), (0.2, 0.1, "sessions")])
def test_faster_way_is_kept_and_the_other_freed(clock: list[float], graphs: float, sessions: float, best: str) -> None:
    made = {"graphs": Clocked(clock, graphs), "sessions": Clocked(clock, sessions)}
    mode, runs = faster(made.__getitem__, Buckets((1, 4), padded=True), BLANK)
    assert (mode, runs) == (best, made[best])
    assert [name for name, one in made.items() if one.closed] == [name for name in made if name != best]
    # Each bucket is recorded before it is timed.
    assert runs.sizes[:6] == [1, 1, 1, 4, 4, 4]


def test_way_that_does_not_run_is_out(clock: list[float]) -> None:
    made = {"graphs": Clocked(clock, 0.1, fails=True), "sessions": Clocked(clock, 0.9)}
    assert faster(made.__getitem__, Buckets((1,), padded=True), BLANK) == ("sessions", made["sessions"])
    assert made["graphs"].closed


def test_way_that_cannot_be_made_is_out(clock: list[float]) -> None:
    sessions = Clocked(clock, 0.9)

    def make(mode: str) -> Runs:
        if mode == "graphs":
            raise StartupError("not all of the model can be recorded")
        return sessions

    assert faster(make, Buckets((1,), padded=True), BLANK) == ("sessions", sessions)


def test_model_that_runs_in_no_way_says_why(clock: list[float]) -> None:
    with pytest.raises(InferenceFailed, match="cannot be recorded"):
        faster(lambda _: Clocked(clock, 0.1, fails=True), Buckets((1,), padded=True), BLANK)


def test_lanes_of_one_thread_share_the_model_and_others_do_not(make: Make) -> None:
    shared, apart = make(lanes=2), make(lanes=2, threads=2)
    for engine, others in ((shared, True), (apart, False)):
        engine.warm_up()
        engine.close()
        engine.rebuild(0)
        assert engine.is_sound(0)
        assert engine.is_sound(1) == others


@pytest.mark.parametrize(
    ("gpu_mode", "devices", "built", "found"),
    [
        # The first CUDA device finds out for all.
        ("auto", ["cuda:0", "cuda:1"], ["cuda:0 graphs", "cuda:0 sessions", "cuda:1 sessions"], "sessions"),
        ("auto", ["tensorrt:0"], ["tensorrt:0 auto"], ""),
        ("graphs", ["cuda:0", "cuda:0"], ["cuda:0 graphs", "cuda:0 graphs"], "graphs"),
    ],
)
def test_all_lanes_are_driven_alike(
    monkeypatch: pytest.MonkeyPatch,
    clock: list[float],
    *,
    gpu_mode: GpuMode,
    devices: list[str],
    built: list[str],
    found: str,
) -> None:
    made = []

    def build(_: Plan, lane: Lane, mode: str) -> Runs:
        made.append(f"{lane.device} {mode}")
        return Clocked(clock, 0.1 if mode == "sessions" else 0.2)

    monkeypatch.setattr(lanes, "build", build)
    plan = Plan(Path("model.onnx"), "", CONTRACT, Buckets((1, 2), padded=True), EngineOptions(gpu_mode=gpu_mode))
    result = build_on_gpu(plan, tuple(Lane(device, 1) for device in devices), BLANK)
    assert made == built
    assert (result.gpu_mode, len(result.lanes)) == (found, len(devices))


def test_tensorrt_that_is_not_installed_is_named(tmp_path: Path, write_model: WriteModel) -> None:
    if tensorrt.preload():
        pytest.skip("TensorRT is installed")
    placed = Placement((Lane("tensorrt:0", 1),), on_gpu=True)
    with pytest.raises(DeviceUnavailable, match=r"asked for a GPU \(tensorrt:0\), but TensorRT 10 .* is not installed"):
        Engine(write_model(tmp_path / "model.onnx"), placed, EngineOptions())


def test_recording_a_graph_is_done_alone_and_with_the_first_runs(
    tmp_path: Path, write_model: WriteModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The CPU has nothing to record, and takes the same path."""
    entered = []

    class Watched(Turnstile):
        def alone(self) -> AbstractContextManager[None]:
            entered.append("alone")
            return super().alone()

        def shared(self) -> AbstractContextManager[None]:
            entered.append("shared")
            return super().shared()

    monkeypatch.setattr(bound, "gpu", Watched())
    session = open_session(write_model(tmp_path / "model.onnx"), "cpu", 1)
    runs = BoundRuns("cpu", {1: session, 2: session}, CONTRACT, np.empty, graphs=True)
    for bucket in (1, 2):
        for _ in range(runs.settling + 2):
            np.testing.assert_array_equal(runs.run(runs.prepare([grey(5)], bucket)), [grey(250)])
    assert entered == (["alone"] * 3 + ["shared"] * 2) * 2
    runs.close()
