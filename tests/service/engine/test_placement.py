from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from service.engine import placement
from service.engine.cuda import gpu_count
from service.engine.engine import Engine
from service.engine.options import EngineOptions
from service.engine.placement import Lane, place
from service.engine.session import DeviceUnavailable
from service.errors import StartupError

if TYPE_CHECKING:
    from pathlib import Path

    from tests.service.conftest import WriteModel


@pytest.fixture
def path(tmp_path: Path, write_model: WriteModel) -> Path:
    return write_model(tmp_path / "model.onnx")


@pytest.fixture
def four_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(placement, "available_cores", lambda: 4)


@pytest.mark.usefixtures("four_cores")
@pytest.mark.parametrize(
    ("options", "lanes", "mode"),
    [
        ({"cpu_mode": "throughput"}, [1, 1, 1, 1], "throughput"),
        ({"cpu_mode": "latency"}, [4], "latency"),
        ({"instances": 1}, [4], "latency"),
        ({"instances": 2, "cpu_mode": "throughput"}, [1, 1], "throughput"),
        ({"instances": 2}, [2, 2], "throughput"),
        ({"instances": 3, "cpu_mode": "latency"}, [1, 1, 1], "throughput"),
        ({"instances": 6}, [1] * 6, "throughput"),
    ],
)
def test_cores_are_shared_out_among_the_lanes(path: Path, options: dict[str, Any], lanes: list[int], mode: str) -> None:
    placed = place(path, EngineOptions(devices=("cpu",), **options))
    assert placed.lanes == tuple(Lane("cpu", threads) for threads in lanes)
    assert (placed.on_gpu, placed.cpu_mode, dict(placed.measured)) == (False, mode, {})


@pytest.mark.usefixtures("four_cores")
@pytest.mark.parametrize(
    ("rounds", "mode", "best"),
    [
        ([(20, 10)], "throughput", (20, 10)),
        ([(20, 19), (30, 20)], "throughput", (30, 20)),
        ([(10, 20), (11, 19), (10, 19)], "latency", (11, 20)),
        # A round that something else disturbed does not decide.
        ([(10, 20), (21, 20), (10, 20)], "throughput", (21, 20)),
        # Near each other: what stands a busy machine better.
        ([(20, 19), (12, 21), (20, 15)], "throughput", (20, 21)),
    ],
)
def test_mode_that_is_measured_to_be_faster_is_taken(
    path: Path,
    monkeypatch: pytest.MonkeyPatch,
    rounds: list[tuple[float, float]],
    mode: str,
    best: tuple[float, float],
) -> None:
    class Told:
        """Measures what it is told to."""

        def __init__(self, _: Path, lanes: tuple[Lane, ...]) -> None:
            self.rates = iter([rates[len(lanes) == 1] for rates in rounds])

        def pictures_per_second(self) -> float:
            return next(self.rates)

    monkeypatch.setattr(placement, "Trial", Told)
    placed = place(path, EngineOptions(devices=("cpu",)))
    assert placed.cpu_mode == mode
    assert placed.measured == {"throughput": best[0], "latency": best[1]}
    assert len(placed.lanes) == (4 if mode == "throughput" else 1)


@pytest.mark.usefixtures("four_cores")
def test_measuring_runs_the_model_itself(path: Path) -> None:
    measured = place(path, EngineOptions(devices=("cpu",))).measured
    assert set(measured) == {"throughput", "latency"}
    assert min(measured.values()) > 0


@pytest.mark.usefixtures("four_cores")
def test_model_that_cannot_run_is_placed_and_told_of_when_it_is_warmed_up(
    tmp_path: Path, write_model: WriteModel
) -> None:
    placed = place(write_model(tmp_path / "broken.onnx", "broken"), EngineOptions(devices=("cpu",)))
    assert placed.measured == {"throughput": 0, "latency": 0}


def test_single_core_is_not_measured(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(placement, "available_cores", lambda: 1)
    placed = place(path, EngineOptions(devices=("cpu",)))
    assert (placed.lanes, dict(placed.measured)) == ((Lane("cpu", 1),), {})


def test_file_that_is_no_model_is_refused(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(b"no model")
    with pytest.raises(StartupError, match="cannot load it"):
        place(tmp_path / "model.onnx", EngineOptions(devices=("cpu",)))


@pytest.mark.parametrize(
    ("devices", "instances", "lanes"),
    [
        (("cuda",), 0, ["cuda:0"]),
        (("cuda:0", "cuda:1"), 0, ["cuda:0", "cuda:1"]),
        (("cuda:1", "tensorrt"), 2, ["cuda:1", "cuda:1", "tensorrt:0", "tensorrt:0"]),
        (("cuda", "cuda:0"), 0, ["cuda:0"]),
    ],
)
def test_every_device_has_its_lanes(
    path: Path, monkeypatch: pytest.MonkeyPatch, devices: tuple[str, ...], instances: int, lanes: list[str]
) -> None:
    monkeypatch.setattr(placement, "gpu_count", lambda: 2)
    placed = place(path, EngineOptions(devices=devices, instances=instances))
    assert [lane.device for lane in placed.lanes] == lanes
    assert (placed.on_gpu, placed.cpu_mode) == (True, "")


@pytest.mark.parametrize(("there", "seen"), [(0, "none: there is no NVIDIA driver"), (1, "only 1")])
def test_gpu_that_is_not_there_is_named(path: Path, monkeypatch: pytest.MonkeyPatch, there: int, seen: str) -> None:
    monkeypatch.setattr(placement, "gpu_count", lambda: there)
    with pytest.raises(DeviceUnavailable, match=rf"asked for a GPU \(cuda:1\), but this process sees {seen}"):
        place(path, EngineOptions(devices=("cuda:1",)))


@pytest.mark.parametrize("there", [0, 1])
def test_auto_takes_the_cpu_where_no_gpu_runs_the_model(
    path: Path, monkeypatch: pytest.MonkeyPatch, there: int, capfd: pytest.CaptureFixture[str]
) -> None:
    if gpu_count():
        pytest.skip("there is a GPU here")
    monkeypatch.setattr(placement, "gpu_count", lambda: there)
    placed = place(path, EngineOptions(instances=1))
    assert placed.lanes[0].device == "cpu"
    assert Engine(path, placed, EngineOptions()).provider == "CPUExecutionProvider"
    assert capfd.readouterr() == ("", "")
