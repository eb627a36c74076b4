"""The life of models: what the repository has is loaded, served, replaced and unloaded while requests go on."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from service.engine.session import DeviceUnavailable
from service.errors import ModelNotFound, ModelUnusable, NotReady, StartupError
from service.models import repository
from service.models.holdings import Holdings
from service.models.labels import LATEST
from service.models.orders import Orders
from service.models.registry import quoted
from service.models.repository import Place
from service.models.watch import Watch

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from service.loading import Loader
    from service.models.registry import ModelVersion, Registry
    from service.models.repository import Contents
    from service.settings import ServeSettings
    from service.telemetry.metrics import Metrics

# Seconds until the next look where something changed since the last one: by then it may be there whole.
_SETTLING = 1.0


class Life:
    """Looks into the repository again and again, and follows orders to load and unload, one after the other."""

    def __init__(
        self, settings: ServeSettings, registry: Registry, loader: Loader, metrics: Metrics, contents: Contents
    ) -> None:
        """Begin with `contents`, whose files the registry has."""
        self._root = settings.models
        self._poll = settings.repository_poll
        self._registry = registry
        self._watch = Watch(settings.models, contents)
        self._holdings = Holdings(registry, loader, metrics, self._watch, settings.version_policy)
        self._orders = Orders()

    async def run(self, on_change: Callable[[], Awaitable[None]]) -> None:
        """Load what is wanted, then watch the repository and follow orders until cancelled.

        `on_change` is called whenever a version's state has changed. Raises StartupError when a model that is there at
        the start has no version that can be served.
        """
        try:
            async with asyncio.TaskGroup() as tasks:
                self._holdings.begin(tasks, on_change, lambda: self._orders.add(self._holdings.settle))
                await self._holdings.start()
                while True:
                    pause = min(self._poll, _SETTLING) if self._watch.is_unsettled else self._poll
                    if not await self._orders.carry_out_next(pause or None):
                        await self._look()
        finally:
            self._orders.end()

    async def look(self) -> None:
        """Look into the repository once, and do all that follows from it; raises NotReady when the server ends."""
        await self._orders.place(self._look)

    async def load(self, name: str, version: str) -> ModelVersion:
        """Load a version, or load it anew where its file has changed; returns it once it takes requests.

        The version is a number or a label; empty, the highest in the repository. Raises ModelNotFound, ModelUnusable
        (what was loaded before stays), and NotReady when the server ends.
        """
        return await self._orders.place(lambda: self._load(name, version))

    async def unload(self, name: str, version: str) -> list[ModelVersion]:
        """Unload a version, by number or label, or all that are loaded; returns them once their memory is free.

        They stay unloaded until they are asked for, or their files change. Raises ModelNotFound, and NotReady when the
        server ends.
        """
        models = await self._orders.place(lambda: self._unload(name, version))
        await self._holdings.until_gone(models)
        return models

    async def until_drained(self) -> None:
        """Wait until every request that was admitted, by whatever is or was loaded, is answered."""
        await self._holdings.until_drained()

    async def _look(self) -> None:
        try:
            self._watch.take_in(await asyncio.to_thread(repository.look, self._root))
        except StartupError as error:
            self._watch.blind(str(error))
        await self._holdings.settle()

    async def _load(self, name: str, version: str) -> ModelVersion:
        if self._registry.is_draining:
            raise NotReady("the server is shutting down")
        try:
            self._watch.take_in(await asyncio.to_thread(repository.look, self._root))
        except StartupError as error:
            raise ModelUnusable("the model repository cannot be read") from error
        place = self._named(name, version)
        self._watch.trust(place)
        try:
            return await self._holdings.load(place)
        except (StartupError, DeviceUnavailable) as error:
            path = self._watch.file(place).path
            # Where files lie is no caller's business.
            reason = str(error).removeprefix(f"{path}: ").replace(str(path), path.name)
            raise ModelUnusable(f"model {name} version {place.version} cannot be served: {reason}") from error

    def _named(self, name: str, version: str) -> Place:
        """Return the place of a version in the repository; raises ModelNotFound."""
        versions = self._watch.versions(name)
        if not versions:
            raise ModelNotFound(f"the repository has no model {quoted(name)}")
        if version in {"", LATEST}:
            return Place(name, versions[-1])
        number = str(self._watch.labels(name).get(version, version))
        if number not in map(str, versions):
            known = ", ".join(map(str, versions))
            raise ModelNotFound(f"the repository has no version {quoted(version)} of model {name}; it has {known}")
        return Place(name, int(number))

    async def _unload(self, name: str, version: str) -> list[ModelVersion]:
        models = [model for model in self._registry.versions(name) if model.loaded]
        if version:
            models = [self._registry.find(name, version)]
        await self._holdings.unload(models)
        return models
