from __future__ import annotations

import re
from typing import TYPE_CHECKING

import onnxruntime
import pytest

from service.engine.tensorrt import cache_folder
from service.errors import StartupError

if TYPE_CHECKING:
    from pathlib import Path

HERE = ("NVIDIA H100 PCIe 9.0", "101300", "ab" * 32)


def test_engines_are_kept_for_one_gpu_version_and_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gpu, version, digest = HERE
    folders = [
        cache_folder(tmp_path, *key)
        for key in (HERE, ("NVIDIA L4 8.9", version, digest), (gpu, "101400", digest), (gpu, version, "cd" * 32))
    ]
    monkeypatch.setattr(onnxruntime, "__version__", "9.9.9")
    folders.append(cache_folder(tmp_path, *HERE))
    assert len(set(folders)) == 5
    assert all(folder.is_dir() for folder in folders)


def test_folder_tells_what_it_is_for(tmp_path: Path) -> None:
    folder = cache_folder(tmp_path, *HERE)
    assert cache_folder(tmp_path, *HERE) == folder
    described, key = folder.relative_to(tmp_path).parts
    assert described == f"NVIDIA_H100_PCIe_9.0_tensorrt-101300_onnxruntime-{onnxruntime.__version__}"
    assert re.fullmatch("[0-9a-f]{16}", key)


def test_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StartupError, match="cannot keep TensorRT's engines there: Not a directory"):
        cache_folder(tmp_path / "file", *HERE)
