"""One file that cannot be read or written is its own trouble; a place that cannot is everybody's."""

from __future__ import annotations

import os
from datetime import timedelta
from pathlib import Path

import pytest
from obstore.store import S3Store

from service.bulk.errors import BulkError
from service.bulk.settings import BulkSettings
from service.bulk.storage import Storage, TooLarge, Unusable, settled

ODD = ["a b.png", "a%20b.png", "a#1.png", "10²1.png", "ä.png", "a?[x]~.png", "deep/er/a.png"]


@pytest.fixture
def place(tmp_path: Path) -> Storage:
    return Storage(str(tmp_path / "place"), creates=True)


@pytest.mark.parametrize("name", ODD)
def test_what_is_written_is_listed_and_read(place: Storage, name: str) -> None:
    place.write(name, b"content")
    assert list(place.names()) == [name]
    assert place.read(name) == b"content"
    assert place.has(name)


def test_files_that_are_hidden_are_left_out(place: Storage) -> None:
    for name in (".a.png", ".b/c.png", "d/.e/f.png"):
        place.write(name, b"x")
    assert list(place.names()) == []
    assert list(place.below(".b").names()) == ["c.png"]
    assert list(place.below("none").names()) == []


def test_empty_files_are_no_outputs(place: Storage) -> None:
    place.write("a.png", b"")
    assert list(place.names()) == ["a.png"]
    assert list(place.names(filled=True)) == []


def test_links_are_followed_but_not_in_circles(place: Storage, tmp_path: Path) -> None:
    place.write("in/a.png", b"x")
    (tmp_path / "place" / "again").symlink_to("in")
    (tmp_path / "place" / "in" / "up").symlink_to("..")
    assert sorted(place.names()) == ["again/a.png", "in/a.png"]


def test_link_that_leads_nowhere_is_listed_and_cannot_be_read(place: Storage, tmp_path: Path) -> None:
    place.write("a.png", b"x")
    (tmp_path / "place" / "lost.png").symlink_to("nowhere.png")
    (tmp_path / "place" / "self.png").symlink_to("self.png")
    assert sorted(place.names()) == ["a.png", "lost.png", "self.png"]
    with pytest.raises(FileNotFoundError):
        place.read("lost.png")
    with pytest.raises(Unusable, match="symbolic links"):
        place.read("self.png")


def test_what_is_no_file_is_not_listed(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.png")
    assert list(Storage(str(tmp_path)).names()) == []


@pytest.mark.parametrize("name", ["a" * 252 + ".png", "a\n.png", "file/a.png"])
def test_name_that_cannot_be_written_is_its_own_trouble(place: Storage, name: str, tmp_path: Path) -> None:
    place.write("file", b"")
    with pytest.raises(Unusable) as told:
        place.write(name, b"x")
    assert "Debug source" not in str(told.value)
    assert "\n" not in str(told.value)
    assert [path.name for path in (tmp_path / "place").iterdir()] == ["file"]


def test_place_where_nothing_can_be_written_stops_the_run(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(BulkError, match="file"):
        Storage(str(tmp_path / "file"), creates=True).write("a.png", b"x")


def test_place_that_is_not_there_stops_the_run_and_is_not_made(tmp_path: Path) -> None:
    with pytest.raises(BulkError, match="gone"):
        Storage(str(tmp_path / "gone")).read("a.png")
    assert list(tmp_path.iterdir()) == []


def test_file_that_is_too_large_is_not_read(place: Storage) -> None:
    place.write("a.png", b"four")
    with pytest.raises(TooLarge, match="4 bytes; at most 3"):
        place.read("a.png", 3)


def test_store_that_is_away_is_waited_for() -> None:
    store = Storage("s3://bucket/prefix")._store
    assert isinstance(store, S3Store)
    assert store.retry_config["retry_timeout"] == timedelta(minutes=2)
    assert store.retry_config["max_retries"] * store.retry_config["backoff"]["init_backoff"] > timedelta(minutes=1)


def test_place_has_one_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert {Storage(place).absolute for place in ("few", "few/", "./few", str(tmp_path / "few"))} == {
        str(tmp_path / "few")
    }
    assert Storage("s3://bucket/few/").absolute == Storage("s3://bucket/few").absolute


def test_settings_for_actors_name_whole_places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    made = settled(BulkSettings(input="few", output="s3://bucket/out", models=Path("models")))
    assert (made.input, made.output, made.models) == (
        str(tmp_path / "few"),
        "s3://bucket/out",
        tmp_path / "models",
    )
