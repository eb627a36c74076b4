"""A worker without Ray: the same pictures as the service makes, whole files, and failures that stop nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
from onnx import TensorProto

from service.bulk import shards
from service.bulk.errors import BulkError
from service.bulk.settings import BulkSettings
from service.bulk.storage import Storage
from service.bulk.units import Unit
from service.bulk.worker import Report, Worker
from service.errors import StartupError

SIDE = 8


def png(level: int) -> bytes:
    return cv2.imencode(".png", np.full((SIDE, SIDE, 3), level, np.uint8))[1].tobytes()


def level_of(content: bytes) -> int:
    picture = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR)
    assert picture.min() == picture.max()
    return int(picture[0, 0, 0])


@pytest.fixture
def work(write_model: Callable[..., Path], tmp_path: Path) -> Iterator[Callable[..., Report]]:
    """Does a unit with a model that inverts; the input is `in`, the output `out`."""
    write_model(tmp_path / "models" / "invert" / "1" / "model.onnx")
    (tmp_path / "in").mkdir()
    workers = []

    def done(unit: Unit, **chosen: object) -> Report:
        settings = BulkSettings(
            input=str(tmp_path / "in"), output=str(tmp_path / "out"), models=tmp_path / "models", cpus=1, **chosen
        )
        workers.append(Worker(settings, on_gpu=False))
        return workers[-1].work(unit)

    yield done
    for worker in workers:
        worker.close()


def test_pictures_are_translated_under_their_names(work: Callable[..., Report], tmp_path: Path) -> None:
    (tmp_path / "in" / "deep").mkdir()
    names = tuple(f"deep/{level}.png" for level in range(40))
    for level, name in enumerate(names):
        (tmp_path / "in" / name).write_bytes(png(level))
    assert work(Unit(names), window=3) == Report(40, [])
    assert [level_of((tmp_path / "out" / name).read_bytes()) for name in names] == [255 - level for level in range(40)]


def test_picture_that_fails_is_told_of_and_stops_no_other(work: Callable[..., Report], tmp_path: Path) -> None:
    (tmp_path / "in" / "good.png").write_bytes(png(5))
    (tmp_path / "in" / "bad.png").write_bytes(b"no picture")
    (tmp_path / "in" / "large.png").write_bytes(png(5) + bytes(3000))
    report = work(Unit(("bad.png", "good.png", "large.png")), max_picture_bytes=2000)
    assert report.translated == 1
    assert {name: reason.split(";")[0] for name, reason in report.failed} == {
        "bad.png": "the picture is no PNG, JPEG or WebP file by its content",
        "large.png": f"the file has {len(png(5)) + 3000:,} bytes",
    }
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["good.png"]


def test_shard_keeps_what_is_no_picture_and_loses_what_failed(
    work: Callable[..., Report], pack: Callable[..., bytes], tmp_path: Path
) -> None:
    files = {"1.png": png(1), "1.json": b"{}", "2.png": b"no picture", "3.jpg": png(3)}
    (tmp_path / "in" / "0.tar").write_bytes(pack(files))
    report = work(Unit(("0.tar",), is_shard=True), format="webp", quality=100)
    assert (report.translated, [name for name, _ in report.failed]) == (2, ["0.tar/2.png"])
    made = {one.name: one.content for one in shards.read((tmp_path / "out" / "0.tar").read_bytes(), 10**6)}
    assert list(made) == ["1.webp", "1.json", "3.webp"]
    assert made["1.json"] == b"{}"
    assert level_of(made["3.webp"]) == pytest.approx(252, abs=1)


def test_broken_shard_fails_and_writes_nothing(
    work: Callable[..., Report], pack: Callable[..., bytes], tmp_path: Path
) -> None:
    (tmp_path / "in" / "0.tar").write_bytes(pack({"a": bytes(3000)})[:1500])
    report = work(Unit(("0.tar",), is_shard=True))
    assert [name for name, _ in report.failed] == ["0.tar"]
    assert not (tmp_path / "out" / "0.tar").exists()


def test_settings_that_fit_no_picture_end_the_start(
    work: Callable[..., Report], write_model: Callable[..., Path], tmp_path: Path
) -> None:
    write_model(tmp_path / "models" / "deep" / "1" / "model.onnx", "invert", element=TensorProto.UINT16)
    with pytest.raises(StartupError, match="--format jpeg: JPEG cannot hold"):
        work(Unit(()), model="deep", format="jpeg")
    with pytest.raises(StartupError, match="--seed 0: the model deep takes none"):
        work(Unit(()), model="deep", seed=0)


@pytest.mark.parametrize(("model", "told"), [("nobody", "nobody"), ("", "several")])
def test_model_that_is_not_there_ends_the_start(
    work: Callable[..., Report], write_model: Callable[..., Path], tmp_path: Path, model: str, told: str
) -> None:
    write_model(tmp_path / "models" / "other" / "1" / "model.onnx")
    with pytest.raises(StartupError, match=told):
        work(Unit(()), model=model)


def test_output_that_cannot_be_written_ends_the_run(work: Callable[..., Report], tmp_path: Path) -> None:
    (tmp_path / "in" / "a.png").write_bytes(png(5))
    (tmp_path / "out").write_text("a file where the folder should be")
    with pytest.raises(BulkError, match="out"):
        work(Unit(("a.png",)))


@pytest.mark.parametrize(("source", "target"), [("a", "a"), ("a", "a/b"), ("a/b", "a"), ("s3://x/a", "s3://x/a/b")])
def test_output_within_the_input_is_refused(source: str, target: str) -> None:
    with pytest.raises(BulkError, match="neither inside"):
        Storage(source).check_apart(Storage(target))


def test_places_side_by_side_are_apart() -> None:
    Storage("pictures").check_apart(Storage("pictures-translated"))
