"""The client and the command against the real service, over a tiny model that inverts."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
import onnx
import pytest
from lapis.client import Client, InvalidPicture, ModelNotFound, PictureSpec, Tensor
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


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The gRPC address of `lapis-serve`, ready, on a free port."""
    models = tmp_path_factory.mktemp("models")
    _write_model(models / "invert/1/model.onnx")
    options = ["--models", str(models), "--devices", "cpu", "--port", "0", "--http-port", "0", "--log-format", "json"]
    with subprocess.Popen([sys.executable, "-m", "service", *options], stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr
        events = map(json.loads, process.stderr)
        yield next(event["grpc_address"] for event in events if event["event"] == "serving")
        process.terminate()


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
