"""The client and the command against the real service, over a tiny model that inverts."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections import deque
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import cv2
import numpy as np
import onnx
import pytest
from lapis.client import (
    AsyncClient,
    Client,
    ControlDisabled,
    InvalidPicture,
    ModelNotFound,
    NotReady,
    PictureSpec,
    Request,
    Tensor,
    Translation,
)
from onnx import TensorProto, helper

if TYPE_CHECKING:
    from collections.abc import Iterator

SIDE = 16


def _write_model(path: Path) -> None:
    image, translation = (
        helper.make_tensor_value_info(name, TensorProto.UINT8, ("N", SIDE, SIDE, 3))
        for name in ("image", "translation")
    )
    graph = helper.make_graph(
        [helper.make_node("BitwiseNot", ["image"], ["translation"])], "invert", [image], [translation]
    )
    path.parent.mkdir(parents=True)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10), path)


class Served(NamedTuple):
    """A `lapis-serve`, ready."""

    address: str
    process: subprocess.Popen[str]


@contextmanager
def serving(models: Path, *options: str, port: int = 0) -> Iterator[Served]:
    """Runs `lapis-serve` over the models while the block does."""
    fixed = [
        "--models",
        str(models),
        "--devices",
        "cpu",
        "--instances",
        "1",
        "--http-port",
        "0",
        "--log-format",
        "json",
    ]
    command = [sys.executable, "-m", "service", *fixed, "--port", str(port), *options]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr
        events = (json.loads(line) for line in process.stderr if line.startswith("{"))
        address = next(event["grpc_address"] for event in events if event["event"] == "serving")
        # Read on: an unread log would fill the pipe and stop the server.
        reading = threading.Thread(target=lambda: deque(events, maxlen=0))
        reading.start()
        try:
            yield Served(address, process)
        finally:
            process.terminate()
            reading.join()


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository with one model, which inverts."""
    models = tmp_path_factory.mktemp("models")
    _write_model(models / "invert/1/model.onnx")
    return models


@pytest.fixture(scope="module")
def address(models: Path) -> Iterator[str]:
    """The gRPC address of `lapis-serve`, ready, on a free port."""
    with serving(models, "--model-control") as served:
        yield served.address


def picture() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)


def test_raw_pixels_come_back_inverted(address: str) -> None:
    with Client(address) as client:
        answer = client.translate(Tensor(picture().tobytes(), SIDE, SIDE, 3), format="raw")
    assert (answer.height, answer.width, answer.channels, answer.model) == (SIDE, SIDE, 3, "invert")
    assert answer.picture == (~picture()).tobytes()
    assert answer.timings.batch_size >= 1
    assert answer.timings.total > 0


def test_request_is_called_what_the_caller_calls_it(address: str) -> None:
    with Client(address) as client:
        assert client.translate(Tensor(bytes(3), 1, 1, 3), request_id="drawing 7").request_id == "drawing 7"


def test_errors_of_the_service_are_the_client_s_own(address: str) -> None:
    with Client(address) as client:
        with pytest.raises(InvalidPicture):
            client.translate(b"no picture")
        with pytest.raises(ModelNotFound):
            client.translate(b"no picture", model="edges2dogs")


def test_models_of_the_service_are_described(address: str) -> None:
    with Client(address) as client:
        [model] = client.list_models()
    assert (model.name, model.version, model.state) == ("invert", "1", "ready")
    assert model.input == model.output == PictureSpec(SIDE, SIDE, 3)
    assert model.provider == "CPUExecutionProvider"


def test_command_translates_a_folder(address: str, tmp_path: Path) -> None:
    drawings = tmp_path / "drawings"
    drawings.mkdir()
    for name in ("a", "b"):
        cv2.imwrite(str(drawings / f"{name}.png"), picture())
    (drawings / "bad.png").write_bytes(b"no picture")
    ended = subprocess.run(
        [sys.executable, "-m", "lapis", drawings, "--output", tmp_path / "out", "--server", address],
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 1
    assert ended.stderr.startswith(f"{drawings / 'bad.png'}: ")
    assert "(INVALID_PICTURE)" in ended.stderr
    assert ended.stdout.startswith("2 of 3 pictures translated")
    for name in ("a", "b"):
        assert np.array_equal(cv2.imread(str(tmp_path / "out" / f"{name}.png")), ~picture())


def raw(seed: int) -> Tensor:
    pixels = np.random.default_rng(seed).integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)
    return Tensor(pixels.tobytes(), SIDE, SIDE, 3)


def inverted(tensor: Tensor) -> bytes:
    return bytes(255 - value for value in tensor.data)


def test_stream_answers_each_picture_with_its_own(address: str) -> None:
    sent = [Request(raw(number), request_id=f"drawing {number}", priority="low") for number in range(100)]
    with Client(address) as client:
        results = list(client.translate_stream(sent, format="raw", window=64))
    assert len(results) == 100
    for result in results:
        assert isinstance(result.request.picture, Tensor)
        assert result.get().picture == inverted(result.request.picture)


async def test_stream_goes_on_after_a_picture_that_fails(address: str) -> None:
    pictures = [raw(1), b"no picture", raw(2), Request(raw(3), model="edges2dogs"), raw(4)]
    async with AsyncClient(address) as client:
        results = [result async for result in client.translate_stream(pictures, format="raw")]
    failed = {type(result.outcome) for result in results if not isinstance(result.outcome, Translation)}
    assert failed == {InvalidPicture, ModelNotFound}
    assert len(results) == 5


def test_large_picture_goes_through_in_tiles(address: str) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (3 * SIDE, 2 * SIDE + 5, 3), dtype=np.uint8)
    with Client(address) as client:
        answer = client.translate(Tensor(pixels.tobytes(), *pixels.shape), fit="tile", format="raw")
    assert (answer.height, answer.width) == pixels.shape[:2]
    assert answer.tiles > 6
    assert answer.picture == (~pixels).tobytes()


def test_models_are_loaded_and_unloaded(address: str) -> None:
    with Client(address) as client:
        [unloaded] = client.unload_model("invert")
        assert unloaded.state == "unloaded"
        with pytest.raises(NotReady):
            client.translate(raw(0))
        loaded = client.load_model("invert", "1")
        assert (loaded.state, loaded.labels) == ("ready", ("latest",))
        assert client.translate(raw(0), format="raw", version="latest").picture == inverted(raw(0))
        with pytest.raises(ModelNotFound):
            client.load_model("edges2dogs")


def write_pictures(folder: Path, count: int) -> None:
    folder.mkdir()
    for number in range(count):
        pixels = np.random.default_rng(number).integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)
        cv2.imwrite(str(folder / f"{number}.png"), pixels)


def translate_command(*arguments: object) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "lapis", *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@pytest.mark.slow
def test_no_picture_fails_while_two_servers_are_replaced_one_after_the_other(models: Path, tmp_path: Path) -> None:
    count = 800
    write_pictures(tmp_path / "frames", count)
    out = tmp_path / "out"

    def port(served: Served) -> int:
        return int(served.address.rpartition(":")[2])

    def wait_for(pictures: int) -> None:
        while len(list(out.glob("[0-9]*.png"))) < pictures:
            with pytest.raises(subprocess.TimeoutExpired):  # it is at work still
                command.wait(0.01)

    with serving(models) as first, serving(models) as second:
        servers = f"{first.address},{second.address}"
        command = translate_command(tmp_path / "frames", "--output", out, "--server", servers, "--streams", 2)
        wait_for(100)
        first.process.terminate()
        assert first.process.wait(30) == 0
        with serving(models, port=port(first)):
            wait_for(400)
            second.process.terminate()
            assert second.process.wait(30) == 0
            with serving(models, port=port(second)):
                said, complaints = command.communicate(timeout=120)
    assert (command.returncode, complaints) == (0, "")
    assert said.startswith(f"{count} of {count} pictures translated")
    assert len(list(out.iterdir())) == count


def test_server_that_lets_nobody_load_says_so(models: Path) -> None:
    with serving(models) as served, Client(served.address) as client, pytest.raises(ControlDisabled):
        client.load_model("invert")
