"""The service without its edge, in a thread of its own: orders in, translations out."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import Future
from typing import TYPE_CHECKING, Self, TypeVar

import cv2

from service.codec import Codec
from service.errors import NotReady, ServiceError, StartupError
from service.loading import Loader
from service.models.registry import ModelVersion, Registry
from service.models.repository import scan
from service.telemetry.metrics import Metrics
from service.translator import Translator

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from typing import Any

    from service.models.repository import ModelFile
    from service.settings import ServeSettings
    from service.translator import Order, Translation

T = TypeVar("T")

# Seconds between looks at an engine that is being built anew.
_REBUILDING = 0.5


class Pipeline:
    """Decoding, batching, engine and encoding for one version of a model, as the service does them.

    Opens when it is made, which takes as long as the model takes to load; raises StartupError. `on_lost` is called
    with what ended it before its time, as EngineLost; nothing that is under way then comes to an end.
    """

    def __init__(
        self,
        settings: ServeSettings,
        model: str = "",
        version: str = "",
        on_lost: Callable[[BaseException], None] = lambda _: None,
    ) -> None:
        cv2.setNumThreads(1)
        file = choose(settings, model, version)
        self._settings = settings
        self._on_lost = on_lost
        self.model = ModelVersion(file)
        self._loop = asyncio.new_event_loop()
        self._closing = asyncio.Event()
        self._opened: Future[None] = Future()
        self._thread = threading.Thread(target=self._run, name="pipeline", daemon=True)
        self._thread.start()
        self._opened.result()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the model."""
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._closing.set)
            self._thread.join()

    def do(self, work: Coroutine[Any, Any, T]) -> T:
        """Return what a coroutine returns, which runs where `translate` can be awaited."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    async def translate(self, order: Order) -> Translation:
        """Translate one picture; waits while a broken engine is built anew. Raises `service.errors`' ServiceError."""
        while True:
            try:
                return await self._translator.translate(self.model, order)
            except NotReady:
                await asyncio.sleep(_REBUILDING)

    def _run(self) -> None:
        try:
            self._loop.run_until_complete(self._live())
        except BaseExceptionGroup as group:
            if not self._opened.done():
                self._opened.set_exception(_innermost(group))
            else:
                self._on_lost(_innermost(group))

    async def _live(self) -> None:
        metrics = Metrics()
        codec = Codec(self._settings.codec_workers)
        self._translator = Translator(self._settings.limits, codec, metrics)
        loader = Loader(self._settings, metrics)
        try:
            async with asyncio.TaskGroup() as tasks:
                running = tasks.create_task(loader.run())
                loaded = await loader.load(self.model.file, lambda sound: self.model.become_sound(sound=sound))
                self.model.become_ready(loaded)
                self._opened.set_result(None)
                await self._closing.wait()
                running.cancel()
            await loader.unload(loaded)
        finally:
            codec.close()


def choose(settings: ServeSettings, model: str, version: str) -> ModelFile:
    """Return the file of a version, by number or label, the highest where none is named; raises StartupError."""
    contents = scan(settings.models)
    registry = Registry(contents.files.values())
    _check_named(settings, registry.names, model)
    for name, labels in contents.labels.items():
        registry.relabel(name, labels)
    try:
        return registry.find(model, version).file
    except ServiceError as error:
        raise StartupError(f"{settings.models}: {error}") from error


def _check_named(settings: ServeSettings, names: tuple[str, ...], model: str) -> None:
    known = ", ".join(names)
    if model and model not in names:
        raise StartupError(f"--model {model}: there is no such model; {settings.models} has {known}")
    if not model and len(names) > 1:
        raise StartupError(f"--model: required, as {settings.models} has several models: {known}")


def _innermost(error: BaseException) -> BaseException:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
