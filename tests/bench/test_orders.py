from __future__ import annotations

import random
from collections import Counter
from pathlib import Path

import cv2
import numpy as np
import pytest
from lapis.v1 import translation_pb2 as pb

from bench.errors import BenchError
from bench.orders import Order, OrderBook
from bench.settings import BenchSettings


def drawn(number: int, **settings: object) -> list[Order]:
    book = OrderBook(BenchSettings(**settings), random.Random(0))
    return [book.draw() for _ in range(number)]


def requests(number: int, **settings: object) -> list[pb.TranslateRequest]:
    return [pb.TranslateRequest.FromString(order.request) for order in drawn(number, **settings)]


def test_request_says_what_the_settings_say() -> None:
    (request,) = requests(
        1, model="m", model_version="2", fit="tile", answer="jpeg", answer_size="input", priority="low", variety=1
    )
    assert (request.model, request.version) == ("m", "2")
    assert (request.fit, request.priority) == (pb.FIT_TILE, pb.PRIORITY_LOW)
    assert (request.output.format, request.output.size) == (pb.PICTURE_FORMAT_JPEG, pb.OUTPUT_SIZE_INPUT)
    assert cv2.imdecode(np.frombuffer(request.encoded, np.uint8), cv2.IMREAD_COLOR).shape == (256, 256, 3)


@pytest.mark.parametrize(("kind", "magic"), [("png", b"\x89PNG"), ("jpeg", b"\xff\xd8"), ("webp", b"RIFF")])
def test_pictures_have_the_format_and_size_asked_for(kind: str, magic: bytes) -> None:
    (request,) = requests(1, pictures=f"{kind}:24x40", variety=1)
    assert request.encoded.startswith(magic)
    assert cv2.imdecode(np.frombuffer(request.encoded, np.uint8), cv2.IMREAD_COLOR).shape == (24, 40, 3)


def test_raw_pictures_are_tensors() -> None:
    (request,) = requests(1, pictures="raw:24x40", answer="same", variety=1)
    assert (request.tensor.height, request.tensor.width, request.tensor.channels) == (24, 40, 3)
    assert len(request.tensor.data) == 24 * 40 * 3
    assert request.output.format == pb.PICTURE_FORMAT_RAW


def test_all_is_mixed_by_weight() -> None:
    orders = drawn(
        2000,
        priority="high=0.2,low=0.8",
        deadline="1=0.5,none=0.5",
        pictures="png:8=0.3,raw:8=0.7",
        cancel=0.4,
        variety=2,
    )
    kinds = Counter(pb.TranslateRequest.FromString(order.request).WhichOneof("picture") for order in orders)
    assert kinds["tensor"] / 2000 == pytest.approx(0.7, abs=0.05)
    assert sum(order.priority == "high" for order in orders) / 2000 == pytest.approx(0.2, abs=0.05)
    assert sum(order.deadline == 1 for order in orders) / 2000 == pytest.approx(0.5, abs=0.05)
    assert sum(order.is_cancelling for order in orders) / 2000 == pytest.approx(0.4, abs=0.05)
    assert all(order.cancel_after <= 0.2 for order in orders if order.is_cancelling)


def test_pictures_differ_as_far_as_asked() -> None:
    assert len({request.encoded for request in requests(200, variety=3)}) == 3


def test_the_same_seed_asks_the_same() -> None:
    assert drawn(20, seed=1, cancel=0.5) == drawn(20, seed=1, cancel=0.5)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for number, name in enumerate(("a.png", "b.jpg", "c.webp")):
        cv2.imwrite(str(tmp_path / name), np.full((30 + number, 20, 3), 90, np.uint8))
    (tmp_path / "notes.txt").write_text("no picture")
    return tmp_path


def test_folder_s_files_are_sent_as_they_are(folder: Path) -> None:
    sent = {request.encoded for request in requests(50, folder=folder)}
    assert sent == {path.read_bytes() for path in folder.iterdir() if path.suffix != ".txt"}


def test_folder_s_pictures_are_sent_in_another_form_where_asked(folder: Path) -> None:
    (request,) = requests(1, folder=folder, pictures="raw:16")
    assert request.tensor.data == bytes([90]) * 16 * 16 * 3


def test_folder_without_pictures_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BenchError, match=r"no \.png"):
        drawn(1, folder=tmp_path)
    with pytest.raises(BenchError, match="no such folder"):
        drawn(1, folder=tmp_path / "missing")
    (tmp_path / "broken.png").write_bytes(b"not one")
    with pytest.raises(BenchError, match=r"broken\.png: not a picture"):
        drawn(1, folder=tmp_path, pictures="png:8")
