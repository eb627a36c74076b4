"""A bare grpc.aio server that speaks the protocol and does nothing: what any service in Python costs at the least.

    python -m bench.proof.echo --workers 2 --side 256

It answers each picture with the same raw picture, made beforehand; requests are not even parsed.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import multiprocessing
import signal
import socket
import sys
from typing import Any

import grpc
from lapis.v1 import translation_pb2 as pb

SERVICE = pb.DESCRIPTOR.services_by_name["TranslationService"].full_name


class _Handlers(grpc.GenericRpcHandler):
    """Answers Translate with bytes made beforehand, and GetModel, by which callers find out whether they may call."""

    def __init__(self, side: int) -> None:
        picture = pb.Tensor(data=bytes(side * side * 3), height=side, width=side, channels=3)
        translated = pb.TranslateResponse(tensor=picture, format=pb.PICTURE_FORMAT_RAW, height=side, width=side)
        model = pb.Model(name="echo", version="1", state=pb.MODEL_STATE_READY)
        self._methods = {
            f"/{SERVICE}/Translate": _answering(translated.SerializeToString()),
            f"/{SERVICE}/GetModel": _answering(pb.GetModelResponse(model=model).SerializeToString()),
        }

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> Any:  # noqa: ANN401 (so it is in gRPC)
        """Returns the handler of a method."""
        return self._methods.get(handler_call_details.method)


def _answering(answer: bytes) -> Any:  # noqa: ANN401
    async def handle(request: bytes, context: object) -> bytes:  # noqa: ARG001 (gRPC's signature)
        return answer

    handler: Any = grpc.unary_unary_rpc_method_handler(handle)
    return handler


def main() -> None:
    """Serves until SIGTERM."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workers", type=int, default=1, help="processes behind the one port")
    parser.add_argument("--side", type=int, default=256, help="height and width of the picture that is answered")
    arguments = parser.parse_args()
    with socket.socket() as probe:  # held, so that the port stays ours until all workers listen on it
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
        context = multiprocessing.get_context("spawn")
        ready = context.Semaphore(0)
        workers = [
            context.Process(target=_worker, args=(port, arguments.side, ready)) for _ in range(arguments.workers)
        ]
        for worker in workers:
            worker.start()
        for _ in workers:
            ready.acquire()
        print(json.dumps({"event": "serving", "grpc_address": f"127.0.0.1:{port}"}), file=sys.stderr, flush=True)

        def end(*_: object) -> None:
            for worker in workers:
                worker.terminate()

        signal.signal(signal.SIGTERM, end)
        for worker in workers:
            worker.join()


def _worker(port: int, side: int, ready: Any) -> None:  # noqa: ANN401 (multiprocessing's semaphore has no public type)
    asyncio.run(_serve(port, side, ready))


async def _serve(port: int, side: int, ready: Any) -> None:  # noqa: ANN401
    server = grpc.aio.server(options=[("grpc.so_reuseport", 1), ("grpc.max_receive_message_length", -1)])
    server.add_generic_rpc_handlers((_Handlers(side),))
    server.add_insecure_port(f"127.0.0.1:{port}")
    await server.start()
    ready.release()
    await server.wait_for_termination()


if __name__ == "__main__":
    main()
