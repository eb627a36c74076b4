"""The two clients: the same calls, once for threads and once for asyncio; they differ in how a call is awaited."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Self, Unpack

from lapis.client import answers, messages
from lapis.client.address import DEFAULT_ADDRESS
from lapis.client.asynchronous import AsyncStream
from lapis.client.channel import Connection
from lapis.client.errors import typed_errors
from lapis.client.stream import DEFAULT_WINDOW, Book
from lapis.client.threaded import ThreadedStream
from lapis.v1 import repository_pb2 as repository
from lapis.v1 import translation_pb2 as v1
from lapis.v1.repository_pb2_grpc import RepositoryServiceStub
from lapis.v1.translation_pb2_grpc import TranslationServiceStub

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterable, Iterator

    from lapis.client.answers import Model, Translation
    from lapis.client.asynchronous import Requests
    from lapis.client.channel import ConnectOptions
    from lapis.client.messages import Picture, TranslateOptions
    from lapis.client.stream import Request, StreamResult

_LOADING = 600.0  # seconds that a model may take to be loaded: an engine may have to be built for it


class Client:
    """Calls Lapis servers; may be shared among threads, and is closed by `with` or `close`.

    `address` is HOST:PORT, several of them with commas between, or any gRPC target (`dns:///lapis:50051`); calls go
    round all servers found there that are healthy. `timeout` is the deadline of each call in seconds, which a call may
    override. The options are those of ConnectOptions: balancing, health_service, credentials, token, metadata. Every
    call raises a TranslationError.
    """

    def __init__(
        self, address: str = DEFAULT_ADDRESS, *, timeout: float = 60.0, **options: Unpack[ConnectOptions]
    ) -> None:
        self.address = address
        self.timeout = timeout
        connection = Connection(address, **options)
        self._metadata = connection.call_metadata
        # Models are asked about, and loaded, where no picture would be taken: on a channel without health checks.
        self._channel, self._unchecked = connection.open(checked=True), connection.open(checked=False)
        self._pictures = TranslationServiceStub(self._channel)
        self._models = TranslationServiceStub(self._unchecked)
        self._repository = RepositoryServiceStub(self._unchecked)

    def translate(
        self, picture: Picture, *, timeout: float | None = None, **options: Unpack[TranslateOptions]
    ) -> Translation:
        """Translates one picture: the bytes of a PNG, JPEG or WebP file, the path of one, a NumPy array or a Tensor.

        The options are those of TranslateOptions: model, version, fit, format, quality, size, priority, request_id,
        seed. Raises ValueError for one that cannot be.
        """
        request = messages.translate_request(messages.load(picture), **options)
        with typed_errors(self.address, request.request_id):
            response = self._pictures.Translate(request, timeout=timeout or self.timeout, metadata=self._metadata)
        return answers.translation(response)

    def translate_stream(
        self,
        requests: Iterable[Picture | Request],
        *,
        timeout: float | None = None,
        deadline: float | None = None,
        window: int = DEFAULT_WINDOW,
        **options: Unpack[TranslateOptions],
    ) -> Iterator[StreamResult]:
        """Translates many pictures on one call; yields results as they are ready, not in the order of the requests.

        Takes from `requests`, in another thread, only as much as keeps `window` pictures in hand, from the reading of a
        picture to the yielding of its result: who reads slowly is sent no more. A picture that fails, or whose file
        cannot be read, is a result with an error. `timeout` is each picture's, from its arrival at the server;
        `deadline` that of the whole call, none by default. Nothing is sent before the first result is asked for. Raises
        a TranslationError when the call itself fails: what has no result by then was perhaps not translated, and may be
        sent again.
        """
        book = Book(self.address, window, timeout or self.timeout, options)
        stream = ThreadedStream(self.address, requests, book)
        return stream.results(
            lambda sent: self._pictures.TranslateStream(sent, timeout=deadline, metadata=self._metadata)
        )

    def list_models(self, *, timeout: float | None = None) -> list[Model]:
        """Lists the server's models, in order of name and version."""
        request = v1.ListModelsRequest()
        with typed_errors(self.address):
            response = self._models.ListModels(request, timeout=timeout or self.timeout, metadata=self._metadata)
        return answers.models(response)

    def get_model(self, model: str = "", version: str = "", *, timeout: float | None = None) -> Model:
        """Describes one model; empty names choose as `translate` does."""
        request = v1.GetModelRequest(model=model, version=version)
        with typed_errors(self.address):
            response = self._models.GetModel(request, timeout=timeout or self.timeout, metadata=self._metadata)
        return answers.model(response.model)

    def load_model(self, model: str, version: str = "", *, timeout: float = _LOADING) -> Model:
        """Loads a version, or loads it anew where its file has changed; returns when it takes pictures.

        `version` is a number or a label, the highest in the repository where empty. One server is asked: where there
        are several, ask each at its own address. Raises ControlDisabled, ModelNotFound or ModelUnusable.
        """
        request = repository.LoadModelRequest(model=model, version=version)
        with typed_errors(self.address):
            response = self._repository.LoadModel(request, timeout=timeout, metadata=self._metadata)
        return answers.model(response.model)

    def unload_model(self, model: str, version: str = "", *, timeout: float | None = None) -> list[Model]:
        """Unloads a version, every one where empty, when what it has in hand is done; returns what was unloaded.

        One server is asked, as by `load_model`. Raises ControlDisabled or ModelNotFound.
        """
        request = repository.UnloadModelRequest(model=model, version=version)
        with typed_errors(self.address):
            response = self._repository.UnloadModel(request, timeout=timeout or self.timeout, metadata=self._metadata)
        return answers.models(response)

    def close(self) -> None:
        """Ends the connections; calls under way are cancelled."""
        self._channel.close()
        self._unchecked.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class AsyncClient:
    """Calls Lapis servers from asyncio; belongs to the event loop in which it is made.

    What `Client` says of its arguments and errors holds here too; a cancelled call is cancelled on the server.
    """

    def __init__(
        self, address: str = DEFAULT_ADDRESS, *, timeout: float = 60.0, **options: Unpack[ConnectOptions]
    ) -> None:
        self.address = address
        self.timeout = timeout
        connection = Connection(address, **options)
        self._metadata = connection.call_metadata
        self._channel, self._unchecked = connection.open_async(checked=True), connection.open_async(checked=False)
        self._pictures = TranslationServiceStub(self._channel)
        self._models = TranslationServiceStub(self._unchecked)
        self._repository = RepositoryServiceStub(self._unchecked)

    async def translate(
        self,
        picture: Picture,
        *,
        timeout: float | None = None,  # noqa: ASYNC109 (the server learns of it)
        **options: Unpack[TranslateOptions],
    ) -> Translation:
        """Translates one picture, as `Client.translate` does; a file is read in a thread."""
        request = messages.translate_request(await asyncio.to_thread(messages.load, picture), **options)
        with typed_errors(self.address, request.request_id):
            response = await self._pictures.Translate(request, timeout=timeout or self.timeout, metadata=self._metadata)
        return answers.translation(response)

    def translate_stream(
        self,
        requests: Requests,
        *,
        timeout: float | None = None,
        deadline: float | None = None,
        window: int = DEFAULT_WINDOW,
        **options: Unpack[TranslateOptions],
    ) -> AsyncGenerator[StreamResult]:
        """Translates many pictures on one call, as `Client.translate_stream` does; `requests` may be async or not.

        The call is cancelled when the generator is closed: put it into `contextlib.aclosing` where you may leave early.
        """
        book = Book(self.address, window, timeout or self.timeout, options)
        stream = AsyncStream(self.address, requests, book)
        return stream.results(lambda: self._pictures.TranslateStream(timeout=deadline, metadata=self._metadata))

    async def list_models(self, *, timeout: float | None = None) -> list[Model]:  # noqa: ASYNC109
        """Lists the server's models, in order of name and version."""
        request = v1.ListModelsRequest()
        with typed_errors(self.address):
            response = await self._models.ListModels(request, timeout=timeout or self.timeout, metadata=self._metadata)
        return answers.models(response)

    async def get_model(
        self,
        model: str = "",
        version: str = "",
        *,
        timeout: float | None = None,  # noqa: ASYNC109
    ) -> Model:
        """Describes one model; empty names choose as `translate` does."""
        request = v1.GetModelRequest(model=model, version=version)
        with typed_errors(self.address):
            response = await self._models.GetModel(request, timeout=timeout or self.timeout, metadata=self._metadata)
        return answers.model(response.model)

    async def load_model(self, model: str, version: str = "", *, timeout: float = _LOADING) -> Model:  # noqa: ASYNC109
        """Loads a version of a model, as `Client.load_model` does."""
        request = repository.LoadModelRequest(model=model, version=version)
        with typed_errors(self.address):
            response = await self._repository.LoadModel(request, timeout=timeout, metadata=self._metadata)
        return answers.model(response.model)

    async def unload_model(
        self,
        model: str,
        version: str = "",
        *,
        timeout: float | None = None,  # noqa: ASYNC109
    ) -> list[Model]:
        """Unloads a version of a model, as `Client.unload_model` does."""
        request = repository.UnloadModelRequest(model=model, version=version)
        with typed_errors(self.address):
            response = await self._repository.UnloadModel(
                request, timeout=timeout or self.timeout, metadata=self._metadata
            )
        return answers.models(response)

    async def close(self) -> None:
        """Ends the connections; calls under way are cancelled."""
        await self._channel.close()
        await self._unchecked.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()
