"""What the driver tells of the GPUs that the server may use (NVML), as Prometheus metrics.

Each figure goes out under two names: ours, and the one under which Triton's `perf_analyzer` looks for it.
"""

from __future__ import annotations

import ctypes
from contextlib import suppress
from typing import TYPE_CHECKING, Any, NamedTuple

import pynvml  # type: ignore[import-untyped]
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

_LABELS = ("device", "gpu_uuid")
_UUID_BYTES = 16


class _Figure(NamedTuple):
    """One figure of a GPU: its two names ("" for none), what it is, and how the driver is asked for it."""

    name: str
    triton_name: str
    documentation: str
    read: Callable[[Any, Any], float]


_FIGURES = (
    _Figure(
        "lapis_gpu_utilization_ratio",
        "nv_gpu_utilization",
        "Share of the last moment in which the GPU computed, from 0 to 1.",
        lambda nvml, gpu: nvml.nvmlDeviceGetUtilizationRates(gpu).gpu / 100,
    ),
    _Figure(
        "lapis_gpu_memory_used_bytes",
        "nv_gpu_memory_used_bytes",
        "GPU memory in use, by whomever.",
        lambda nvml, gpu: nvml.nvmlDeviceGetMemoryInfo(gpu).used,
    ),
    _Figure(
        "lapis_gpu_memory_total_bytes",
        "nv_gpu_memory_total_bytes",
        "Memory of the GPU.",
        lambda nvml, gpu: nvml.nvmlDeviceGetMemoryInfo(gpu).total,
    ),
    _Figure(
        "lapis_gpu_power_watts",
        "nv_gpu_power_usage",
        "Power that the GPU draws, in watts.",
        lambda nvml, gpu: nvml.nvmlDeviceGetPowerUsage(gpu) / 1000,
    ),
    _Figure(
        "lapis_gpu_temperature_celsius",
        "",
        "Temperature of the GPU.",
        lambda nvml, gpu: nvml.nvmlDeviceGetTemperature(gpu, nvml.NVML_TEMPERATURE_GPU),
    ),
)


class GpuCollector(Collector):
    """Asks the driver at each scrape; where there is no driver, or no GPU, there are no metrics and no error."""

    def __init__(self, uuids: Iterable[str], *, indices: Iterable[int] = (), nvml: Any = pynvml) -> None:  # noqa: ANN401
        """Look for these GPUs: all of `uuids`, which are in CUDA's order, or of these those at `indices`."""
        self._nvml = nvml
        self._gpus: list[tuple[tuple[str, str], Any]] = []
        wanted = set(indices)
        found = [(index, uuid) for index, uuid in enumerate(uuids) if not wanted or index in wanted]
        with suppress(nvml.NVMLError):
            if found:
                nvml.nvmlInit()
            for index, uuid in found:
                self._find(index, uuid)

    def describe(self) -> Iterable[GaugeMetricFamily]:
        """Yield the metrics that there may be, without their values."""
        for figure in _FIGURES:
            yield from _families(figure)

    def collect(self) -> Iterable[GaugeMetricFamily]:
        """Yield what the GPUs tell now; a GPU that does not tell a figure is left out of it."""
        for figure in _FIGURES:
            values = list(self._values(figure))
            for family in _families(figure) if values else ():
                for labels, value in values:
                    family.add_metric(labels, value)
                yield family

    def _values(self, figure: _Figure) -> Iterator[tuple[tuple[str, str], float]]:
        for labels, gpu in self._gpus:
            # A share of a GPU (MIG) knows no power, and a GPU that fell off its bus knows nothing.
            with suppress(self._nvml.NVMLError):
                yield labels, float(figure.read(self._nvml, gpu))

    def _find(self, index: int, uuid: str) -> None:
        for kind in ("GPU", "MIG"):
            with suppress(self._nvml.NVMLError):
                gpu = self._nvml.nvmlDeviceGetHandleByUUID(f"{kind}-{uuid}")
                self._gpus.append(((f"cuda:{index}", f"{kind}-{uuid}"), gpu))
                return


def gpus_of(devices: str) -> GpuCollector:
    """Return the collector for the setting `devices`: the GPUs that it names, none for cpu, and for auto all."""
    if devices == "cpu":
        return GpuCollector(())
    indices = [int(name.partition(":")[2] or 0) for name in devices.split(",") if name != "auto"]
    return GpuCollector(visible_gpus(), indices=indices)


def visible_gpus(library: str = "libcuda.so.1") -> list[str]:
    """Return the UUIDs of the GPUs that CUDA shows to this process, in CUDA's order; none where there is no driver.

    CUDA is asked, not the driver's list: `CUDA_VISIBLE_DEVICES` hides GPUs and puts them in another order.
    """
    try:
        cuda = ctypes.CDLL(library)
    except OSError:
        return []
    count = ctypes.c_int(0)
    if cuda.cuInit(0) or cuda.cuDeviceGetCount(ctypes.byref(count)):
        return []
    return [uuid for index in range(count.value) if (uuid := _uuid(cuda, index))]


def _uuid(cuda: ctypes.CDLL, index: int) -> str:
    device, uuid = ctypes.c_int(), (ctypes.c_ubyte * _UUID_BYTES)()
    if cuda.cuDeviceGet(ctypes.byref(device), index) or cuda.cuDeviceGetUuid_v2(ctypes.byref(uuid), device):
        return ""
    digits = bytes(uuid).hex()
    return "-".join((digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]))


def _families(figure: _Figure) -> list[GaugeMetricFamily]:
    return [
        GaugeMetricFamily(name, figure.documentation, labels=_LABELS)
        for name in (figure.name, figure.triton_name)
        if name
    ]
