"""The units on a Ray cluster: Ray Data hands them to actors, and gives those of an actor that died to another."""

from __future__ import annotations

import logging
import re
import warnings
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, cast

from service.bulk import room
from service.bulk.errors import BulkError
from service.bulk.units import Unit, readable
from service.bulk.worker import Report, Worker
from service.errors import StartupError
from service.telemetry import logs

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from ray.data import Dataset

    from service.bulk.settings import BulkSettings

# Ray Data keeps a record of every block: more than so many would only cost memory.
_MOST_BLOCKS = 4000
# Ray would try for ever, also what ends its actor each time.
RETRIES = 20
# What the last line of a traceback looks like.
_EXCEPTION = re.compile(r"[\w.]+: ")
# What Ray puts behind a fact.
_GUESSES = re.compile(r" (There are some potential root|Some common) causes.*")
_LONGEST = 400


def translate(
    settings: BulkSettings, units: Sequence[Unit], description: dict[str, Any] | None = None
) -> Iterator[Report]:
    """Yield what became of each unit, as they are done; raises BulkError where the run cannot go on.

    The first actors leave the description at the output, where one is given.
    """
    from ray.exceptions import RayError  # noqa: PLC0415

    try:
        for row in _dataset(settings, units, description).iter_rows():
            if row["fatal"]:
                raise BulkError(row["fatal"])
            yield Report(row["translated"], [(failed["name"], failed["reason"]) for failed in row["failed"]])
    except RayError as error:
        raise BulkError(cause_of(error)) from error


def _dataset(settings: BulkSettings, units: Sequence[Unit], description: dict[str, Any] | None) -> Dataset:
    import ray  # noqa: PLC0415
    from ray.util.annotations import RayDeprecationWarning  # noqa: PLC0415

    ray.data.DataContext.get_current().enable_progress_bars = False
    logging.getLogger("ray.data").setLevel(logging.CRITICAL)
    nodes = [node for node in ray.nodes() if node["Alive"]]  # type: ignore[no-untyped-call]
    on_gpu = _on_gpu(settings, any(node["Resources"].get("GPU") for node in nodes))
    actors = room.actors(settings, nodes, on_gpu=on_gpu)
    rows = [{"names": list(unit.names), "is_shard": unit.is_shard} for unit in units]
    todo = ray.data.from_items(rows, override_num_blocks=min(len(rows), _MOST_BLOCKS))
    with warnings.catch_warnings():
        # Ray Data has no other way yet to say how often an actor is tried.
        warnings.simplefilter("ignore", RayDeprecationWarning)
        return todo.map(
            cast("Any", Actor),  # Ray Data takes classes, and its types do not say so
            fn_constructor_args=(settings, on_gpu, description),
            compute=ray.data.ActorPoolStrategy(min_size=1, max_size=min(actors, len(rows))),
            num_cpus=settings.cpus,
            num_gpus=settings.gpus if on_gpu else 0,
            max_restarts=RETRIES,
            max_task_retries=RETRIES,
        )


class Actor:
    """A worker as Ray Data holds it; what ends the run comes back as a row, so that it is told in one line."""

    def __init__(self, settings: BulkSettings, on_gpu: bool, description: dict[str, Any] | None) -> None:
        logs.configure("warning", "json")
        self._fatal = ""
        try:
            self._worker = Worker(settings, on_gpu=on_gpu, description=description)
        except Exception as error:  # noqa: BLE001 (Ray would tell of it in a page of its own)
            self._fatal = _told(error)

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        """Do the unit of a row."""
        report = Report()
        try:
            if not self._fatal:
                report = self._worker.work(Unit(tuple(row["names"]), row["is_shard"]))
        except Exception as error:  # noqa: BLE001 (as above)
            self._fatal = _told(error)
        told = asdict(report)
        told["failed"] = [{"name": readable(name), "reason": readable(reason)} for name, reason in report.failed]
        return {**told, "fatal": self._fatal}


def _on_gpu(settings: BulkSettings, cluster_has_some: bool) -> bool:
    return cluster_has_some if settings.devices == "auto" else settings.devices != "cpu"


def _told(error: Exception) -> str:
    if isinstance(error, BulkError | StartupError):
        return str(error)
    return f"{type(error).__name__}: {' '.join(str(error).split())}"[:_LONGEST]


def cause_of(error: Exception) -> str:
    """Return what ended the run in one line, without Ray's advice on it."""
    from ray.exceptions import RayActorError, RayTaskError  # noqa: PLC0415

    if isinstance(error, RayTaskError):
        # Of a chain of exceptions, the first to be told of is the cause of the others.
        told = next(filter(_EXCEPTION.match, str(error).splitlines()), type(error.cause).__name__)
        return f"Ray: {told[:_LONGEST]}"
    # Facts about an actor, as its address, are indented.
    lines = [line.strip() for line in str(error).splitlines() if not line.startswith(("\t", " "))]
    told = _GUESSES.sub("", " ".join(filter(None, lines)))[:_LONGEST]
    if isinstance(error, RayActorError):
        return (
            f"Ray: {told} What ends its actor is tried {RETRIES} times: if pictures take more memory than a node has, "
            "try a smaller --window, or --max-picture-pixels"
        )
    return f"Ray: {type(error).__name__}: {told}"
