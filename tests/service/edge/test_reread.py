from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest
from structlog.testing import capture_logs

from service.edge.reread import Reread, content
from service.errors import StartupError

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "file"
    path.write_text("7")
    return path


def number(path: Path) -> int:
    text = content(path, "--file").decode()
    if not text.isdecimal():
        raise StartupError(f"--file: {path} holds no number")
    return int(text)


def replace(path: Path, text: str) -> None:
    beside = path.with_name("beside")
    beside.write_text(text)
    beside.replace(path)


def test_file_is_read_again_when_it_was_changed_and_only_then(file: Path) -> None:
    read: list[int] = []

    def count() -> int:
        read.append(number(file))
        return read[-1]

    kept = Reread("numbers", [file], count)
    with capture_logs() as logs:
        assert [kept.latest(), kept.latest()] == [7, 7]
        replace(file, "8")
        assert [kept.latest(), kept.latest()] == [8, 8]
    assert read == [7, 8]
    assert logs == [{"event": "numbers_renewed", "files": [str(file)], "log_level": "info"}]


@pytest.mark.parametrize("change", ["broken", "gone"])
def test_what_cannot_be_used_leaves_what_was_and_is_told_once(file: Path, change: str) -> None:
    kept = Reread("numbers", [file], lambda: number(file))
    with capture_logs() as logs:
        if change == "broken":
            replace(file, "eight")
        else:
            file.unlink()
        assert [kept.latest(), kept.latest()] == [7, 7]
        replace(file, "9")
        assert kept.latest() == 9
    assert [line["event"] for line in logs] == ["numbers_failed", "numbers_renewed"]
    assert str(file) in logs[0]["reason"]


def test_what_cannot_be_used_at_the_start_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(StartupError, match=r"^--file: .*/none cannot be read: No such file or directory$"):
        Reread("numbers", [tmp_path / "none"], lambda: number(tmp_path / "none"))


def test_files_behind_an_exchanged_link_are_read_anew(tmp_path: Path) -> None:
    """As Kubernetes exchanges what is in a Secret: the files are links into a folder, whose link is replaced."""
    for folder, text in (("first", "1"), ("second", "2")):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "file").write_text(text)
    (tmp_path / "..data").symlink_to("first")
    (tmp_path / "file").symlink_to("..data/file")
    kept = Reread("numbers", [tmp_path / "file"], lambda: number(tmp_path / "file"))
    assert kept.latest() == 1
    (tmp_path / "..next").symlink_to("second")
    os.replace(tmp_path / "..next", tmp_path / "..data")  # noqa: PTH105 (of a link itself)
    assert kept.latest() == 2


def test_files_exchanged_while_they_are_read_are_taken_from_one_moment(tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    one.write_text("1")
    two.write_text("1")
    moments = iter(["2"])

    def both() -> tuple[int, int]:
        first = number(one)
        for text in moments:
            replace(one, text)
            replace(two, text)
        return first, number(two)

    with capture_logs() as logs:
        assert Reread("numbers", [one, two], both).latest() == (2, 2)
    assert logs == [], "no mixture was there to be renewed"
