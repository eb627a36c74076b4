"""The gRPC server: our service, health and reflection on one port."""

from __future__ import annotations

from typing import TYPE_CHECKING

import grpc
from grpc_health.v1 import health, health_pb2_grpc
from grpc_reflection.v1alpha import reflection
from lapis.v1 import translation_pb2_grpc as pb_grpc

from service.edge.health import Health
from service.edge.interceptor import CallInterceptor
from service.edge.listen import address_of, listen
from service.edge.translation import SERVICE, TranslationServicer
from service.errors import StartupError

if TYPE_CHECKING:
    from service.metrics import Metrics
    from service.registry import Registry
    from service.translator import Translator


class GrpcServer:
    """Answers over gRPC from `start` to `stop`; `health` is to be told of every change in the registry."""

    def __init__(self, registry: Registry, translator: Translator, metrics: Metrics, max_message_bytes: int) -> None:
        self.health = Health(registry)
        self._server = grpc.aio.server(
            interceptors=[CallInterceptor(metrics)],
            options=[
                ("grpc.max_receive_message_length", max_message_bytes),
                # Answers are as large as what was asked for, which admission bounds.
                ("grpc.max_send_message_length", -1),
                # A second server on the port must fail, not share it unnoticed.
                ("grpc.so_reuseport", 0),
            ],
        )
        pb_grpc.add_TranslationServiceServicer_to_server(TranslationServicer(registry, translator), self._server)
        health_pb2_grpc.add_HealthServicer_to_server(self.health, self._server)
        reflection.enable_server_reflection((SERVICE, health.SERVICE_NAME, reflection.SERVICE_NAME), self._server)

    async def start(self, host: str, port: int) -> int:
        """Listen, and return the port, chosen where `port` is 0; raises StartupError."""
        # A plain socket goes first, because it can say why it cannot listen.
        listen(host, port).close()
        try:
            bound = self._server.add_insecure_port(address_of(host, port))
        except RuntimeError as error:
            raise StartupError(f"gRPC cannot listen on {address_of(host, port)}") from error
        await self.health.update()
        await self._server.start()
        return bound

    async def stop(self, grace: float) -> None:
        """Take no more calls and give the last answers `grace` seconds to get through; cut off what is left."""
        self.health.close()
        await self._server.stop(grace)
