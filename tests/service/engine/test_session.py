from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import onnxruntime
import pytest
from onnx import TensorProto

from service.engine.contract import PictureShape
from service.engine.session import DeviceUnavailable, Engine
from service.errors import InferenceFailed, StartupError

if TYPE_CHECKING:
    from pathlib import Path

    from tests.service.conftest import WriteModel


def grey(level: int) -> np.ndarray[Any, np.dtype[np.uint8]]:
    return np.full((8, 8, 3), level, np.uint8)


def cuda_runs(path: Path) -> bool:
    return Engine(path, "auto", threads=1).provider == "CUDAExecutionProvider"


def test_engine_tells_what_it_loaded(tmp_path: Path, write_model: WriteModel) -> None:
    shape = {"height": 8, "width": 8, "channels": 3}
    metadata = {"format": "lapis-model/1", "input": shape, "output": shape}
    engine = Engine(write_model(tmp_path / "model.onnx", metadata=metadata), "cpu", threads=1)
    assert engine.input == engine.output == PictureShape(8, 8, 3)
    assert engine.provider == "CPUExecutionProvider"
    assert not engine.on_gpu
    assert '"lapis-model/1"' in engine.metadata_json


@pytest.mark.parametrize("levels", [[7], [0, 7, 255]])
def test_every_picture_gets_its_own_translation(tmp_path: Path, write_model: WriteModel, levels: list[int]) -> None:
    engine = Engine(write_model(tmp_path / "model.onnx", "invert"), "cpu", threads=1)
    translations = engine.infer([grey(level) for level in levels])
    for level, translation in zip(levels, translations, strict=True):
        np.testing.assert_array_equal(translation, grey(255 - level))


def test_failing_run_is_an_error_without_onnx_runtimes_words(
    tmp_path: Path, write_model: WriteModel, capfd: pytest.CaptureFixture[str]
) -> None:
    engine = Engine(write_model(tmp_path / "model.onnx", "picky"), "cpu", threads=1)
    with pytest.raises(InferenceFailed, match="the engine failed on this picture"):
        engine.infer([grey(0), grey(255)])
    np.testing.assert_array_equal(engine.infer([grey(9)])[0], grey(9))
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"image": "pixels"}, "the graph's inputs are pixels; expected one called image"),
        ({"translation": "out"}, "the graph's outputs are out; expected one called translation"),
        (
            {"element": TensorProto.INT64, "kind": "identity"},
            r"image is tensor\(int64\); expected tensor\(uint8\)",
        ),
        ({"input_shape": (1, 8, 8, 3)}, r"input image is \[1, 8, 8, 3\]; expected \[N, height"),
        ({"input_shape": ("N", "H", "W", 3)}, r"input image is \[N, H, W, 3\]; expected \[N, height"),
        ({"input_shape": ("N", 8, 8)}, r"input image is \[N, 8, 8\]; expected \[N, height"),
        ({"metadata": "{"}, "metadata 'lapis': Invalid JSON"),
        ({"metadata": {"format": "lapis-model/9"}}, "metadata 'lapis': format: Input should be 'lapis-model/1'"),
        (
            {
                "metadata": {
                    "format": "lapis-model/1",
                    "input": {"height": 8, "width": 9, "channels": 3},
                    "output": {"height": 8, "width": 8, "channels": 3},
                }
            },
            "metadata 'lapis': input is described as height=8 width=9 channels=3, but the graph's is",
        ),
    ],
)
def test_model_outside_the_contract_is_refused(
    tmp_path: Path, write_model: WriteModel, wrong: dict[str, Any], message: str
) -> None:
    path = write_model(tmp_path / "model.onnx", **wrong)
    with pytest.raises(StartupError, match=message) as refused:
        Engine(path, "cpu", threads=1)
    assert str(refused.value).startswith(f"{path}: ")


@pytest.mark.parametrize("content", [b"", b"no model at all", bytes(1000)])
def test_broken_file_is_named_in_one_line(tmp_path: Path, content: bytes, capfd: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(content)
    with pytest.raises(StartupError, match="ONNX Runtime cannot load it") as refused:
        Engine(path, "auto", threads=1)
    assert str(refused.value).startswith(f"{path}: ")
    assert "\n" not in str(refused.value)
    assert capfd.readouterr() == ("", "")


def test_truncated_model_is_refused(tmp_path: Path, write_model: WriteModel) -> None:
    path = write_model(tmp_path / "model.onnx", "picky")
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(StartupError, match="cannot load it"):
        Engine(path, "cpu", threads=1)


def test_warm_up_runs_every_batch_size(tmp_path: Path, write_model: WriteModel) -> None:
    path = write_model(tmp_path / "model.onnx", "invert")
    seen: list[int] = []

    class Watched(Engine):
        def infer(self, pictures: Any) -> Any:  # noqa: ANN401
            seen.append(len(pictures))
            return super().infer(pictures)

    Watched(path, "cpu", threads=1).warm_up([1, 4])
    assert seen == [1, 4]


def test_gpu_demanded_where_there_is_none_is_refused(
    tmp_path: Path, write_model: WriteModel, capfd: pytest.CaptureFixture[str]
) -> None:
    path = write_model(tmp_path / "model.onnx")
    if cuda_runs(path):
        pytest.skip("there is a GPU here")
    with pytest.raises(DeviceUnavailable, match="asked for a GPU, but only CPUExecutionProvider runs here"):
        Engine(path, "cuda", threads=1)
    assert capfd.readouterr() == ("", "")


def test_auto_falls_back_to_the_cpu_without_a_word(
    tmp_path: Path, write_model: WriteModel, capfd: pytest.CaptureFixture[str]
) -> None:
    path = write_model(tmp_path / "model.onnx")
    if cuda_runs(path):
        pytest.skip("there is a GPU here")
    assert Engine(path, "auto", threads=1).provider == "CPUExecutionProvider"
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=pytest.mark.cuda)])
def test_rows_do_not_depend_on_their_batch(tmp_path: Path, write_model: WriteModel, device: Any) -> None:  # noqa: ANN401
    path = write_model(tmp_path / "model.onnx", "slow")
    if device == "cuda" and not cuda_runs(path):
        pytest.skip(f"no GPU that ONNX Runtime {onnxruntime.__version__} can use")
    engine = Engine(path, device, threads=1)
    rows = [grey(level) for level in (0, 1, 2)]
    for row, in_batch in zip(rows, engine.infer(rows), strict=True):
        np.testing.assert_array_equal(engine.infer([row])[0], in_batch)
