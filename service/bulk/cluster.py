"""The units on a Ray cluster: Ray Data hands them to actors, and gives those of an actor that died to another."""

from __future__ import annotations

import logging
import os
from contextlib import contextmanager
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, cast

from service.bulk.errors import BulkError
from service.bulk.units import Unit
from service.bulk.worker import Report, Worker
from service.errors import StartupError
from service.telemetry import logs

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from service.bulk.settings import BulkSettings

# Ray Data keeps a record of every block: more than so many would only cost memory.
_MOST_BLOCKS = 4000
# Ray is to send no word home, and to install nothing for the actors, which run what runs here.
_ENVIRONMENT = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
}


@contextmanager
def joined(address: str) -> Iterator[None]:
    """Be part of a Ray cluster; raises BulkError where there is none at the address."""
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    import ray  # noqa: PLC0415 (takes a second, and comes with an extra)

    try:
        ray.init(
            address=None if address == "auto" else address,
            include_dashboard=False if address == "local" else None,
            log_to_driver=False,
            logging_level=logging.ERROR,
        )
    except (ConnectionError, ValueError, RuntimeError) as error:
        raise BulkError(f"--ray {address}: {' '.join(str(error).split())[:300]}") from error
    try:
        yield
    finally:
        ray.shutdown()


def translate(settings: BulkSettings, units: Sequence[Unit]) -> Iterator[Report]:
    """Yield what became of each unit, as they are done; raises BulkError where the run cannot go on."""
    import ray  # noqa: PLC0415
    from ray.exceptions import RayError  # noqa: PLC0415

    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    on_gpu = _on_gpu(settings)
    actors = _actors(settings, on_gpu=on_gpu)
    rows = [{"names": list(unit.names), "is_shard": unit.is_shard} for unit in units]
    done = ray.data.from_items(rows, override_num_blocks=min(len(rows), _MOST_BLOCKS)).map(
        cast("Any", Actor),  # Ray Data takes classes, and its types do not say so
        fn_constructor_args=(settings, on_gpu),
        compute=ray.data.ActorPoolStrategy(min_size=1, max_size=min(actors, len(rows))),
        num_cpus=settings.cpus,
        num_gpus=settings.gpus if on_gpu else 0,
    )
    try:
        for row in done.iter_rows():
            if row["fatal"]:
                raise BulkError(row["fatal"])
            yield Report(row["translated"], [(failed["name"], failed["reason"]) for failed in row["failed"]])
    except RayError as error:
        raise BulkError(_last_line(error)) from error


class Actor:
    """A worker as Ray Data holds it; what ends the run comes back as a row, so that it is told in one line."""

    def __init__(self, settings: BulkSettings, on_gpu: bool) -> None:
        logs.configure("warning", "json")
        self._fatal = ""
        try:
            self._worker = Worker(settings, on_gpu=on_gpu)
        except StartupError as error:
            self._fatal = str(error)

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        """Do the unit of a row."""
        report = Report()
        try:
            if not self._fatal:
                report = self._worker.work(Unit(tuple(row["names"]), row["is_shard"]))
        except BulkError as error:
            self._fatal = str(error)
        told = asdict(report)
        told["failed"] = [{"name": name, "reason": reason} for name, reason in report.failed]
        return {**told, "fatal": self._fatal}


def _on_gpu(settings: BulkSettings) -> bool:

    gpus = _resources().get("GPU", 0)
    if settings.devices == "auto":
        return bool(gpus)
    if settings.devices != "cpu" and not gpus:
        raise BulkError(f"--devices {settings.devices}: the Ray cluster has no GPUs")
    return settings.devices != "cpu"


def _resources() -> dict[str, float]:
    import ray  # noqa: PLC0415

    return dict(ray.cluster_resources())  # type: ignore[no-untyped-call]


def _actors(settings: BulkSettings, *, on_gpu: bool) -> int:
    """Return how many actors there may be; raises BulkError where none has room."""
    has = _resources()
    rooms = [has.get("CPU", 0) / settings.cpus, *([has.get("GPU", 0) / settings.gpus] if on_gpu else [])]
    if settings.actors:
        return settings.actors
    if min(rooms) < 1:
        raise BulkError(
            f"--cpus {settings.cpus:g}: an actor does not fit: the Ray cluster has {has.get('CPU', 0):g} cores"
            + (f" and {has.get('GPU', 0):g} GPUs" if on_gpu else "")
        )
    return int(min(rooms))


def _last_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"Ray: {lines[-1] if lines else type(error).__name__}"
