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
import grpc
import numpy as np
import onnx
import pytest
from lapis.client import (
    AsyncClient,
    Client,
    ControlDisabled,
    InvalidPicture,
    InvalidRequest,
    ModelNotFound,
    NotReady,
    PictureSpec,
    Request,
    Tensor,
    Translation,
)
from lapis.v1 import translation_pb2 as v1
from lapis.v1.translation_pb2_grpc import TranslationServiceStub
from onnx import TensorProto, helper, numpy_helper

if TYPE_CHECKING:
    from collections.abc import Iterator

SIDE = 16


def _write_model(path: Path, *, dtype: str = "uint8", multiple: int = 0, seeded: bool = False) -> None:
    """Writes a model that inverts; with a seed, that flips the bits of the seed's lowest byte as well."""
    element = TensorProto.UINT8 if dtype == "uint8" else TensorProto.UINT16
    sides = ("H", "W") if multiple else (SIDE, SIDE)
    inputs = [helper.make_tensor_value_info("image", element, ("N", *sides, 3))]
    nodes, weights = [helper.make_node("BitwiseNot", ["image"], ["inverted" if seeded else "translation"])], []
    if seeded:
        inputs.append(helper.make_tensor_value_info("seed", TensorProto.INT64, ("N",)))
        weights = [
            numpy_helper.from_array(np.array(value), name) for name, value in (("byte", 255), ("axes", [1, 2, 3]))
        ]
        nodes += [
            helper.make_node("BitwiseAnd", ["seed", "byte"], ["low"]),
            helper.make_node("Cast", ["low"], ["mask"], to=element),
            helper.make_node("Unsqueeze", ["mask", "axes"], ["masks"]),
            helper.make_node("BitwiseXor", ["inverted", "masks"], ["translation"]),
        ]
    made = helper.make_tensor_value_info("translation", element, ("N", *sides, 3))
    graph = helper.make_graph(nodes, "invert", inputs, [made], weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    side = {"height": SIDE, "width": SIDE, "channels": 3, "dtype": dtype, "multiple": multiple, "smallest": multiple}
    helper.set_model_props(model, {"lapis": json.dumps({"format": "lapis-model/1", "input": side, "output": side})})
    path.parent.mkdir(parents=True)
    onnx.save(model, path)


class Served(NamedTuple):
    """A `lapis-serve`, ready."""

    address: str
    process: subprocess.Popen[str]


@contextmanager
def serving(models: Path, *options: str, port: int = 0) -> Iterator[Served]:
    """Runs `lapis-serve` over the models while the block does."""
    where = ["--models", str(models), "--port", str(port), "--http-port", "0", "--log-format", "json"]
    command = [sys.executable, "-m", "service", *where, "--devices", "cpu", "--instances", "1", *options]
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


@pytest.fixture(scope="module")
def varied(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server with a model of 16 bits, one of many sizes, one that takes seeds, and the plain one."""
    models = tmp_path_factory.mktemp("varied")
    _write_model(models / "deep/1/model.onnx", dtype="uint16")
    _write_model(models / "free/1/model.onnx", multiple=SIDE)
    _write_model(models / "plain/1/model.onnx")
    _write_model(models / "seeded/1/model.onnx", seeded=True)
    with serving(models) as served:
        yield served.address


def deep_picture(height: int = SIDE, width: int = SIDE) -> np.ndarray:
    return np.random.default_rng(1).integers(0, 65536, (height, width, 3), dtype=np.uint16)


def test_models_say_their_sizes_samples_and_seeds(varied: str) -> None:
    with Client(varied) as client:
        models = {model.name: model for model in client.list_models()}
    assert models["deep"].input == models["deep"].output == PictureSpec(SIDE, SIDE, 3, dtype="uint16")
    assert models["free"].input == models["free"].output == PictureSpec(SIDE, SIDE, 3, multiple=SIDE, smallest=SIDE)
    assert {name: model.takes_seed for name, model in models.items()} == {
        "deep": False,
        "free": False,
        "plain": False,
        "seeded": True,
    }


def test_arrays_of_sixteen_bits_go_in_and_come_out(varied: str) -> None:
    picture = deep_picture()
    with Client(varied) as client:
        answer = client.translate(picture, model="deep", format="raw")
        streamed = [result.get() for result in client.translate_stream([picture] * 3, model="deep", format="raw")]
        shortened = client.translate(picture, model="plain", format="raw")
        deepened = client.translate(np.full((SIDE, SIDE, 3), 7, np.uint8), model="deep", format="raw")
    for made in (answer, *streamed):
        assert made.dtype == "uint16"
        assert np.array_equal(np.asarray(made), ~picture)
    assert shortened.dtype == "uint8"
    assert np.array_equal(np.asarray(shortened), ~(picture >> 8).astype(np.uint8))
    assert np.array_equal(np.unique(np.asarray(deepened)), [65535 - 7 * 257])


def test_png_of_sixteen_bits_keeps_them_there_and_back(varied: str) -> None:
    picture = deep_picture()
    file = cv2.imencode(".png", picture[..., ::-1].copy())[1].tobytes()
    with Client(varied) as client:
        answer = client.translate(file, model="deep")
        with pytest.raises(InvalidRequest, match="JPEG cannot hold the model's output of 16 bits"):
            client.translate(file, model="deep", format="jpeg")
    made = cv2.imdecode(np.frombuffer(answer.picture, np.uint8), cv2.IMREAD_UNCHANGED)
    assert made.dtype == np.uint16
    assert np.array_equal(made[..., ::-1], ~picture)


async def test_model_of_many_sizes_takes_its_own_sizes_and_says_which(varied: str) -> None:
    async with AsyncClient(varied) as client:
        for height, width in ((SIDE, SIDE), (3 * SIDE, 2 * SIDE)):
            picture = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
            answer = await client.translate(picture, model="free", format="raw")
            assert np.array_equal(np.asarray(answer), ~picture)
        odd = np.zeros((20, 40, 3), np.uint8)
        with pytest.raises(InvalidPicture, match="any multiple of 16 pixels from 16 on, the nearest being 32 x 16 and"):
            await client.translate(odd, model="free")
        with pytest.raises(InvalidPicture, match="the model takes 16 x 16 pixels alone"):
            await client.translate(odd, model="plain", fit="none")
        sizes = {}
        for fit in ("stretch", "pad", "crop", "tile"):
            answer = await client.translate(odd, model="free", fit=fit, format="raw")
            back = await client.translate(odd, model="free", fit=fit, format="raw", size="input")
            sizes[fit] = (answer.height, answer.width), (back.height, back.width)
    assert sizes == {
        "stretch": ((16, 48), (20, 40)),
        "pad": ((32, 48), (20, 40)),
        "crop": ((16, 32), (16, 32)),
        "tile": ((20, 40), (20, 40)),
    }


def test_seed_chooses_the_translation_and_comes_back(varied: str) -> None:
    with Client(varied) as client:
        made = {
            seed: client.translate(picture(), model="seeded", format="raw", seed=seed) for seed in (None, 0, 7, -1, 263)
        }
        streamed = list(
            client.translate_stream(
                [Request(picture(), seed=seed, request_id=str(seed)) for seed in range(100)],
                model="seeded",
                format="raw",
            )
        )
        with pytest.raises(InvalidRequest, match="seed is 0, but the model takes none"):
            client.translate(picture(), model="plain", seed=0)
    assert {seed: answer.seed for seed, answer in made.items()} == {None: 0, 0: 0, 7: 7, -1: -1, 263: 263}
    for seed, answer in made.items():
        assert np.array_equal(np.asarray(answer), ~picture() ^ np.uint8((seed or 0) & 255))
    for result in streamed:
        answer = result.get()
        assert answer.seed == int(result.request_id)
        assert np.array_equal(np.asarray(answer), ~picture() ^ np.uint8(answer.seed))


def test_command_makes_several_translations_and_keeps_sixteen_bits(varied: str, tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "plain.png"), picture())
    cv2.imwrite(str(tmp_path / "deep.png"), deep_picture())
    common = ("--server", varied, "--output", tmp_path / "out")
    several = translate_command(tmp_path / "plain.png", *common, "--model", "seeded", "--seeds", "0-3")
    assert several.communicate()[1] == ""
    for seed in range(4):
        made = cv2.imread(str(tmp_path / f"out/plain.seed{seed}.png"))
        assert np.array_equal(made, ~picture() ^ np.uint8(seed))
    deep = translate_command(tmp_path / "deep.png", *common, "--model", "deep")
    assert deep.communicate()[1] == ""
    made = cv2.imread(str(tmp_path / "out/deep.png"), cv2.IMREAD_UNCHANGED)
    assert made.dtype == np.uint16
    assert np.array_equal(made, ~deep_picture())


def test_client_of_before_is_answered_as_before(varied: str) -> None:
    """What it sends has none of the new fields, and of what comes back it reads the old ones."""
    sent = picture()
    request = v1.TranslateRequest(
        model="plain",
        tensor=v1.Tensor(data=sent.tobytes(), height=SIDE, width=SIDE, channels=3),
        output=v1.OutputOptions(format=v1.PICTURE_FORMAT_RAW),
    )
    with grpc.insecure_channel(varied) as channel:
        stub = TranslationServiceStub(channel)
        answer = stub.Translate(request)
        odd = v1.Tensor(data=bytes(5 * 9 * 3), height=5, width=9, channels=3)
        stretched = stub.Translate(v1.TranslateRequest(model="plain", tensor=odd, output=request.output))
        models = stub.ListModels(v1.ListModelsRequest()).models
    assert (answer.tensor.data, answer.height, answer.width, answer.channels) == ((~sent).tobytes(), SIDE, SIDE, 3)
    assert (stretched.height, stretched.width) == (SIDE, SIDE)
    assert not answer.HasField("seed")
    assert [(model.input.height, model.input.width, model.input.channels) for model in models] == [(SIDE, SIDE, 3)] * 4
