"""HTTP for operators: /metrics, /livez, /readyz and /startupz."""

from __future__ import annotations

import asyncio
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import uvicorn
from prometheus_client.exposition import choose_encoder
from starlette.applications import Starlette
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from prometheus_client import CollectorRegistry
    from starlette.requests import Request

    from service.models.registry import ModelVersion, Registry


class HttpServer(uvicorn.Server):
    """Uvicorn without its signal handlers: when the process ends is not for one of its servers to say."""

    def __init__(self, app: Starlette) -> None:
        # A client that does not read must not hold up the end.
        quiet = uvicorn.Config(app, lifespan="off", log_config=None, access_log=False, timeout_graceful_shutdown=1)
        super().__init__(quiet)

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave the signals alone."""
        yield


def build_app(models: Registry, metrics: CollectorRegistry, has_started: Callable[[], bool]) -> Starlette:
    """Return the app of a server; /readyz answers 200 when every model is ready and 503 otherwise."""
    return app_of(lambda: readiness(models), metrics, has_started)


def app_of(
    readiness: Callable[[], dict[str, Any]], metrics: CollectorRegistry, has_started: Callable[[], bool]
) -> Starlette:
    """Return the app; /readyz answers with `readiness`, and with 200 or 503 as its field `ready` says.

    /startupz answers 200 once `has_started`, which is from the moment on at which the server was ready first.
    """

    async def livez(_: Request) -> Response:
        return PlainTextResponse("ok")

    async def readyz(_: Request) -> Response:
        content = readiness()
        return JSONResponse(content, status_code=200 if content["ready"] else 503)

    async def startupz(_: Request) -> Response:
        return PlainTextResponse("ok") if has_started() else PlainTextResponse("starting", status_code=503)

    async def exposition(request: Request) -> Response:
        encoder, content_type = choose_encoder(request.headers.get("accept", ""))
        # In a thread: a GPU's driver takes its time to answer, and callers must not wait for it.
        text = await asyncio.to_thread(encoder, metrics)
        return Response(text, headers={"content-type": content_type})

    answers = {"/livez": livez, "/readyz": readyz, "/startupz": startupz, "/metrics": exposition}
    return Starlette(routes=[Route(path, answer) for path, answer in answers.items()])


def readiness(models: Registry) -> dict[str, Any]:
    """Return what /readyz tells of a server, made for JSON."""
    return {"ready": models.is_ready, "models": [_state(model) for model in models.models]}


def _state(model: ModelVersion) -> dict[str, str]:
    return {
        "name": model.name,
        "version": str(model.version),
        "state": model.state.value,
        "provider": model.loaded.engine.provider if model.loaded else "",
        "reason": model.failure,
    }
