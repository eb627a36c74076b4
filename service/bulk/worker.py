"""An actor: it holds a model and does units of work, one after the other and many pictures at a time."""

from __future__ import annotations

import asyncio
import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from service.bulk import shards
from service.bulk.errors import BulkError
from service.bulk.pipeline import Pipeline
from service.bulk.storage import Storage, TooLarge
from service.bulk.units import output_name
from service.errors import ServiceError
from service.picture.encode import Format
from service.picture.fit import Fit
from service.settings import MIB, ServeSettings
from service.telemetry.logs import log
from service.translator import Order

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from service.bulk.settings import BulkSettings
    from service.bulk.units import Unit

EXTENSIONS = {"png": ".png", "jpeg": ".jpg", "webp": ".webp"}
_FORMATS = {"png": Format.PNG, "jpeg": Format.JPEG, "webp": Format.WEBP}


@dataclass
class Report:
    """What became of a unit: pictures translated, and of those that failed the names and the reasons."""

    translated: int = 0
    failed: list[tuple[str, str]] = field(default_factory=list)


class Worker:
    """Translates units; one for each actor, and one may be had without Ray."""

    def __init__(self, settings: BulkSettings, *, on_gpu: bool) -> None:
        """Load the model; raises StartupError."""
        self._settings = settings
        self._input, self._output = Storage(settings.input), Storage(settings.output)
        served = served_with(settings, on_gpu=on_gpu)
        self._pipeline = Pipeline(served, settings.model, settings.model_version, on_lost=_end)
        self._extension = EXTENSIONS[settings.format]

    def close(self) -> None:
        """Let go of the model."""
        self._pipeline.close()

    def work(self, unit: Unit) -> Report:
        """Translate a unit and write what came of it; a picture that fails is told of, and does not stop the others.

        Raises BulkError where the output cannot be written.
        """
        return self._pipeline.do(self._shard(unit.names[0]) if unit.is_shard else self._pictures(unit.names))

    async def _pictures(self, names: tuple[str, ...]) -> Report:
        report = Report()

        async def one(name: str) -> None:
            content = await asyncio.to_thread(self._input.read, name, self._settings.max_picture_bytes)
            made = await self._translated(content)
            await asyncio.to_thread(self._output.write, output_name(name, self._extension), made)

        await self._each(names, one, report)
        return report

    async def _shard(self, name: str) -> Report:
        report, made = Report(), dict[str, bytes]()
        largest = self._settings.max_picture_bytes
        try:
            content = await asyncio.to_thread(self._input.read, name)
            members = await asyncio.to_thread(lambda: list(shards.read(content, largest)))
        except shards.BrokenShard as error:
            report.failed.append((name, str(error)))
            return report
        pictures = {member.name: member for member in members if member.is_picture}

        async def one(picture: str) -> None:
            made[picture] = await self._translated(pictures[picture].content)

        await self._each(tuple(pictures), one, report, shown=lambda picture: f"{name}/{picture}")
        whole = await asyncio.to_thread(shards.write, members, made, self._extension)
        await asyncio.to_thread(self._output.write, name, whole)
        return report

    async def _each(
        self,
        names: tuple[str, ...],
        do: Callable[[str], Awaitable[None]],
        report: Report,
        shown: Callable[[str], str] = str,
    ) -> None:
        """Do something with each name, so many at a time as the window allows."""
        room = asyncio.Semaphore(self._settings.window)

        async def guarded(name: str) -> None:
            async with room:
                try:
                    await do(name)
                except FileNotFoundError:
                    report.failed.append((shown(name), "the file is gone"))
                except (ServiceError, TooLarge) as error:
                    report.failed.append((shown(name), str(error)))
                else:
                    report.translated += 1

        try:
            async with asyncio.TaskGroup() as tasks:
                for name in names:
                    tasks.create_task(guarded(name))
        except ExceptionGroup as group:
            broken = next((one for one in group.exceptions if isinstance(one, BulkError)), None)
            raise broken or group from group

    async def _translated(self, content: bytes) -> bytes:
        settings = self._settings
        order = Order(
            content,
            self._fit(),
            _FORMATS[settings.format],
            settings.quality,
            settings.size == "input",
            seed=settings.seed,
        )
        return (await self._pipeline.translate(order)).data

    def _fit(self) -> Fit:
        if self._settings.fit != "auto":
            return Fit(self._settings.fit)
        return Fit.NONE if self._pipeline.model.serving().engine.input.any_size else Fit.STRETCH


def _end(reason: BaseException) -> None:
    """End the process: whoever runs it gives its work to another."""
    log.error("engine_lost", reason=str(reason))
    os._exit(1)


def served_with(settings: BulkSettings, *, on_gpu: bool) -> ServeSettings:
    """Return the settings of the service inside: nobody but the window is to hold back a picture."""
    device = (settings.devices if settings.devices != "auto" else "cuda") if on_gpu else "cpu"
    cores = max(1, round(settings.cpus))
    largest = 4 * max(settings.max_picture_bytes, 4 * settings.max_picture_pixels) + 8 * MIB
    held = settings.window + 1
    return ServeSettings(
        models=settings.models,
        devices=f"{device}:0" if on_gpu else device,
        instances="auto" if on_gpu else cores,
        cpu_mode="throughput",
        max_batch_size=settings.max_batch_size,
        codec_threads=cores,
        max_queue=held,
        max_total_queue=held,
        max_queue_bytes=held * largest,
        max_total_queue_bytes=held * largest,
        max_picture_bytes=settings.max_picture_bytes,
        max_picture_pixels=settings.max_picture_pixels,
        slow_request=0,
    )
