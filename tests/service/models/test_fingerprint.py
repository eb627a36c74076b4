"""What export puts into a model file, found true or not by the engine that is to serve it."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import pytest
from onnx import TensorProto

from export.fingerprint import take
from export.metadata import Parity
from service.engine.contract import PictureShape
from service.engine.engine import Engine
from service.engine.options import EngineOptions
from service.engine.placement import Lane, Placement
from service.errors import InferenceFailed, StartupError
from service.models.fingerprint import check
from service.models.metadata import Description, Fingerprint

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from tests.service.conftest import WriteModel

    Pictures = np.ndarray[Any, np.dtype[np.uint8]]

PARITY = Parity(pictures=1, max_difference=1, mean_difference=0.0, provider="CPUExecutionProvider")


def picture(height: int, width: int, channels: int) -> Pictures:
    # Below 248, so that nothing wraps round when a test adds a few levels.
    return np.random.default_rng(0).integers(0, 248, (height, width, channels), dtype=np.uint8)


def inverted(pictures: Pictures, seeds: object = None) -> Pictures:  # noqa: ARG001 (the seam's)
    return ~pictures


def as_before(pictures: Pictures, seeds: object = None) -> Pictures:  # noqa: ARG001
    return pictures


def metadata(given: Pictures, translate: Callable[[Pictures], Pictures]) -> dict[str, Any]:
    side = dict(zip(("height", "width", "channels"), given.shape, strict=True))
    fingerprint = take(translate, given, PARITY).model_dump()
    return {"format": "lapis-model/1", "input": side, "output": side, "fingerprint": fingerprint}


@pytest.mark.parametrize("shape", [(8, 8, 3), (8, 12, 1), (5, 4, 2), (3, 2, 4), (300, 520, 3), (601, 400, 1)])
@pytest.mark.parametrize("max_batch_size", [1, 3])
def test_what_export_saw_is_seen_again(
    tmp_path: Path, write_model: WriteModel, shape: tuple[int, int, int], max_batch_size: int
) -> None:
    def load(translate: Callable[[Pictures], Pictures]) -> Engine:
        described = metadata(picture(*shape), translate)
        path = write_model(tmp_path / "model.onnx", "invert", input_shape=("N", *shape), metadata=described)
        lanes = Placement((Lane("cpu", 1), Lane("cpu", 1)), on_gpu=False)
        return Engine(path, lanes, EngineOptions(max_batch_size=max_batch_size))

    check(load(inverted))
    with pytest.raises(StartupError, match=r"of 255 levels off, .* on average, where 2 are accepted on the CPU"):
        check(load(as_before))


@pytest.mark.parametrize("multiple", [0, 2])
@pytest.mark.parametrize("shape", [(8, 8, 3), (6, 4, 2), (300, 520, 1)])
def test_fingerprint_of_16_bits_is_held_to_16_bits(
    tmp_path: Path, write_model: WriteModel, shape: tuple[int, int, int], multiple: int
) -> None:
    def load(translate: Callable[[Pictures], Pictures]) -> Engine:
        side = dict(zip(("height", "width", "channels"), shape, strict=True)) | {"dtype": "uint16"}
        side |= {"multiple": multiple}
        kept = take(translate, picture(*shape).astype(np.uint16) * 257, PARITY).model_dump()  # type: ignore[arg-type]
        described = {"format": "lapis-model/1", "input": side, "output": side, "fingerprint": kept}
        sizes = ("N", "H", "W", shape[2]) if multiple else ("N", *shape)
        path = tmp_path / "model.onnx"
        write_model(path, "invert", input_shape=sizes, metadata=described, element=TensorProto.UINT16)
        return Engine(path, Placement((Lane("cpu", 1),), on_gpu=False), EngineOptions(max_batch_size=2))

    check(load(inverted))
    check(load(lambda pictures, _: ~pictures - 2 * 257))  # two levels of 255 are accepted, as with 8 bits
    with pytest.raises(StartupError, match=r"up to 2\.004 of 255 levels off"):
        check(load(lambda pictures, _: ~pictures - 2 * 257 - 1))


def test_model_that_takes_seeds_is_given_the_one_that_it_was_exported_with(
    tmp_path: Path, write_model: WriteModel
) -> None:
    def load(seed: int) -> Engine:
        says = metadata(picture(8, 8, 3), lambda pictures, _: pictures + np.uint8(seed)) | {"noise": "seeded"}
        path = write_model(tmp_path / "model.onnx", "tint", metadata=says)
        return Engine(path, Placement((Lane("cpu", 1),), on_gpu=False), EngineOptions(max_batch_size=2))

    check(load(0))
    with pytest.raises(StartupError, match="up to 5 of 255 levels off"):
        check(load(5))


class Machine:
    """An engine whose lanes are off by so many levels, at some pixels or at all."""

    def __init__(
        self, *off: Callable[[Pictures], Pictures], provider: str = "CPUExecutionProvider", **kept: object
    ) -> None:
        given = picture(16, 16, 3)
        self.input = self.output = PictureShape(16, 16, 3)
        self.description = Description(
            fingerprint=Fingerprint.model_validate(take(as_before, given, PARITY).model_dump() | kept)
        )
        self.provider, self.lanes, self.buckets, self.takes_seed = provider, len(off), (1, 4), False
        self.ran: list[tuple[int, int]] = []
        self._off = off

    def prepare(self, lane: int, rows: Sequence[Pictures], bucket: int, seeds: Sequence[int]) -> Sequence[Pictures]:  # noqa: ARG002
        assert len(rows) == bucket
        return rows

    def run(self, lane: int, prepared: Sequence[Pictures]) -> list[Pictures]:
        self.ran.append((lane, len(prepared)))
        return [self._off[lane](row) for row in prepared]


def brighter(by: int) -> Callable[[Pictures], Pictures]:
    return lambda row: row + np.uint8(by)


def spotted(by: int) -> Callable[[Pictures], Pictures]:
    """Is off at one value only."""

    def run(row: Pictures) -> Pictures:
        made = row.copy()
        made[3, 4, 1] += by
        return made

    return run


def checked(machine: Machine) -> None:
    check(machine)  # type: ignore[arg-type]


def test_every_lane_is_asked_and_the_largest_batch() -> None:
    machine = Machine(brighter(0), brighter(0))
    checked(machine)
    assert machine.ran == [(0, 1), (1, 1), (0, 4)]
    with pytest.raises(StartupError, match="up to 3 of 255 levels off"):
        checked(Machine(brighter(0), spotted(3)))


def second_row_is_wrong() -> Callable[[Pictures], Pictures]:
    runs = iter([0, 0, 5, 0, 0])
    return lambda row: row + np.uint8(next(runs))


def test_every_row_of_the_batch_is_compared() -> None:
    with pytest.raises(StartupError, match="up to 5 of 255"):
        checked(Machine(second_row_is_wrong()))


@pytest.mark.parametrize("off", [brighter(2), spotted(2)])
def test_another_processor_may_round_otherwise(off: Callable[[Pictures], Pictures]) -> None:
    checked(Machine(off))


@pytest.mark.parametrize("off", [brighter(1), spotted(16)])
def test_gpu_may_be_further_off_here_and_there(off: Callable[[Pictures], Pictures]) -> None:
    checked(Machine(off, provider="CUDAExecutionProvider"))


@pytest.mark.parametrize(("off", "levels"), [(brighter(2), 2), (spotted(17), 17)])
def test_gpu_that_is_off_everywhere_or_far_off_is_refused(off: Callable[[Pictures], Pictures], levels: int) -> None:
    with pytest.raises(StartupError, match=f"up to {levels} of 255"):
        checked(Machine(off, provider="CUDAExecutionProvider"))


def test_model_without_a_fingerprint_is_not_run() -> None:
    machine = Machine(spotted(99))
    machine.description = Description()
    checked(machine)
    assert machine.ran == []


def test_model_that_fails_on_its_own_picture_is_refused() -> None:
    def fail(_: Pictures) -> Pictures:
        raise InferenceFailed("a fault")

    with pytest.raises(StartupError, match="fails on the picture that it was exported with"):
        checked(Machine(fail))


def png(*shape: int, dtype: type = np.uint8) -> str:
    return base64.b64encode(cv2.imencode(".png", np.zeros(shape, dtype))[1].tobytes()).decode()


@pytest.mark.parametrize(
    ("kept", "message"),
    [
        ({"input": ""}, "fingerprint.input is no picture of bytes"),
        ({"input": "no base64!"}, "fingerprint.input is no picture of bytes"),
        ({"translation": base64.b64encode(b"no picture").decode()}, "fingerprint.translation is no picture of bytes"),
        ({"input": png(16, 16, 3, dtype=np.uint16)}, "fingerprint.input is no picture of bytes"),
        (
            {"input": png(16, 16)},
            r"fingerprint.input is a picture of \[16, 16\] bytes; expected a PNG file of \[16, 16, 3\]",
        ),
        ({"translation": png(8, 16, 3)}, r"fingerprint.translation is a picture of \[8, 16, 3\] bytes"),
        ({"every": 3}, r"expected a PNG file of \[6, 6, 3\]"),
    ],
)
def test_pictures_that_cannot_be_are_refused(kept: dict[str, Any], message: str) -> None:
    with pytest.raises(StartupError, match=f"metadata 'lapis': .*{message}|{message}"):
        checked(Machine(brighter(0), **kept))
