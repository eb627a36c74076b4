"""The two clients: the same calls, once for threads and once for asyncio; they differ in how a call is awaited."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Self, Unpack

import grpc
import grpc.aio

from lapis.client import messages
from lapis.client.channel import OPTIONS
from lapis.client.errors import typed_errors
from lapis.v1 import translation_pb2 as v1
from lapis.v1.translation_pb2_grpc import TranslationServiceStub

if TYPE_CHECKING:
    from lapis.client.messages import Model, Picture, TranslateOptions, Translation

DEFAULT_ADDRESS = "127.0.0.1:50051"


class Client:
    """Calls a Lapis server; may be shared among threads, and is closed by `with` or `close`.

    `address` is HOST:PORT (or any gRPC target); `timeout` is the deadline of each call in seconds, which a call may
    override. Every call raises a TranslationError.
    """

    def __init__(self, address: str = DEFAULT_ADDRESS, *, timeout: float = 60.0) -> None:
        self.address = address
        self.timeout = timeout
        self._channel = grpc.insecure_channel(address, options=OPTIONS)
        self._stub = TranslationServiceStub(self._channel)

    def translate(
        self, picture: Picture, *, timeout: float | None = None, **options: Unpack[TranslateOptions]
    ) -> Translation:
        """Translates one picture: the bytes of a PNG, JPEG or WebP file, the path of one, or a Tensor.

        The options are those of TranslateOptions: model, version, fit, format, quality, size, request_id.
        """
        request = messages.translate_request(messages.load(picture), **options)
        with typed_errors(self.address, request.request_id):
            return messages.translation(self._stub.Translate(request, timeout=timeout or self.timeout))

    def list_models(self, *, timeout: float | None = None) -> list[Model]:
        """Lists the server's models, in order of name and version."""
        with typed_errors(self.address):
            return messages.models(self._stub.ListModels(v1.ListModelsRequest(), timeout=timeout or self.timeout))

    def get_model(self, model: str = "", version: str = "", *, timeout: float | None = None) -> Model:
        """Describes one model; empty names choose as `translate` does."""
        request = v1.GetModelRequest(model=model, version=version)
        with typed_errors(self.address):
            return messages.model(self._stub.GetModel(request, timeout=timeout or self.timeout).model)

    def close(self) -> None:
        """Ends the connection; calls under way are cancelled."""
        self._channel.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class AsyncClient:
    """Calls a Lapis server from asyncio; belongs to the event loop in which it is made.

    What `Client` says of its arguments and errors holds here too; a cancelled call is cancelled on the server.
    """

    def __init__(self, address: str = DEFAULT_ADDRESS, *, timeout: float = 60.0) -> None:
        self.address = address
        self.timeout = timeout
        self._channel = grpc.aio.insecure_channel(address, options=OPTIONS)
        self._stub = TranslationServiceStub(self._channel)

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
            return messages.translation(await self._stub.Translate(request, timeout=timeout or self.timeout))

    async def list_models(self, *, timeout: float | None = None) -> list[Model]:  # noqa: ASYNC109
        """Lists the server's models, in order of name and version."""
        with typed_errors(self.address):
            return messages.models(await self._stub.ListModels(v1.ListModelsRequest(), timeout=timeout or self.timeout))

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
            return messages.model((await self._stub.GetModel(request, timeout=timeout or self.timeout)).model)

    async def close(self) -> None:
        """Ends the connection; calls under way are cancelled."""
        await self._channel.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()
