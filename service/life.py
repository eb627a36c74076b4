"""The life of models: what the repository has is loaded, served, replaced and unloaded while requests go on."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from service import repository
from service.engine.session import DeviceUnavailable
from service.errors import ModelNotFound, ModelUnusable, StartupError
from service.kept import SERVING, Kept
from service.labels import LATEST, move
from service.logs import log
from service.orders import Orders
from service.reconcile import reconcile, wanted
from service.registry import State, quoted
from service.repository import Place
from service.watch import Watch

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from service.loading import Loader
    from service.metrics import Metrics
    from service.reconcile import Actions
    from service.registry import LoadedModel, ModelVersion, Registry
    from service.repository import Contents, ModelFile
    from service.settings import ServeSettings

# Seconds until the next look where something changed since the last one: by then it may be there whole.
_SETTLING = 1.0


class Life:
    """Keeps the registry as the repository, its labels, the settings and requests want it.

    Everything that changes what is loaded goes through one queue of orders, one after the other; only what drains does
    so on its own. A version takes requests from the moment when it is warm, and its predecessor none: in between there
    is no `await`, so that no request finds neither.
    """

    def __init__(
        self, settings: ServeSettings, registry: Registry, loader: Loader, metrics: Metrics, contents: Contents
    ) -> None:
        """Begin with `contents`, whose files the registry has."""
        self._settings = settings
        self._registry = registry
        self._loader = loader
        self._metrics = metrics
        self._watch = Watch(settings.models, contents)
        self._kept = {model.file.place: Kept(model, model.file.stamp) for model in registry.models}
        self._orders = Orders()
        self._leaving: dict[LoadedModel, asyncio.Task[None]] = {}
        self._changed = asyncio.Event()
        self._tasks: asyncio.TaskGroup
        self._on_change: Callable[[], Awaitable[None]]

    async def run(self, on_change: Callable[[], Awaitable[None]]) -> None:
        """Load what is wanted, then watch the repository and follow orders until cancelled.

        `on_change` is called whenever a version's state has changed. Raises StartupError when a model that is there at
        the start has no version that can be served.
        """
        self._on_change = on_change
        poll = self._settings.repository_poll
        try:
            async with asyncio.TaskGroup() as self._tasks:
                self._tasks.create_task(self._tell_changes())
                await self._start()
                while True:
                    pause = min(poll, _SETTLING) if self._watch.is_unsettled else poll
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
        return await self._orders.place(lambda: self._load_on_request(name, version))

    async def unload(self, name: str, version: str) -> list[ModelVersion]:
        """Unload a version, by number or label, or all that are loaded; returns them once their memory is free.

        They stay unloaded until they are asked for, or their files change. Raises ModelNotFound, and NotReady when the
        server ends.
        """
        models = await self._orders.place(lambda: self._unload_on_request(name, version))
        if leaving := [task for loaded, task in self._leaving.items() if loaded in [m.loaded for m in models]]:
            await asyncio.wait(leaving)
        return models

    async def until_drained(self) -> None:
        """Wait until every request that was admitted, by whatever is or was loaded, is answered."""
        serving = [model.loaded for model in self._registry.models if model.loaded]
        for loaded in {*serving, *self._leaving}:
            await loaded.admission.until_empty()

    async def _start(self) -> None:
        due = self._plan().load
        for place, kept in self._kept.items():
            if place not in due:
                kept.model.be_unloaded()
        await self._settle(at_start=True)
        self._registry.started()
        await self._tell()

    async def _look(self) -> None:
        try:
            self._watch.take_in(await asyncio.to_thread(repository.look, self._settings.models))
        except StartupError as error:
            self._watch.blind(str(error))
        await self._settle()

    async def _settle(self, *, at_start: bool = False) -> None:
        """Do what is to be done, until nothing is."""
        while place := await self._next_to_load():
            try:
                await self._load(self._kept[place], self._watch.file(place))
            except (StartupError, DeviceUnavailable) as error:
                is_last_hope = not self._registry.serves(place.name) and place.name not in self._names_to_load()
                if at_start and is_last_hope and isinstance(error, StartupError):
                    raise
                await self._report(self._kept[place], error)

    async def _next_to_load(self) -> Place | None:
        """Do all that takes no time; return what is to be loaded next."""
        self._move_labels()
        actions = self._plan()
        for place in actions.unload:
            self._leave(self._kept[place])
        for place in actions.forget:
            self._registry.remove(self._kept.pop(place).model)
            self._metrics.model(*place).forget()
        for place in actions.add:
            self._add(place)
        if actions.unload or actions.forget:
            await self._tell()
        return actions.load[0] if actions.load else None

    def _plan(self) -> Actions:
        held = {place: kept.held() for place, kept in self._kept.items()}
        return reconcile(self._watch.seen(held), held, self._labelled(), self._settings.version_policy)

    def _names_to_load(self) -> set[str]:
        return {place.name for place in self._plan().load}

    def _labelled(self) -> set[Place]:
        """Return the versions that labels name, and those that they are to name."""
        return {
            Place(name, version)
            for name in self._registry.names
            for labels in (self._registry.labels_of(name), self._watch.labels(name))
            for version in labels.values()
        }

    def _move_labels(self) -> None:
        for name in self._registry.names:
            now = self._registry.labels_of(name)
            ready = {model.version for model in self._registry.versions(name) if model.is_ready}
            labels = move(now, self._watch.labels(name), ready)
            if labels != now:
                self._registry.relabel(name, labels)
                log.info("labels_changed", model=name, labels=labels)

    async def _load(self, kept: Kept, file: ModelFile) -> None:
        """Load a file and let it serve from then on; raises StartupError and DeviceUnavailable, the failure noted."""
        kept.stamp, kept.is_tried, kept.is_broken = file.stamp, True, False
        kept.model.begin_to_load()
        await self._tell()
        try:
            loaded = await self._open(file, self._told_of_soundness(kept.model, file))
        except (StartupError, DeviceUnavailable) as error:
            kept.is_broken = isinstance(error, StartupError)
            kept.model.fail(str(error))
            raise
        self._serve(kept.model, file, loaded)
        await self._tell()

    async def _open(self, file: ModelFile, on_sound: Callable[[bool], None]) -> LoadedModel:
        """Load a file; whatever goes wrong, a StartupError or DeviceUnavailable, must not end the other models."""
        try:
            return await self._loader.load(file, on_sound)
        except (StartupError, DeviceUnavailable):
            raise
        except OSError as error:  # removed since it was found, say
            raise StartupError(f"{file.path}: {error.strerror}") from error
        except Exception as error:
            log.exception("load_fault", model=file.name, version=file.version)
            raise StartupError(f"{file.path}: loading it failed with a fault of ours, which the log tells") from error

    def _serve(self, model: ModelVersion, file: ModelFile, loaded: LoadedModel) -> None:
        """Let the next request find what was loaded, and what served before finish what it has."""
        before = model.loaded
        if not model.become_ready(loaded, file):  # the server is on its way out
            self._retire(loaded, model)
            return
        self._registry.require(model.name)
        if before and before not in self._leaving:
            self._retire(before, model)
        log.info(
            "model_loaded",
            model=model.name,
            version=model.version,
            provider=loaded.engine.provider,
            replaced=before is not None,
        )

    def _told_of_soundness(self, model: ModelVersion, file: ModelFile) -> Callable[[bool], None]:
        def on_sound(sound: bool) -> None:
            if model.file is file:
                model.become_sound(sound=sound)
                self._changed.set()

        return on_sound

    def _leave(self, kept: Kept) -> None:
        """Let a version take no more requests, and go when those that it has are answered."""
        kept.is_tried = False
        kept.model.begin_to_drain()
        if kept.model.loaded:
            self._retire(kept.model.loaded, kept.model)

    def _retire(self, loaded: LoadedModel, model: ModelVersion) -> None:
        self._leaving[loaded] = self._tasks.create_task(self._drain(loaded, model))

    async def _drain(self, loaded: LoadedModel, model: ModelVersion) -> None:
        await self._loader.unload(loaded)
        del self._leaving[loaded]
        if model.loaded is loaded and model.state is State.DRAINING:
            model.be_unloaded()
            self._metrics.model(model.name, model.version).forget()
            log.info("model_unloaded", model=model.name, version=model.version)
        await self._tell()
        self._orders.add(self._settle)

    async def _load_on_request(self, name: str, version: str) -> ModelVersion:
        try:
            self._watch.take_in(await asyncio.to_thread(repository.look, self._settings.models))
        except StartupError as error:
            raise ModelUnusable("the model repository cannot be read") from error
        place = self._named(name, version)
        self._watch.trust(place)
        kept, file = self._kept.get(place) or self._add(place), self._watch.file(place)
        kept.refused = None
        if not kept.serves(file):
            try:
                await self._load(kept, file)
            except (StartupError, DeviceUnavailable) as error:
                await self._report(kept, error)
                reason = str(error).removeprefix(f"{file.path}: ")
                raise ModelUnusable(f"model {name} version {place.version} cannot be served: {reason}") from error
        self._keep_if_need_be(place)
        await self._settle()
        return kept.model

    def _named(self, name: str, version: str) -> Place:
        """Return the place of a version in the repository; raises ModelNotFound."""
        versions = self._watch.versions(name)
        if not versions:
            raise ModelNotFound(f"the repository has no model {quoted(name)}")
        if version in {"", LATEST}:
            return Place(name, versions[-1])
        wanted = str(self._watch.labels(name).get(version, version))
        if wanted not in map(str, versions):
            known = ", ".join(map(str, versions))
            raise ModelNotFound(f"the repository has no version {quoted(version)} of model {name}; it has {known}")
        return Place(name, int(wanted))

    def _keep_if_need_be(self, place: Place) -> None:
        """Note that a version was asked for, unless it would be loaded anyway and is to go when that is over."""
        self._kept[place].is_asked_for = False
        held = {place: kept.held() for place, kept in self._kept.items()}
        due = wanted(self._watch.seen(held), held, self._labelled(), self._settings.version_policy)
        self._kept[place].is_asked_for = place not in due

    async def _unload_on_request(self, name: str, version: str) -> list[ModelVersion]:
        models = [model for model in self._registry.versions(name) if model.loaded]
        if version:
            models = [self._registry.find(name, version)]
        for model in models:
            kept = self._kept[model.file.place]
            kept.refused, kept.is_asked_for = self._watch.stamp(model.file), False
            if model.state in SERVING:
                self._leave(kept)
            elif model.state is State.FAILED:
                kept.is_tried = False
                model.be_unloaded()
        await self._tell()
        return models

    def _add(self, place: Place) -> Kept:
        file = self._watch.file(place)
        kept = self._kept[place] = Kept(self._registry.add(file), file.stamp)
        return kept

    async def _report(self, kept: Kept, error: Exception) -> None:
        model = kept.model
        self._metrics.model(model.name, model.version).load_failed()
        log.error(
            "model_failed", model=model.name, version=model.version, reason=str(error), serves=model.state in SERVING
        )
        await self._tell()

    async def _tell_changes(self) -> None:
        """Tell of what changes without an order."""
        while True:
            await self._changed.wait()
            self._changed.clear()
            await self._tell()

    async def _tell(self) -> None:
        for model in self._registry.models:
            if model.state is not State.UNLOADED:
                self._metrics.model(model.name, model.version).state(model.is_ready)
        await self._on_change()
