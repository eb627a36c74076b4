"""The settings of `lapis-serve`, and what follows from them."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from lapis.command import CommandSettings
from pydantic import Field, PositiveInt, model_validator
from pydantic_settings import SettingsConfigDict

from service.cores import available_cores
from service.engine.providers import Device
from service.picture.limits import Limits
from service.scheduler.policy import Capacity

MIB = 1024 * 1024

Auto = Literal["auto"]

# A batch brings nothing on a CPU, where an engine's time grows with every picture in it.
_BATCH_ON_CPU, _BATCH_ON_GPU = 1, 8


class ServeSettings(CommandSettings):
    """Serves the models of a repository over gRPC, with metrics and health over HTTP."""

    model_config = SettingsConfigDict(env_prefix="LAPIS_SERVE_")

    models: Path = Field(Path("models"), description="model repository: a folder with NAME/VERSION/model.onnx")
    default_model: str = Field("", description="model for requests that name none; not needed where there is one only")
    device: Device = Field(
        "auto",
        description="where models run; auto: on a GPU if that works, else the CPU; cuda: never ready without a GPU",
    )

    host: str = Field("127.0.0.1", description="address that gRPC listens on; 0.0.0.0 or :: for all")
    port: int = Field(50051, ge=0, le=65535, description="gRPC port; 0: any free one, told in the log")
    http_host: str = Field("127.0.0.1", description="address that HTTP (metrics, health) listens on")
    http_port: int = Field(8080, ge=0, le=65535, description="HTTP port; 0: any free one, told in the log")

    concurrency: PositiveInt | Auto = Field(
        "auto",
        description="runs of a model at once; auto: on the CPU one per core, each on a share of them; on a GPU 1",
    )
    max_batch_size: PositiveInt | Auto = Field(
        "auto", description=f"pictures in a run; auto: {_BATCH_ON_CPU} on the CPU, {_BATCH_ON_GPU} on a GPU"
    )
    codec_threads: PositiveInt | Auto = Field(
        "auto", description="threads that decode and encode pictures; auto: one per core"
    )
    max_queue: PositiveInt = Field(
        256, description="requests that a model holds, waiting or being served; more are refused"
    )
    max_queue_bytes: PositiveInt = Field(512 * MIB, description="bytes that a model's requests hold; more are refused")

    max_picture_bytes: PositiveInt = Field(32 * MIB, description="largest picture file accepted, in bytes")
    max_picture_side: PositiveInt = Field(16384, description="longest side of a picture accepted, in pixels")
    max_picture_pixels: PositiveInt = Field(33_554_432, description="most pixels of a picture accepted")

    grace_period: float = Field(
        25.0, ge=0, description="seconds that requests in hand may take after SIGTERM or SIGINT before they are cut off"
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="least severe log lines written; debug: one for every request"
    )
    log_format: Literal["auto", "json", "console"] = Field(
        "auto", description="form of log lines, on stderr; auto: console on a terminal, else json"
    )

    @model_validator(mode="after")
    def _queue_takes_the_largest_picture(self) -> ServeSettings:
        largest = 2 * self.max_message_bytes  # what comes in, and an answer of the same size
        if self.max_queue_bytes < largest:
            raise ValueError(
                f"--max-queue-bytes: {self.max_queue_bytes:,} is less than the largest request that the limits on "
                f"pictures allow ({largest:,}); raise it, or lower --max-picture-bytes or --max-picture-pixels"
            )
        return self

    @property
    def limits(self) -> Limits:
        """What a picture may measure."""
        return Limits(self.max_picture_bytes, self.max_picture_side, self.max_picture_pixels)

    @property
    def max_message_bytes(self) -> int:
        """The largest message that can hold an acceptable picture: a file, or RGBA pixels; and a little besides."""
        return max(self.max_picture_bytes, 4 * self.max_picture_pixels) + MIB

    @property
    def threads_per_run(self) -> int:
        """CPU threads of a single run, so that the runs at once share the cores."""
        return max(1, available_cores() // self.capacity(on_gpu=False).slots)

    @property
    def codec_workers(self) -> int:
        """Threads that decode and encode."""
        return available_cores() if self.codec_threads == "auto" else self.codec_threads

    def capacity(self, *, on_gpu: bool) -> Capacity:
        """How many runs at once, and how many pictures in each."""
        slots = 1 if on_gpu else available_cores()
        batch = _BATCH_ON_GPU if on_gpu else _BATCH_ON_CPU
        return Capacity(
            slots=slots if self.concurrency == "auto" else self.concurrency,
            max_batch_size=batch if self.max_batch_size == "auto" else self.max_batch_size,
        )
