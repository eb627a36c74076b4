"""An actor: it holds a model and does units of work, one after the other and many pictures at a time."""

from __future__ import annotations

import asyncio
import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from service.bulk import begun, failures, shards
from service.bulk.errors import BulkError
from service.bulk.pipeline import Pipeline
from service.bulk.storage import Storage, TooLarge, Unusable
from service.bulk.units import output_name
from service.errors import InvalidRequest, ServiceError, StartupError
from service.picture.encode import Format, check_output
from service.picture.fit import Fit
from service.settings import MIB, ServeSettings
from service.telemetry.logs import log
from service.translator import Order

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from typing import Any

    from service.bulk.failures import Failed
    from service.bulk.settings import BulkSettings
    from service.bulk.units import Unit

EXTENSIONS = {"png": ".png", "jpeg": ".jpg", "webp": ".webp"}
_FORMATS = {"png": Format.PNG, "jpeg": Format.JPEG, "webp": Format.WEBP}
# What is wrong with one picture or one shard, and stops no other.
_ITS_OWN = (ServiceError, TooLarge, Unusable, shards.BrokenShard, FileNotFoundError)


@dataclass
class Report:
    """What became of a unit: pictures translated, and of those that failed the names and the reasons."""

    translated: int = 0
    failed: list[Failed] = field(default_factory=list)


class Worker:
    """Translates units; one for each actor, and one may be had without Ray."""

    def __init__(self, settings: BulkSettings, *, on_gpu: bool, description: dict[str, Any] | None = None) -> None:
        """Load the model, and leave the description at the output, where it is not there yet.

        Raises StartupError, and BulkError where the output cannot be written.
        """
        self._settings = settings
        self._input, self._output = Storage(settings.input), Storage(settings.output, creates=True)
        served = served_with(settings, on_gpu=on_gpu)
        self._pipeline = Pipeline(served, settings.model, settings.model_version, on_lost=_end)
        self._extension = EXTENSIONS[settings.format]
        try:
            self._check_model()
            if description:
                begun.leave(self._output, description)
        except (StartupError, BulkError):
            self.close()
            raise

    def _check_model(self) -> None:
        """Raise StartupError for settings with which the model could translate no picture at all."""
        settings, model = self._settings, self._pipeline.model
        engine = model.serving().engine
        if settings.seed is not None and not engine.takes_seed:
            raise StartupError(
                f"--seed {settings.seed}: the model {model.name} takes none, as it was exported without its noise; "
                "leave it out"
            )
        try:
            check_output(_FORMATS[settings.format], settings.quality, engine.output.channels, engine.output.dtype)
        except InvalidRequest as error:
            raise StartupError(f"--format {settings.format}: {error}") from error

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
        report = Report()
        try:
            members = await asyncio.to_thread(self._members, name)
            made = await self._all_translated(name, members, report)
            await asyncio.to_thread(self._write_shard, name, members, made, report)
        except _ITS_OWN as error:
            return Report(0, [(name, _reason(error))])
        return report

    def _members(self, name: str) -> list[shards.Member]:
        members = shards.read(self._input.read(name), self._settings.max_picture_bytes)
        shards.check_names(members, self._extension)
        return members

    async def _all_translated(self, name: str, members: list[shards.Member], report: Report) -> dict[str, bytes]:
        made: dict[str, bytes] = {}
        report.failed += [(f"{name}/{member.name}", member.fault) for member in members if member.fault]
        pictures = {member.name: member for member in members if member.is_picture and not member.fault}

        async def one(picture: str) -> None:
            made[picture] = await self._translated(pictures[picture].content)

        await self._each(tuple(pictures), one, report, shown=lambda picture: f"{name}/{picture}")
        return made

    def _write_shard(self, name: str, members: list[shards.Member], made: dict[str, bytes], report: Report) -> None:
        whole = shards.write(members, made, self._extension)
        # Once the shard is there it counts as done: what it lacks must be known before.
        failures.keep(self._output, name, report.failed)
        self._output.write(name, whole)

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
                except _ITS_OWN as error:
                    report.failed.append((shown(name), _reason(error)))
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


def _reason(error: Exception) -> str:
    return "the file is not there" if isinstance(error, FileNotFoundError) else str(error)


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
