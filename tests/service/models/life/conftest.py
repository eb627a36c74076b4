"""Real servers whose repositories change while they serve; they look at them when the test says so."""

from __future__ import annotations

import asyncio
import base64
import json
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Protocol

import cv2
import grpc
import httpx
import numpy as np
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from lapis.v1 import translation_pb2 as pb

from service.loading import Loader

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping
    from contextlib import AbstractAsyncContextManager
    from pathlib import Path

    from lapis.v1 import translation_pb2_grpc as pb_grpc

    from service.models.life import Life
    from service.models.registry import LoadedModel, ModelVersion, State
    from tests.service.conftest import Service, Serving

BLACK, SIDE = 0, 8


class Served:
    """A server, its repository, and callers who send it a black picture."""

    def __init__(self, service: Service, picture: bytes) -> None:
        self._service, self._picture = service, picture
        self.root: Path = service.server.settings.models
        self.life: Life = service.server.life
        self.stub: pb_grpc.TranslationServiceAsyncStub = service.stub
        self.channel = service.channel
        self.stop = service.stop
        self.until = service.until

    @property
    def model(self) -> LoadedModel:
        """What serves the first model."""
        return self._service.model

    async def looks(self, times: int = 2) -> None:
        """Looks until what was found has settled: a change is acted upon when the next look finds no other."""
        for _ in range(times):
            await self.life.look()

    def states(self) -> dict[str, str]:
        return {f"{model.name}/{model.version}": model.state.value for model in self._service.server.registry.models}

    def version(self, place: str) -> ModelVersion:
        name, number = place.split("/")
        found = self._service.server.registry.get(name, int(number))
        assert found
        return found

    async def until_state(self, place: str, state: State) -> None:
        await self.until(lambda: self.version(place).state is state)

    def translate(self, **fields: object) -> grpc.aio.UnaryUnaryCall[Any, pb.TranslateResponse]:
        return self._service.translate(self._picture, **fields)

    async def answering(self, **fields: object) -> str:
        """Returns the version that answers."""
        return str((await self.translate(**fields)).version)

    def callers(self, **fields: object) -> Callers:
        return Callers(self, fields)

    async def get(self, path: str) -> httpx.Response:
        return await self._service.get(path)

    async def metric(self, name: str) -> str | None:
        """Returns the value of a metric, named with its labels as it is scraped."""
        lines = [line for line in (await self.get("/metrics")).text.splitlines() if not line.startswith("#")]
        return dict(line.rsplit(" ", 1) for line in lines).get(name)

    async def health(self, name: str = "") -> int:
        stub: Any = health_pb2_grpc.HealthStub(self.channel)
        return int((await stub.Check(health_pb2.HealthCheckRequest(service=name))).status)

    async def until_health(self, status: int) -> None:
        stub: Any = health_pb2_grpc.HealthStub(self.channel)
        async for answer in stub.Watch(health_pb2.HealthCheckRequest()):
            if answer.status == status:
                return

    def label(self, **labels: int) -> None:
        """Writes the labels of model m."""
        (self.root / "m/labels.json").write_text(json.dumps(labels))


class Callers:
    """Callers who ask without a pause, and what answered them; a refusal fails the test."""

    def __init__(self, served: Served, fields: Mapping[str, object]) -> None:
        self.answers: list[list[str]] = [[] for _ in range(8)]
        self._served, self._fields = served, fields
        self._is_enough = asyncio.Event()
        self._tasks = [asyncio.ensure_future(self._ask(answers)) for answers in self.answers]

    async def after(self, more: int) -> None:
        """Waits until each was answered so many times more."""
        wanted = [len(answers) + more for answers in self.answers]
        await self._served.until(
            lambda: (
                all(len(answers) >= least for answers, least in zip(self.answers, wanted, strict=True))
                or any(task.done() for task in self._tasks)
            )
        )

    async def end(self) -> set[str]:
        """Lets them get their last answers; returns the versions that answered."""
        self._is_enough.set()
        await asyncio.gather(*self._tasks)
        return {version for answers in self.answers for version in answers}

    async def _ask(self, answers: list[str]) -> None:
        while not self._is_enough.is_set():
            answers.append(await self._served.answering(**self._fields))


class ServingLife(Protocol):
    def __call__(self, models: Mapping[str, str], **settings: object) -> AbstractAsyncContextManager[Served]: ...


class Proven(Protocol):
    def __call__(self, kind: str) -> dict[str, Any]: ...


@pytest.fixture
def serving_life(serving: Serving, png: Callable[[int], bytes]) -> ServingLife:
    """Runs a ready server of `{"NAME/VERSION": kind}`."""

    @asynccontextmanager
    async def serve(models: Mapping[str, str], **settings: object) -> AsyncIterator[Served]:
        async with serving(models, **settings) as service:
            yield Served(service, png(BLACK))

    return serve


@pytest.fixture
def proven() -> Proven:
    """Makes the metadata of a model of a kind: what it makes of a black picture."""

    def encoded(level: int) -> str:
        return base64.b64encode(cv2.imencode(".png", np.full((SIDE, SIDE, 3), level, np.uint8))[1].tobytes()).decode()

    def make(kind: str) -> dict[str, Any]:
        side = {"height": SIDE, "width": SIDE, "channels": 3}
        made = {"identity": BLACK, "invert": 255 - BLACK}[kind]
        fingerprint = {"input": encoded(BLACK), "translation": encoded(made), "every": 1, "max_difference": 2}
        return {"format": "lapis-model/1", "input": side, "output": side, "fingerprint": fingerprint}

    return make


@pytest.fixture
def soundness(monkeypatch: pytest.MonkeyPatch) -> Callable[[], Callable[[bool], None]]:
    """Catches what a load is to be told when its engine breaks; returns the last load's."""
    told: list[Callable[[bool], None]] = []
    load = Loader.load

    async def caught(loader: Loader, file: Any, on_sound: Callable[[bool], None]) -> Any:  # noqa: ANN401
        told.append(on_sound)
        return await load(loader, file, on_sound)

    monkeypatch.setattr(Loader, "load", caught)
    return lambda: told[-1]
