"""The models that the server knows, the state of each version, and the labels that name them."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING

from service.errors import InvalidRequest, ModelNotFound, NotReady, StartupError
from service.models.labels import LATEST

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from service.engine.contract import Pixels
    from service.engine.engine import Engine
    from service.models.repository import ModelFile
    from service.runner import Work
    from service.scheduler.admission import Admission
    from service.scheduler.queueing import ModelQueue


class State(Enum):
    """A version's life; FAILED carries its reason in `ModelVersion.failure`, and UNLOADED is in the repository only."""

    LOADING = "loading"
    READY = "ready"
    RECOVERING = "recovering"  # its engine broke and is being built anew
    DRAINING = "draining"
    FAILED = "failed"
    UNLOADED = "unloaded"


_SERVING = frozenset({State.READY, State.RECOVERING})


@dataclass(frozen=True, eq=False)
class LoadedModel:
    """What serves a version: its engine, the queue in front of it, and the door in front of that."""

    engine: Engine
    queue: ModelQueue[Work, Pixels]
    admission: Admission
    max_batch_size: int


@dataclass(eq=False)
class ModelVersion:
    """One version of a model, from the moment it was found in the repository.

    `file` is what is loaded, or was found first. `failure` says why a file could not be loaded; a version that serves
    keeps doing so from its old file meanwhile.
    """

    file: ModelFile
    state: State = State.LOADING
    failure: str = ""
    loaded: LoadedModel | None = field(default=None, repr=False)

    @property
    def name(self) -> str:
        """The model's name."""
        return self.file.name

    @property
    def version(self) -> int:
        """The version's number."""
        return self.file.version

    @property
    def is_ready(self) -> bool:
        """Whether requests are taken."""
        return self.state is State.READY

    def serving(self) -> LoadedModel:
        """Return what serves the version; raises NotReady unless it is ready.

        Whoever asks must be admitted before the next `await`: a version that is replaced waits for those who are in.
        """
        if self.loaded is None or not self.is_ready:
            raise NotReady(f"model {self.name} version {self.version} is {self.state.value}; try again later")
        return self.loaded

    def begin_to_load(self) -> None:
        """Be loading; a version that serves stays what it is, and its successor is loaded beside it."""
        if self.state not in _SERVING:
            self.state, self.failure = State.LOADING, ""

    def become_ready(self, loaded: LoadedModel, file: ModelFile | None = None) -> bool:
        """Take requests from now on, with what was loaded from `file`; False if the server is on its way out."""
        if self.state is not State.LOADING and self.state not in _SERVING:
            return False
        self.file, self.loaded, self.state, self.failure = file or self.file, loaded, State.READY, ""
        return True

    def become_sound(self, *, sound: bool) -> None:
        """Take requests while the engine is sound, and none while it is being built anew."""
        if self.state in _SERVING:
            self.state = State.READY if sound else State.RECOVERING

    def fail(self, reason: str) -> None:
        """Never take requests; or, if there is a load that serves, stay with that."""
        self.failure = reason
        if self.state not in _SERVING:
            self.state = State.FAILED

    def begin_to_drain(self) -> None:
        """Refuse new requests; what was admitted goes on."""
        if self.state is State.LOADING or self.state in _SERVING:
            self.state = State.DRAINING

    def be_unloaded(self) -> None:
        """Be in the repository only."""
        self.state, self.failure, self.loaded = State.UNLOADED, "", None


class Registry:
    """All versions of all models, in order of name and version; they come and go with the repository."""

    def __init__(self, files: Iterable[ModelFile], default: str = "") -> None:
        """Know these files, and be ready when they are; raises StartupError when the default is not among them."""
        self.models: tuple[ModelVersion, ...] = tuple(ModelVersion(file) for file in files)
        if default and default not in self.names:
            raise StartupError(f"--default-model {default}: no such model; the repository has {', '.join(self.names)}")
        self.is_draining = False
        self._default = default
        self._labels: dict[str, dict[str, int]] = {}
        self._required = set(self.names)
        self._awaited = set(self.models)

    @property
    def names(self) -> tuple[str, ...]:
        """The models' names, in order."""
        return tuple(dict.fromkeys(model.name for model in self.models))

    @property
    def is_ready(self) -> bool:
        """Whether every model is: at the start all that is to be loaded, later at least one version of each.

        A model that came later counts once it was ready, and one that was unloaded on request does not.
        """
        if self.is_draining or any(model.state is State.LOADING for model in self._awaited):
            return False
        wanted = {model.name for model in self.models if model.state is not State.UNLOADED} & self._required
        return bool(self.models) and all(self.serves(name) for name in wanted)

    def serves(self, name: str) -> bool:
        """Return whether any version of the model is ready; False for names that are not known."""
        return any(model.is_ready for model in self.models if model.name == name)

    def started(self) -> None:
        """Be done with the start: from now on a version that loads holds nothing up."""
        self._awaited.clear()

    def require(self, name: str) -> None:
        """Let the server's readiness depend on a model that came after the start."""
        self._required.add(name)

    def add(self, file: ModelFile) -> ModelVersion:
        """Know one more version, in the repository only."""
        model = ModelVersion(file, State.UNLOADED)
        self.models = tuple(sorted((*self.models, model), key=lambda one: (one.name, one.version)))
        return model

    def remove(self, model: ModelVersion) -> None:
        """Know a version no more."""
        self.models = tuple(one for one in self.models if one is not model)
        self._awaited.discard(model)
        if model.name not in self.names:
            self._required.discard(model.name)
            self._labels.pop(model.name, None)

    def get(self, name: str, version: int) -> ModelVersion | None:
        """Return a version by its number, or None."""
        return next((model for model in self.models if (model.name, model.version) == (name, version)), None)

    def find(self, name: str, version: str) -> ModelVersion:
        """Return a version by the model's name and the version's number or label.

        An empty name means the default model, or the only one; an empty version, or `latest`, the highest that is
        ready, or else the highest. Raises ModelNotFound, and InvalidRequest for an empty name and no default.
        """
        versions = self.versions(name or self._default_name())
        if version in {"", LATEST}:
            return max(versions, key=lambda model: (model.is_ready, model.version))
        labels = self._labels.get(versions[0].name, {})
        number = str(labels.get(version, version))
        for model in versions:
            if str(model.version) == number:
                return model
        known = ", ".join([*(str(model.version) for model in versions), *sorted(labels)])
        raise ModelNotFound(f"model {versions[0].name} has no version {quoted(version)}; it has {known}")

    def versions(self, name: str) -> list[ModelVersion]:
        """Return all versions of a model; raises ModelNotFound."""
        versions = [model for model in self.models if model.name == name]
        if not versions:
            raise ModelNotFound(f"there is no model {quoted(name)}; ListModels tells which there are")
        return versions

    def labels(self, model: ModelVersion) -> list[str]:
        """Return the labels by which a version may be asked for, `latest` first."""
        versions = [one for one in self.models if one.name == model.name and one.is_ready]
        is_latest = bool(versions) and versions[-1] is model
        given = self._labels.get(model.name, {})
        return [LATEST] * is_latest + sorted(label for label, number in given.items() if number == model.version)

    def labels_of(self, name: str) -> Mapping[str, int]:
        """Return the versions by label, of the labels that the repository gives to a model."""
        return dict(self._labels.get(name, {}))

    def relabel(self, name: str, labels: Mapping[str, int]) -> None:
        """Let these labels, and no others, name versions of a model."""
        self._labels[name] = dict(labels)

    def drain(self) -> None:
        """Refuse new requests for all models; what was admitted goes on."""
        self.is_draining = True
        for model in self.models:
            model.begin_to_drain()

    def _default_name(self) -> str:
        names = self.names
        if not self._default and len(names) > 1:
            raise InvalidRequest(f"the request names no model, and the server has several: {', '.join(names)}")
        if not names:
            raise ModelNotFound("the server has no models")
        return self._default or names[0]


def quoted(given: str) -> str:
    """Show what a caller sent, cut to a reasonable length."""
    return repr(given if len(given) <= 64 else given[:64] + "…")
