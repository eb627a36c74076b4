"""What is wanted of the engine: where models run, how often at once, and in batches of which sizes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from pathlib import Path

CpuMode = Literal["auto", "throughput", "latency"]
GpuMode = Literal["auto", "graphs", "sessions"]


@dataclass(frozen=True)
class EngineOptions:
    """The engine's settings; `instances` and `max_batch_size` of 0 and no `buckets` leave it to model and device.

    `max_model_pixels` bounds the pictures of models that take any size.
    """

    devices: tuple[str, ...] = ("auto",)
    instances: int = 0
    cpu_mode: CpuMode = "auto"
    gpu_mode: GpuMode = "auto"
    max_batch_size: int = 0
    buckets: tuple[int, ...] = ()
    engine_cache: Path | None = None
    tensorrt_fp16: bool = False
    max_model_pixels: int = 2_097_152
