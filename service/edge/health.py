"""grpc.health.v1: "" and TranslationService serve when every model does, each model's name when that model does."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from grpc_health.v1 import health, health_pb2

from service.edge.translation import SERVICE

if TYPE_CHECKING:
    import grpc

    from service.registry import Registry

    Context = grpc.aio.ServicerContext[Any, Any]


class Health(health.aio.HealthServicer):
    """The library's servicer, fed from the registry, whose watches end with the server."""

    def __init__(self, registry: Registry) -> None:
        super().__init__()
        self._registry = registry
        self._closed = asyncio.Event()

    async def update(self) -> None:
        """Tell callers how the models stand."""
        for service in ("", SERVICE):
            await self._tell(service, ready=self._registry.is_ready)
        for name in dict.fromkeys(model.name for model in self._registry.models):
            await self._tell(name, ready=any(version.is_ready for version in self._registry.versions(name)))

    def close(self) -> None:
        """End all watches, which would otherwise hold up the server's end."""
        self._closed.set()

    async def Watch(self, request: health_pb2.HealthCheckRequest, context: Context) -> None:
        """Tell the status of a service and each change of it, until the caller leaves or the server ends."""
        async with asyncio.TaskGroup() as tasks:
            watch = tasks.create_task(super().Watch(request, context))
            await self._closed.wait()
            watch.cancel()

    async def _tell(self, service: str, *, ready: bool) -> None:
        serving = health_pb2.HealthCheckResponse
        await self.set(service, serving.SERVING if ready else serving.NOT_SERVING)
