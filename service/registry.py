"""The models that the server knows, and the state of each."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING

from service.errors import InvalidRequest, ModelNotFound, NotReady, StartupError

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from numpy.typing import NDArray

    from service.engine.session import Engine
    from service.repository import ModelFile
    from service.scheduler.admission import Admission
    from service.scheduler.batcher import Batcher

    Pixels = NDArray[np.uint8]


class State(Enum):
    """A model's life; FAILED carries its reason in `ModelVersion.failure`."""

    LOADING = "loading"
    READY = "ready"
    DRAINING = "draining"
    FAILED = "failed"


@dataclass(frozen=True)
class LoadedModel:
    """What serves a model: its engine, the queue in front of it, and the door in front of that."""

    engine: Engine
    batcher: Batcher[Pixels, Pixels]
    admission: Admission
    max_batch_size: int


@dataclass(eq=False)
class ModelVersion:
    """One version of a model, from the moment it was found in the repository."""

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
        """Return what serves the model; raises NotReady unless it is ready."""
        if self.loaded is None or not self.is_ready:
            raise NotReady(f"model {self.name} version {self.version} is {self.state.value}; try again later")
        return self.loaded

    def become_ready(self, loaded: LoadedModel) -> None:
        """Take requests from now on, unless the server is on its way out."""
        self.loaded = loaded
        if self.state is State.LOADING:
            self.state = State.READY

    def fail(self, reason: str) -> None:
        """Never take requests."""
        self.state, self.failure = State.FAILED, reason


class Registry:
    """All versions of all models, in order of name and version."""

    def __init__(self, files: Sequence[ModelFile], default: str = "") -> None:
        """Know these files; raises StartupError when the default is not among them."""
        self.models = tuple(ModelVersion(file) for file in files)
        names = dict.fromkeys(file.name for file in files)
        if default and default not in names:
            raise StartupError(f"--default-model {default}: no such model; the repository has {', '.join(names)}")
        self._default = default or (next(iter(names)) if len(names) == 1 else "")

    @property
    def is_ready(self) -> bool:
        """Whether every model is."""
        return all(model.is_ready for model in self.models)

    def find(self, name: str, version: str) -> ModelVersion:
        """Return a model by name and version.

        An empty name means the default model, or the only one; an empty version the highest that is ready, or else the
        highest. Raises ModelNotFound, and InvalidRequest for an empty name where there is no default.
        """
        versions = self.versions(name or self._default_name())
        if not version:
            return max(versions, key=lambda model: (model.is_ready, model.version))
        for model in versions:
            if str(model.version) == version:
                return model
        known = ", ".join(str(model.version) for model in versions)
        raise ModelNotFound(f"model {versions[0].name} has no version {_quoted(version)}; it has {known}")

    def versions(self, name: str) -> list[ModelVersion]:
        """Return all versions of a model; raises ModelNotFound."""
        versions = [model for model in self.models if model.name == name]
        if not versions:
            raise ModelNotFound(f"there is no model {_quoted(name)}; ListModels tells which there are")
        return versions

    def drain(self) -> None:
        """Refuse new requests for all models; what was admitted goes on."""
        for model in self.models:
            if model.state is not State.FAILED:
                model.state = State.DRAINING

    def _default_name(self) -> str:
        if not self._default:
            names = ", ".join(dict.fromkeys(model.name for model in self.models))
            raise InvalidRequest(f"the request names no model, and the server has several: {names}")
        return self._default


def _quoted(given: str) -> str:
    """Show what a caller sent, cut to a reasonable length."""
    return repr(given if len(given) <= 64 else given[:64] + "…")
