"""grpc.health.v1: "" and TranslationService serve when every model does, each model's name when that model does.

Three names are for whoever keeps the server, as Kubernetes does with its probes; a model of such a name has none of its
own here. LIVENESS serves as long as the server answers, while it loads and drains, too; READINESS is the same as "";
STARTUP serves from the moment on at which all models were ready for the first time.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from service.edge.connections import OpenCalls
from service.edge.translation import SERVICE

if TYPE_CHECKING:
    from service.models.registry import Registry

    Context = grpc.aio.ServicerContext[Any, Any]

LIVENESS, READINESS, STARTUP = "liveness", "readiness", "startup"

_Response = health_pb2.HealthCheckResponse


class Health(health_pb2_grpc.HealthServicer):
    """Tells how the models stand in the registry, as of the last `update`.

    The library's own servicer (grpcio-health-checking 1.76) forgets whoever else watches a service when one of its
    watchers leaves, and callers who balance by health would then stay with a server that is going down.
    """

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._has_started = False
        self._serving = self._statuses()
        self._changed = asyncio.Event()
        self._watches = OpenCalls()
        self._is_closed = False

    async def update(self) -> None:
        """Tell callers how the models stand; a model that is gone is a service that is not known."""
        self._has_started = self._has_started or self._registry.is_ready
        self._serving = self._statuses()
        self._wake()

    async def close(self) -> None:
        """End all watches, which would otherwise hold up the server's end, once each was told the latest."""
        self._is_closed = True
        self._wake()
        await self._watches.until_none()

    async def Check(self, request: health_pb2.HealthCheckRequest, context: Context) -> health_pb2.HealthCheckResponse:
        """Tell the status of a service."""
        if request.service not in self._serving:
            await context.abort(grpc.StatusCode.NOT_FOUND, "there is no such service or model")
        return _Response(status=self._status(request.service))

    async def Watch(self, request: health_pb2.HealthCheckRequest, context: Context) -> None:
        """Tell the status of a service and each change of it, until the caller leaves or the server ends."""
        self._watches.enter(context)
        told = None
        while True:
            # Taken before the status: what changes while it is being written is then seen at once.
            changed = self._changed
            if (status := self._status(request.service)) != told:
                await context.write(_Response(status=status))
                told = status
            elif self._is_closed:
                return
            else:
                await changed.wait()

    def _statuses(self) -> dict[str, bool]:
        models = {name: self._registry.serves(name) for name in self._registry.names}
        whole = dict.fromkeys(("", SERVICE, READINESS), self._registry.is_ready)
        return {**models, **whole, LIVENESS: True, STARTUP: self._has_started}

    def _status(self, service: str) -> int:
        serving = self._serving.get(service)
        if serving is None:
            return _Response.SERVICE_UNKNOWN
        return _Response.SERVING if serving else _Response.NOT_SERVING

    def _wake(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()
