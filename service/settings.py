"""The settings of `lapis-serve`, and what follows from them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Literal

from lapis.client.address import check_address, first_address
from lapis.command import CommandSettings
from pydantic import (
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    field_validator,
    model_validator,
)
from pydantic_settings import SettingsConfigDict

from service.cores import available_cores
from service.engine.options import CpuMode, EngineOptions, GpuMode
from service.limits import Limits

MIB = 1024 * 1024

Auto = Literal["auto"]

_DEVICES = re.compile(r"auto|cpu|(cuda|tensorrt)(:\d+)?(,(cuda|tensorrt)(:\d+)?)*")


class ServeSettings(CommandSettings):
    """Serves the models of a repository over gRPC, with metrics and health over HTTP."""

    model_config = SettingsConfigDict(env_prefix="LAPIS_SERVE_")

    # What is served.
    models: Path = Field(Path("models"), description="model repository: a folder with NAME/VERSION/model.onnx")
    default_model: str = Field("", description="model for requests that name none; not needed where there is one only")
    version_policy: Literal["latest", "all"] = Field(
        "latest", description="versions that are loaded; latest: the highest, and those that a label names"
    )
    repository_poll: NonNegativeFloat = Field(
        5.0, description="seconds between looks for new, changed and removed versions in the repository; 0: never"
    )
    model_control: bool = Field(False, description="let callers load and unload models (RepositoryService)")

    # Where it listens.
    host: str = Field("127.0.0.1", description="address that gRPC listens on; 0.0.0.0 or :: for all")
    port: int = Field(50051, ge=0, le=65535, description="gRPC port; 0: any free one, told in the log")
    http_host: str = Field("127.0.0.1", description="address that HTTP (metrics, health) listens on")
    http_port: int = Field(8080, ge=0, le=65535, description="HTTP port; 0: any free one, told in the log")
    workers: PositiveInt = Field(1, description="whole server processes behind the one port")
    max_connection_age: NonNegativeFloat = Field(
        0, description="seconds after which a connection is ended gently, so that callers spread anew; 0: never"
    )
    max_connection_age_grace: NonNegativeFloat = Field(
        60.0, description="seconds that calls on a connection past its age may take before they are cut off"
    )
    keepalive_time: PositiveFloat = Field(
        60.0, description="seconds without traffic on a connection after which the caller is pinged"
    )
    keepalive_timeout: PositiveFloat = Field(20.0, description="seconds to wait for the answer to a ping")
    min_ping_interval: PositiveFloat = Field(
        10.0, description="seconds that callers must leave between pings of their own, else they are cut off"
    )
    stream_window: PositiveInt = Field(32, description="pictures of one TranslateStream call in hand at a time")
    tls_certificate: Path | None = Field(
        None, description="file (PEM) with the certificate of the gRPC port and those between it and its authority"
    )
    tls_key: Path | None = Field(None, description="file (PEM) with the certificate's key")
    tls_client_ca: Path | None = Field(
        None, description="file (PEM) of the authorities that callers' certificates come from; callers must have one"
    )
    tokens: Path | None = Field(
        None, description="file with a `NAME TOKEN` a line; callers must send `authorization: Bearer TOKEN`"
    )
    load_reports: bool = Field(True, description="tell callers in each answer how loaded the server is (ORCA)")

    # Where and how models run.
    devices: str = Field(
        "auto",
        description="where models run: auto (a GPU if that works, else the CPU), cpu, or a list as in cuda:0,cuda:1 or "
        "tensorrt:0; asked for a GPU, the server is never ready without it",
    )
    instances: PositiveInt | Auto = Field(
        "auto", description="runs of a model at once on each device; auto: by --cpu-mode on the CPU, 1 on a GPU"
    )
    cpu_mode: CpuMode = Field(
        "auto",
        description="throughput: a run per core, each on one thread; latency: one run over all cores; auto: whichever "
        "is measured to give more pictures/s",
    )
    gpu_mode: GpuMode = Field(
        "auto",
        description="graphs: one session with a CUDA graph per bucket; sessions: a session per bucket; auto: whichever "
        "is measured to be faster",
    )
    max_batch_size: PositiveInt | Auto = Field(
        "auto", description="most pictures in a run; auto: as the model's metadata says, else 1 on the CPU, 8 on a GPU"
    )
    buckets: str = Field(
        "auto",
        description="sizes of batches, as in 1,2,4,8; smaller ones are filled up; auto: as the model's metadata says, "
        "else powers of two on a GPU and any size on the CPU",
    )
    engine_cache: Path | None = Field(None, description="folder in which TensorRT keeps what it built")
    tensorrt_fp16: bool = Field(False, description="let TensorRT compute in half precision")
    engine_rebuilds: NonNegativeInt = Field(
        3, description="times in a row that a broken engine is built anew before the server ends with exit code 1"
    )
    codec_threads: PositiveInt | Auto = Field(
        "auto",
        description="threads that decode and encode pictures, and as many again for those over a megapixel; auto: one "
        "per core",
    )
    cache_bytes: NonNegativeInt = Field(
        0, description="bytes of answers kept for when they are asked for again; 0: none"
    )

    # Who waits, and for how long.
    max_queue_delay: NonNegativeFloat | Auto = Field(
        "auto",
        description="seconds that a free engine waits for a batch to fill up; auto: as the model's metadata says, or 0",
    )
    priority_ageing: PositiveFloat = Field(
        5.0, description="seconds of waiting after which a request rises to the next class of priority"
    )
    max_queue: PositiveInt = Field(
        256, description="requests that a model holds, waiting or being served; more are refused"
    )
    max_queue_bytes: PositiveInt = Field(512 * MIB, description="bytes that a model's requests hold; more are refused")
    max_total_queue: PositiveInt = Field(1024, description="requests that all models hold together")
    max_total_queue_bytes: PositiveInt = Field(2048 * MIB, description="bytes that all models' requests hold together")
    caller_limit: NonNegativeInt = Field(0, description="requests that one caller may have in hand; 0: any number")
    caller_key: Literal["peer", "token"] = Field(
        "peer", description="what tells callers apart: their address, or their token (by its name in --tokens)"
    )

    max_picture_bytes: PositiveInt = Field(32 * MIB, description="largest picture file accepted, in bytes")
    max_picture_side: PositiveInt = Field(16384, description="longest side of a picture accepted, in pixels")
    max_picture_pixels: PositiveInt = Field(33_554_432, description="most pixels of a picture accepted")
    max_model_pixels: PositiveInt = Field(
        2_097_152,
        description="most pixels of a picture as it is given to a model that takes any size; the size that it was made "
        "for is always accepted",
    )

    # How it ends, and what it tells.
    grace_period: float = Field(
        25.0, ge=0, description="seconds that requests in hand may take after SIGTERM or SIGINT before they are cut off"
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="least severe log lines written; debug: one for every request"
    )
    log_format: Literal["auto", "json", "console"] = Field(
        "auto", description="form of log lines, on stderr; auto: console on a terminal, else json"
    )
    slow_request: NonNegativeFloat = Field(
        10.0, description="seconds from which on a request is logged as slow, with its stages; 0: none"
    )
    otlp_endpoint: str = Field(
        "", description="where OpenTelemetry traces are sent, as in http://collector:4317; none where empty"
    )
    otlp_protocol: Literal["grpc", "http"] = Field("grpc", description="how traces are sent: OTLP over gRPC or HTTP")
    trace_ratio: float = Field(
        1.0, ge=0, le=1, description="share of requests traced, of those whose caller has not decided it"
    )

    # To ask a server how it is, instead of being one.
    probe: str = Field(
        "",
        description="gRPC address, HOST:PORT, of a server to ask for its health; ends with exit code 0 if it serves, "
        "else 1. With --tls-certificate and --tls-key: over TLS, these being the caller's",
    )
    probe_service: str = Field(
        "", description="whose health: liveness, readiness, startup, a model's; the whole server's where empty"
    )
    probe_timeout: PositiveFloat = Field(3.0, description="seconds to wait for the answer, connecting included")
    probe_ca: Path | None = Field(
        None,
        description="file (PEM) of the authorities to check the server's certificate against, which means TLS; without "
        "it --tls-certificate itself must be the one that the server shows, whatever name it bears",
    )
    probe_server_name: str = Field("", description="name in the server's certificate; HOST where empty")

    @field_validator("probe")
    @classmethod
    def _probe_is_an_address(cls, probe: str) -> str:
        if probe and ("," in probe or probe != first_address(check_address(probe))):
            raise ValueError("must be HOST:PORT, of one server")
        return probe

    @field_validator("devices")
    @classmethod
    def _devices_are_known(cls, devices: str) -> str:
        if not _DEVICES.fullmatch(devices):
            raise ValueError("must be auto, cpu, or a list such as cuda:0,cuda:1 or tensorrt:0")
        named = devices.split(",")
        if len(set(named)) < len(named):
            raise ValueError("names a device twice; --instances sets how many runs go on at once on each")
        return devices

    @field_validator("buckets")
    @classmethod
    def _buckets_are_sizes(cls, buckets: str) -> str:
        if buckets != "auto" and not re.fullmatch(r"[1-9]\d{0,3}(,[1-9]\d{0,3})*", buckets):
            raise ValueError("must be auto or a list of batch sizes such as 1,2,4,8")
        return buckets

    @model_validator(mode="after")
    def _certificate_and_key_come_together(self) -> ServeSettings:
        if (self.tls_certificate is None) != (self.tls_key is None):
            given, missing = ("certificate", "key") if self.tls_certificate else ("key", "certificate")
            raise ValueError(f"--tls-{given} needs --tls-{missing} with it")
        if self.tls_client_ca and not self.tls_certificate:
            raise ValueError("--tls-client-ca needs --tls-certificate and --tls-key: callers show theirs within TLS")
        return self

    @model_validator(mode="after")
    def _buckets_end_at_the_largest_batch(self) -> ServeSettings:
        sizes = self.engine_options.buckets
        if sizes and self.max_batch_size not in {"auto", sizes[-1]}:
            raise ValueError(f"--buckets: the largest is {sizes[-1]}, but --max-batch-size is {self.max_batch_size}")
        return self

    @model_validator(mode="after")
    def _queue_takes_the_largest_picture(self) -> ServeSettings:
        largest = 2 * self.max_message_bytes  # what comes in, and an answer of the same size
        for flag, bytes_ in (
            ("--max-queue-bytes", self.max_queue_bytes),
            ("--max-total-queue-bytes", self.max_total_queue_bytes),
        ):
            if bytes_ < largest:
                raise ValueError(
                    f"{flag}: {bytes_:,} is less than the largest request that the limits on "
                    f"pictures allow ({largest:,}); raise it, or lower --max-picture-bytes or --max-picture-pixels"
                )
        return self

    @property
    def limits(self) -> Limits:
        """What a picture may measure."""
        return Limits(self.max_picture_bytes, self.max_picture_side, self.max_picture_pixels, self.max_model_pixels)

    @property
    def max_message_bytes(self) -> int:
        """The largest message that can hold an acceptable picture: a file, or RGBA pixels; and a little besides."""
        return max(self.max_picture_bytes, 4 * self.max_picture_pixels) + MIB

    @property
    def codec_workers(self) -> int:
        """Threads that decode and encode."""
        return available_cores() if self.codec_threads == "auto" else self.codec_threads

    @property
    def engine_options(self) -> EngineOptions:
        """What the engine is to do; 0 and () stand for "as the model says"."""
        return EngineOptions(
            devices=tuple(self.devices.split(",")),
            instances=0 if self.instances == "auto" else self.instances,
            cpu_mode=self.cpu_mode,
            gpu_mode=self.gpu_mode,
            max_batch_size=0 if self.max_batch_size == "auto" else self.max_batch_size,
            buckets=() if self.buckets == "auto" else tuple(sorted({int(size) for size in self.buckets.split(",")})),
            engine_cache=self.engine_cache,
            tensorrt_fp16=self.tensorrt_fp16,
            max_model_pixels=self.max_model_pixels,
        )
