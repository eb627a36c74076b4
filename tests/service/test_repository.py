from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from service.errors import StartupError
from service.repository import ModelFile, scan

if TYPE_CHECKING:
    from pathlib import Path


def put(root: Path, *places: str) -> Path:
    for place in places:
        path = root / place
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"a model")
    return root


def test_models_come_in_order_of_name_and_number(tmp_path: Path) -> None:
    root = put(tmp_path, "b/10/model.onnx", "b/9/model.onnx", "a/1/model.onnx")
    assert scan(root) == [
        ModelFile("a", 1, root / "a/1/model.onnx"),
        ModelFile("b", 9, root / "b/9/model.onnx"),
        ModelFile("b", 10, root / "b/10/model.onnx"),
    ]


def test_other_files_are_passed_over(tmp_path: Path) -> None:
    root = put(
        tmp_path,
        *("README.md", "a/README.md", "a/1/grid.png", "a/1/model.onnx", "a/drafts/model.onnx"),
        *(".git/config", "a/.cache/x", "lost+found/x"),
    )
    assert [model.path for model in scan(root)] == [root / "a/1/model.onnx"]


def test_folder_may_be_a_link(tmp_path: Path) -> None:
    put(tmp_path / "store", "a/1/model.onnx")
    (tmp_path / "models").symlink_to(tmp_path / "store")
    assert [model.name for model in scan(tmp_path / "models")] == ["a"]


@pytest.mark.parametrize(
    ("places", "message"),
    [
        ([], "{root}: the model repository is empty; expected NAME/VERSION/model.onnx in it"),
        (["README.md"], "{root}: the model repository is empty; expected NAME/VERSION/model.onnx in it"),
        (["a/model.onnx"], "{root}/a: no version in it; expected {root}/a/1/model.onnx"),
        (["a/0/model.onnx"], "{root}/a: no version in it; expected {root}/a/1/model.onnx"),
        (["a/01/model.onnx"], "{root}/a: no version in it; expected {root}/a/1/model.onnx"),
        (["a/1/model.pb"], "{root}/a/1/model.onnx: no such file; every version of a model needs one"),
        (["a/1/model.onnx/x"], "{root}/a/1/model.onnx: no such file; every version of a model needs one"),
        (["ä/1/model.onnx"], "{root}/ä: a model's name is made of letters, digits, '.', '_' and '-'"),
    ],
)
def test_folder_that_is_no_repository_is_named(tmp_path: Path, places: list[str], message: str) -> None:
    with pytest.raises(StartupError) as refused:
        scan(put(tmp_path, *places))
    assert str(refused.value) == message.format(root=tmp_path)


def test_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(StartupError) as refused:
        scan(tmp_path / "nowhere")
    assert str(refused.value) == f"the model repository cannot be read: {tmp_path}/nowhere: No such file or directory"


def test_file_in_place_of_the_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(StartupError, match=r"README.md: Not a directory"):
        scan(put(tmp_path, "README.md") / "README.md")


def test_empty_model_file_is_named(tmp_path: Path) -> None:
    (put(tmp_path, "a/1/model.onnx") / "a/1/model.onnx").write_bytes(b"")
    with pytest.raises(StartupError, match=r"a/1/model.onnx: the file is empty"):
        scan(tmp_path)


def test_dangling_link_is_named(tmp_path: Path) -> None:
    (tmp_path / "a" / "1").mkdir(parents=True)
    (tmp_path / "a" / "1" / "model.onnx").symlink_to(tmp_path / "gone")
    with pytest.raises(StartupError, match=r"a/1/model.onnx: no such file"):
        scan(tmp_path)
