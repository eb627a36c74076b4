from __future__ import annotations

from pathlib import Path

import pytest

from export.entry import staged
from export.errors import OutputError


def write(staging: Path, content: str) -> None:
    (staging / "model.onnx").write_text(content)


def fail_half_way(staging: Path, failure: type[BaseException]) -> None:
    write(staging, "half")
    raise failure


def write_while_another_publishes(staging: Path, folder: Path) -> None:
    """Stages a model while another process exports the same version."""
    write(staging, "mine")
    folder.mkdir()
    write(folder, "theirs")


def everything(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


@pytest.fixture
def written(tmp_path: Path) -> Path:
    folder = tmp_path / "models" / "cats" / "1"
    with staged(folder, force=False) as staging:
        (staging / "model.onnx").write_text("old")
        (staging / "results.png").write_text("old")
    return folder


def test_entry_appears_when_the_block_ends(tmp_path: Path) -> None:
    folder = tmp_path / "models" / "cats" / "1"
    with staged(folder, force=False) as staging:
        (staging / "model.onnx").write_text("whole")
        assert not folder.exists()
    assert (folder / "model.onnx").read_text() == "whole"
    assert everything(tmp_path) == ["models", "models/cats", "models/cats/1", "models/cats/1/model.onnx"]


@pytest.mark.parametrize("failure", [ValueError, KeyboardInterrupt, SystemExit])
def test_failure_leaves_nothing_behind(tmp_path: Path, failure: type[BaseException]) -> None:
    with pytest.raises(failure), staged(tmp_path / "models" / "cats" / "1", force=False) as staging:
        fail_half_way(staging, failure)
    assert everything(tmp_path) == []


def test_failure_leaves_other_versions_alone(written: Path) -> None:
    with pytest.raises(KeyboardInterrupt), staged(written.with_name("2"), force=False) as staging:
        fail_half_way(staging, KeyboardInterrupt)
    assert everything(written.parent) == ["1", "1/model.onnx", "1/results.png"]


def test_write_that_fails_in_the_block_is_told_and_leaves_nothing(tmp_path: Path) -> None:
    folder = tmp_path / "models" / "cats" / "1"
    with (
        pytest.raises(OutputError, match=f"cannot write {folder}: .*No such file"),
        staged(folder, force=False) as half,
    ):
        write(half / "lost", "model")
    assert everything(tmp_path) == []


def test_existing_version_is_refused(written: Path) -> None:
    with pytest.raises(OutputError, match="is there already"), staged(written, force=False):
        pytest.fail("the work was begun")
    assert (written / "model.onnx").read_text() == "old"


def test_version_that_appears_meanwhile_is_not_overwritten(tmp_path: Path) -> None:
    folder = tmp_path / "cats" / "1"
    with pytest.raises(OutputError, match="cannot write"), staged(folder, force=False) as staging:
        write_while_another_publishes(staging, folder)
    assert (folder / "model.onnx").read_text() == "theirs"
    assert everything(tmp_path) == ["cats", "cats/1", "cats/1/model.onnx"]


def test_force_replaces_our_files_and_keeps_others(written: Path) -> None:
    (written / "notes.txt").write_text("theirs")
    with staged(written, force=True) as staging:
        (staging / "model.onnx").write_text("new")
        (staging / "README.md").write_text("new")
        assert (written / "model.onnx").read_text() == "old"
    assert everything(written) == ["README.md", "model.onnx", "notes.txt"]
    assert (written / "model.onnx").read_text() == "new"


def test_failure_with_force_leaves_the_old_version(written: Path) -> None:
    with pytest.raises(KeyboardInterrupt), staged(written, force=True) as staging:
        fail_half_way(staging, KeyboardInterrupt)
    assert (written / "model.onnx").read_text() == "old"
    assert everything(written.parent) == ["1", "1/model.onnx", "1/results.png"]


def test_entry_is_readable_for_the_server(written: Path) -> None:
    assert written.stat().st_mode & 0o055 == 0o055


def test_file_in_the_way_is_named(tmp_path: Path) -> None:
    (tmp_path / "1").write_text("a file")
    with pytest.raises(OutputError, match="is a file"), staged(tmp_path / "1", force=True):
        pytest.fail("the work was begun")


@pytest.mark.parametrize("place", ["/proc/models/cats/1", "{tmp}/file/cats/1"])
def test_unwritable_place_is_named_before_the_work_begins(tmp_path: Path, place: str) -> None:
    (tmp_path / "file").write_text("a file")
    folder = Path(place.format(tmp=tmp_path))
    with pytest.raises(OutputError, match=f"cannot write {folder}"), staged(folder, force=False):
        pytest.fail("the work was begun")
    assert everything(tmp_path) == ["file"]
