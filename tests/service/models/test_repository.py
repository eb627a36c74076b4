from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from service.errors import StartupError
from service.models.repository import Place, look, scan

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
    assert [(*place, file.path) for place, file in scan(root).files.items()] == [
        ("a", 1, root / "a/1/model.onnx"),
        ("b", 9, root / "b/9/model.onnx"),
        ("b", 10, root / "b/10/model.onnx"),
    ]


def test_other_files_are_passed_over(tmp_path: Path) -> None:
    root = put(
        tmp_path,
        *("README.md", "a/README.md", "a/1/grid.png", "a/1/model.onnx", "a/drafts/model.onnx"),
        *(".git/config", "a/.cache/x", "a/.2.4711/model.onnx", "lost+found/x"),
    )
    assert [model.path for model in scan(root).files.values()] == [root / "a/1/model.onnx"]


def test_folder_may_be_a_link(tmp_path: Path) -> None:
    put(tmp_path / "store", "a/1/model.onnx")
    (tmp_path / "models").symlink_to(tmp_path / "store")
    assert list(scan(tmp_path / "models").files) == [("a", 1)]


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


def test_labels_are_found_beside_the_versions(tmp_path: Path) -> None:
    put(tmp_path, "a/1/model.onnx", "b/1/model.onnx")
    (tmp_path / "a/labels.json").write_text('{"stable": 1}')
    assert scan(tmp_path).labels == {"a": {"stable": 1}}


def test_broken_labels_end_the_start(tmp_path: Path) -> None:
    put(tmp_path, "a/1/model.onnx")
    (tmp_path / "a/labels.json").write_text('{"latest": 1}')
    with pytest.raises(StartupError, match=r"a/labels.json: label 'latest' is always the highest"):
        scan(tmp_path)


def stamp(root: Path) -> object:
    return look(root).files[Place("a", 1)].stamp


def test_stamp_changes_when_the_file_does(tmp_path: Path) -> None:
    path = put(tmp_path, "a/1/model.onnx") / "a/1/model.onnx"
    first = stamp(tmp_path)
    assert stamp(tmp_path) == first
    times = path.stat()
    twin = tmp_path / "twin"
    twin.write_bytes(b"another")
    os.utime(twin, ns=(times.st_atime_ns, times.st_mtime_ns))
    twin.replace(path)
    second = stamp(tmp_path)
    assert second != first, "the same size and time, but another file"
    with path.open("ab") as file:
        file.write(b"more")
    assert stamp(tmp_path) != second


def test_volume_that_is_changed_at_one_stroke_is_seen_to_change(tmp_path: Path) -> None:
    """As Kubernetes mounts what it may have to change: links through a hidden link to a hidden folder."""
    root = tmp_path / "models"
    for version in ("1", "2"):
        put(root / f"..{version}", "a/1/model.onnx")
    (root / "..data").symlink_to("..1")
    (root / "a").symlink_to("..data/a")
    first = stamp(root)
    (root / "..data_tmp").symlink_to("..2")
    (root / "..data_tmp").replace(root / "..data")
    assert list(scan(root).files) == [("a", 1)]
    assert stamp(root) != first


def test_look_passes_over_what_is_no_part_of_a_repository_and_says_why(tmp_path: Path) -> None:
    put(tmp_path, "a/1/model.onnx", "b/1/model.pb", "c/README.md", "ä/1/model.onnx")
    (tmp_path / "a/labels.json").write_text("{")
    contents = look(tmp_path)
    assert list(contents.files) == [("a", 1)]
    assert contents.passed_over == (
        f"{tmp_path}/b/1/model.onnx: no such file; every version of a model needs one",
        f"{tmp_path}/c: no version in it; expected {tmp_path}/c/1/model.onnx",
        f"{tmp_path}/ä: a model's name is made of letters, digits, '.', '_' and '-'",
    )
    assert list(contents.broken_labels) == ["a"]


def test_look_finds_an_empty_file_so_that_it_counts_as_broken_and_not_as_gone(tmp_path: Path) -> None:
    (put(tmp_path, "a/1/model.onnx") / "a/1/model.onnx").write_bytes(b"")
    assert list(look(tmp_path).files) == [("a", 1)]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_look_tells_folders_that_cannot_be_read_from_empty_ones(tmp_path: Path) -> None:
    put(tmp_path, "a/1/model.onnx", "b/1/model.onnx")
    (tmp_path / "a").chmod(0)
    try:
        contents = look(tmp_path)
    finally:
        (tmp_path / "a").chmod(0o700)
    assert (list(contents.files), contents.unread) == ([("b", 1)], {"a"})


def test_look_at_a_folder_that_is_gone_fails(tmp_path: Path) -> None:
    with pytest.raises(StartupError, match="cannot be read"):
        look(tmp_path / "gone")
