from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from service.engine.cuda import gpu_count
from service.engine.session import DeviceUnavailable, open_session, read_only_session
from service.errors import StartupError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import onnxruntime

    from tests.service.conftest import WriteModel


def on_cpu(path: Path) -> onnxruntime.InferenceSession:
    return open_session(path, "cpu", 1)


@pytest.mark.parametrize("way", [on_cpu, read_only_session])
@pytest.mark.parametrize("content", [b"", b"no model at all", bytes(1000)])
def test_broken_file_is_named_in_one_line(
    tmp_path: Path, way: Callable[[Path], object], content: bytes, capfd: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(content)
    with pytest.raises(StartupError, match="ONNX Runtime cannot load it") as refused:
        way(path)
    assert str(refused.value).startswith(f"{path}: ")
    assert "\n" not in str(refused.value)
    assert capfd.readouterr() == ("", "")


def test_truncated_model_is_refused(tmp_path: Path, write_model: WriteModel) -> None:
    path = write_model(tmp_path / "model.onnx", "picky")
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(StartupError, match="cannot load it"):
        on_cpu(path)


@pytest.mark.parametrize("device", ["cuda:0", "tensorrt:0"])
def test_gpu_demanded_where_there_is_none_is_refused(
    tmp_path: Path, write_model: WriteModel, device: str, capfd: pytest.CaptureFixture[str]
) -> None:
    if gpu_count():
        pytest.skip("there is a GPU here")
    path = write_model(tmp_path / "model.onnx")
    with pytest.raises(DeviceUnavailable, match=rf"asked for a GPU \({device}\), but only CPUExecutionProvider"):
        open_session(path, device, 1)
    assert capfd.readouterr() == ("", "")
