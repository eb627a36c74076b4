"""GPU metrics, over a driver made up here, and over the real one where there is one."""

from __future__ import annotations

from types import SimpleNamespace

import pynvml
import pytest
from prometheus_client import CollectorRegistry

from service.telemetry.nvml import GpuCollector, visible_gpus

A, B = "aaaaaaaa-0000-0000-0000-000000000001", "bbbbbbbb-0000-0000-0000-000000000002"


class Driver:
    """Knows two GPUs and a share of one; `lost` are those that answer no more."""

    NVMLError = pynvml.NVMLError
    NVML_TEMPERATURE_GPU = 0

    def __init__(self, uuids: tuple[str, ...] = (f"GPU-{A}", f"GPU-{B}")) -> None:
        self.uuids = uuids
        self.lost: set[str] = set()

    def nvmlInit(self) -> None:
        if not self.uuids:
            raise pynvml.NVMLError(pynvml.NVML_ERROR_LIBRARY_NOT_FOUND)

    def nvmlDeviceGetHandleByUUID(self, uuid: str) -> str:
        if uuid not in self.uuids:
            raise pynvml.NVMLError(pynvml.NVML_ERROR_NOT_FOUND)
        return uuid

    def nvmlDeviceGetUtilizationRates(self, gpu: str) -> SimpleNamespace:
        return SimpleNamespace(gpu=self._answer(gpu, 75))

    def nvmlDeviceGetMemoryInfo(self, gpu: str) -> SimpleNamespace:
        return SimpleNamespace(used=self._answer(gpu, 3 << 30), total=80 << 30)

    def nvmlDeviceGetPowerUsage(self, gpu: str) -> int:
        if gpu.startswith("MIG"):
            raise pynvml.NVMLError(pynvml.NVML_ERROR_NOT_SUPPORTED)
        return self._answer(gpu, 312_500)

    def nvmlDeviceGetTemperature(self, gpu: str, _: int) -> int:
        return self._answer(gpu, 61)

    def _answer(self, gpu: str, value: int) -> int:
        if gpu in self.lost:
            raise pynvml.NVMLError(pynvml.NVML_ERROR_GPU_IS_LOST)
        return value


def scrape(collector: GpuCollector) -> dict[tuple[str, str, str], float]:
    registry = CollectorRegistry()
    registry.register(collector)
    return {
        (sample.name, sample.labels["device"], sample.labels["gpu_uuid"]): sample.value
        for family in registry.collect()
        for sample in family.samples
    }


def test_figures_have_our_names_and_those_of_perf_analyzer() -> None:
    told = scrape(GpuCollector([A], nvml=Driver()))
    gpu = ("cuda:0", f"GPU-{A}")
    assert told == {
        ("lapis_gpu_utilization_ratio", *gpu): 0.75,
        ("nv_gpu_utilization", *gpu): 0.75,
        ("lapis_gpu_memory_used_bytes", *gpu): 3 << 30,
        ("nv_gpu_memory_used_bytes", *gpu): 3 << 30,
        ("lapis_gpu_memory_total_bytes", *gpu): 80 << 30,
        ("nv_gpu_memory_total_bytes", *gpu): 80 << 30,
        ("lapis_gpu_power_watts", *gpu): 312.5,
        ("nv_gpu_power_usage", *gpu): 312.5,
        ("lapis_gpu_temperature_celsius", *gpu): 61,
    }


def test_only_the_gpus_asked_for_are_told_of_by_cudas_numbers() -> None:
    told = scrape(GpuCollector([B, A], indices=[1], nvml=Driver()))
    assert {key[1:] for key in told} == {("cuda:1", f"GPU-{A}")}


def test_lost_gpu_does_not_break_the_scrape() -> None:
    driver = Driver()
    collector = GpuCollector([A, B], nvml=driver)
    driver.lost.add(f"GPU-{A}")
    told = scrape(collector)
    assert told["lapis_gpu_temperature_celsius", "cuda:1", f"GPU-{B}"] == 61
    assert {device for _, device, _ in told} == {"cuda:1"}
    driver.lost.add(f"GPU-{B}")
    assert scrape(collector) == {}


def test_share_of_a_gpu_tells_what_it_knows() -> None:
    told = scrape(GpuCollector([A], nvml=Driver((f"MIG-{A}",))))
    names = {name for name, *_ in told}
    assert "lapis_gpu_memory_used_bytes" in names
    assert "lapis_gpu_power_watts" not in names


@pytest.mark.parametrize("uuids", [[], [A]])
def test_without_a_driver_there_is_nothing_and_no_error(uuids: list[str]) -> None:
    assert scrape(GpuCollector(uuids, nvml=Driver(()))) == {}


def test_without_cuda_no_gpu_is_seen() -> None:
    assert visible_gpus("libnone.so") == []


@pytest.mark.cuda
def test_real_gpu_tells_of_itself() -> None:
    uuids = visible_gpus()
    if not uuids:
        pytest.skip("there is no GPU here")
    told = scrape(GpuCollector(uuids))
    gpus = [(key[1], key[2]) for key in told if key[0] == "nv_gpu_utilization"]
    assert [device for device, _ in gpus] == [f"cuda:{index}" for index in range(len(uuids))]
    for gpu in gpus:
        assert 0 < told["nv_gpu_memory_used_bytes", *gpu] <= told["nv_gpu_memory_total_bytes", *gpu]
        assert 0 <= told["nv_gpu_utilization", *gpu] <= 1
        assert 10 < told["lapis_gpu_temperature_celsius", *gpu] < 120
