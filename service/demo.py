"""`make demo`: serves the bundled model, sends it drawings that it never saw, and shows what came back."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, NamedTuple

import cv2
import numpy as np
from lapis.client import Client, TranslationError
from lapis.command import CommandSettings, run
from pydantic import Field
from pydantic_settings import SettingsConfigDict

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

GAP = 16  # white pixels around each picture


class DemoSettings(CommandSettings):
    """Serves the bundled model, translates its example drawings and stays up until Ctrl-C."""

    model_config = SettingsConfigDict(env_prefix="LAPIS_DEMO_")

    models: Path = Field(Path("models"), description="model repository")
    examples: Path = Field(Path("models/edges2emoji/1/examples"), description="folder of drawings to translate (.png)")
    picture: Path = Field(Path("work/demo/before-after.png"), description="picture to write: drawings, translations")
    once: bool = Field(False, description="stop once the picture is written")


class DemoError(Exception):
    """The demo cannot go on; the message says why."""


class Addresses(NamedTuple):
    """Where the server listens, as HOST:PORT."""

    grpc: str
    http: str


def main() -> None:
    """Runs the demo."""
    run("lapis-demo", DemoSettings, demo, (DemoError, TranslationError, OSError))


def demo(settings: DemoSettings) -> int:
    """Translates the examples and prints where everything is; returns the exit code."""
    drawings = sorted(settings.examples.glob("*.png"))
    if not drawings:
        raise DemoError(f"{settings.examples}: no .png here to translate")
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    began = time.perf_counter()
    try:
        with server(settings.models) as addresses:
            ready = time.perf_counter() - began
            write_before_after(settings.picture, addresses.grpc, drawings)
            print(
                f"ready after    {ready:.1f} s\n"
                f"gRPC           {addresses.grpc}\n"
                f"metrics        http://{addresses.http}/metrics\n"
                f"before, after  {settings.picture}",
                flush=True,
            )
            if not settings.once:
                command = os.path.relpath(Path(sys.executable).with_name("lapis-translate"))
                print(f"try            {command} YOUR.png --server {addresses.grpc} --output OUT.png", flush=True)
                print("Ctrl-C stops.", flush=True)
                signal.pause()
    except KeyboardInterrupt:
        print("\nstopped")
    return 0


@contextmanager
def server(models: Path) -> Iterator[Addresses]:
    """Runs `lapis-serve` while the block runs; gives its addresses once it is ready. Raises DemoError if it ends."""
    command = [sys.executable, "-m", "service", "--models", str(models), "--log-format", "json"]
    command += ["--port", str(free_port(50051)), "--http-port", str(free_port(8080))]
    # In a session of its own: Ctrl-C is for the demo, which then tells the server.
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, start_new_session=True)  # noqa: S603
    assert process.stderr is not None  # noqa: S101 (asked for above)
    try:
        addresses = wait_until_ready(process.stderr)
        # Read on: an unread log would fill the pipe and stop the server.
        threading.Thread(target=show_trouble, args=(process.stderr,), daemon=True).start()
        yield addresses
    finally:
        process.terminate()
        process.wait()


def wait_until_ready(log: IO[str]) -> Addresses:
    """Reads the server's log until it serves. Raises DemoError with what it said last if it ended before that."""
    line = ""
    for line in log:
        if not line.startswith("{"):
            continue
        event = json.loads(line)
        if event["event"] == "serving":
            return Addresses(event["grpc_address"], event["http_address"])
    raise DemoError(f"the server ended: {line.strip()}")


def show_trouble(log: IO[str]) -> None:
    """Passes on what the server's log says, but for the lines that tell that all is well."""
    for line in log:
        if '"level": "info"' not in line:
            sys.stderr.write(line)


def free_port(preferred: int) -> int:
    """Returns the port, or 0 (any) where something else has it."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", preferred))
        except OSError:
            return 0
    return preferred


def write_before_after(path: Path, address: str, drawings: list[Path]) -> None:
    """Writes a picture with a column for each drawing: the drawing above, its translation below."""
    with Client(address) as client:
        columns = [
            np.vstack([framed(drawing.read_bytes()), framed(client.translate(drawing, size="input").picture)])
            for drawing in drawings
        ]
    path.parent.mkdir(parents=True, exist_ok=True)
    _, png = cv2.imencode(".png", np.hstack(columns))
    path.write_bytes(png.tobytes())


def framed(png: bytes) -> NDArray[np.uint8]:
    """Decodes a picture and puts white around it: uint8 [H, W, 3] in OpenCV's order."""
    picture = cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_COLOR)
    if picture is None:
        raise DemoError("an example is not a picture")
    return np.pad(picture, ((GAP, GAP), (GAP, GAP), (0, 0)), constant_values=255).astype(np.uint8)


if __name__ == "__main__":
    main()
