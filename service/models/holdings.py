"""The versions that the server holds: loaded, swapped at one stroke, drained."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from service.engine.session import DeviceUnavailable
from service.errors import StartupError
from service.models.kept import SERVING, Kept
from service.models.labels import move
from service.models.reconcile import reconcile, wanted
from service.models.registry import State
from service.models.repository import Place
from service.telemetry.logs import log

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from service.loading import Loader
    from service.models.reconcile import Actions, Held, Policy
    from service.models.registry import LoadedModel, ModelVersion, Registry
    from service.models.repository import ModelFile
    from service.models.watch import Watch
    from service.telemetry.metrics import Metrics


class Holdings:
    """What is loaded, as the repository (`watch`), its labels and the policy want it.

    Whoever uses it does one thing after the other; only what drains does so on its own. A version takes requests from
    the moment when it is warm, and its predecessor none: in between there is no `await`, so that a request always finds
    one of them.
    """

    def __init__(self, registry: Registry, loader: Loader, metrics: Metrics, watch: Watch, policy: Policy) -> None:
        self._registry = registry
        self._loader = loader
        self._metrics = metrics
        self._watch = watch
        self._policy: Policy = policy
        self._kept = {model.file.place: Kept(model, model.file.stamp) for model in registry.models}
        self._leaving: dict[LoadedModel, asyncio.Task[None]] = {}
        self._changed = asyncio.Event()
        self._tasks: asyncio.TaskGroup
        self._on_change: Callable[[], Awaitable[None]]
        self._on_drained: Callable[[], None]

    def begin(
        self, tasks: asyncio.TaskGroup, on_change: Callable[[], Awaitable[None]], on_drained: Callable[[], None]
    ) -> None:
        """Run what goes on beside in `tasks`; tell of every change of state, and when there may be more to settle."""
        self._tasks, self._on_change, self._on_drained = tasks, on_change, on_drained
        tasks.create_task(self._tell_changes())

    async def start(self) -> None:
        """Load what is there at the start; raises StartupError when a model has no version that can be served."""
        due = self._plan().load
        for place, kept in self._kept.items():
            if place not in due:
                kept.model.be_unloaded()
        await self.settle(at_start=True)
        self._registry.started()
        await self._tell()

    async def settle(self, *, at_start: bool = False) -> None:
        """Do what is to be done until nothing is, one load after the other."""
        while place := await self._next_to_load():
            try:
                await self._load(place)
            except (StartupError, DeviceUnavailable) as error:
                if at_start and isinstance(error, StartupError) and self._is_hopeless(place.name):
                    raise
                await self._report(place, error)

    async def load(self, place: Place) -> ModelVersion:
        """Load a version that is in the repository, whatever the policy, unless its very file is loaded already.

        Raises StartupError and DeviceUnavailable; what was loaded before stays.
        """
        kept = self._kept.get(place) or self._add(place)
        kept.refused = None
        if not kept.serves(self._watch.file(place)):
            try:
                await self._load(place)
            except (StartupError, DeviceUnavailable) as error:
                await self._report(place, error)
                raise
        kept.is_asked_for = False
        # What would be loaded anyway goes when something else is to be loaded instead; what would not stays.
        held = self._held()
        kept.is_asked_for = place not in wanted(self._watch.seen(held), held, self._labelled(), self._policy)
        await self.settle()
        return kept.model

    async def unload(self, models: list[ModelVersion]) -> None:
        """Begin to unload versions, which stay unloaded until they are asked for or their files change."""
        for model in models:
            kept = self._kept[model.file.place]
            kept.refused, kept.is_asked_for = self._watch.stamp(model.file), False
            if model.state in SERVING:
                self._leave(kept)
            elif model.state is State.FAILED:
                kept.is_tried = False
                model.be_unloaded()
        await self._tell()

    async def until_gone(self, models: list[ModelVersion]) -> None:
        """Wait until what is on its way out of these versions is gone."""
        if leaving := [self._leaving[model.loaded] for model in models if model.loaded in self._leaving]:
            await asyncio.wait(leaving)

    async def until_drained(self) -> None:
        """Wait until every request that was admitted, by whatever is or was loaded, is answered."""
        serving = [model.loaded for model in self._registry.models if model.loaded]
        for loaded in {*serving, *self._leaving}:
            await loaded.admission.until_empty()

    async def _next_to_load(self) -> Place | None:
        """Do all that takes no time; return what is to be loaded next."""
        if self._registry.is_draining:
            return None
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
        held = self._held()
        return reconcile(self._watch.seen(held), held, self._labelled(), self._policy)

    def _held(self) -> dict[Place, Held]:
        return {place: kept.held() for place, kept in self._kept.items()}

    def _is_hopeless(self, name: str) -> bool:
        """Return whether no version of a model serves, and none is left to try."""
        return not self._registry.serves(name) and all(place.name != name for place in self._plan().load)

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

    def _add(self, place: Place) -> Kept:
        file = self._watch.file(place)
        kept = self._kept[place] = Kept(self._registry.add(file), file.stamp)
        return kept

    async def _load(self, place: Place) -> None:
        """Load a version and let it serve from then on; raises StartupError and DeviceUnavailable, and notes why."""
        kept, file = self._kept[place], self._watch.file(place)
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
        if model.loaded is loaded:
            model.loaded = None
            if model.state is State.DRAINING:  # and not being loaded again already
                model.be_unloaded()
                self._metrics.model(model.name, model.version).forget()
                log.info("model_unloaded", model=model.name, version=model.version)
        await self._tell()
        self._on_drained()

    async def _report(self, place: Place, error: Exception) -> None:
        self._metrics.model(*place).load_failed()
        serves = self._kept[place].model.state in SERVING
        log.error("model_failed", model=place.name, version=place.version, reason=str(error), serves=serves)
        await self._tell()

    async def _tell_changes(self) -> None:
        """Tell of what changes on its own."""
        while True:
            await self._changed.wait()
            self._changed.clear()
            await self._tell()

    async def _tell(self) -> None:
        for model in self._registry.models:
            if model.state is not State.UNLOADED:
                self._metrics.model(model.name, model.version).state(model.is_ready)
        await self._on_change()
