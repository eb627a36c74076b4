"""The command from end to end, but for Ray: what it says, writes and returns, run after run."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from pydantic import ValidationError

from service.bulk.errors import BulkError
from service.bulk.settings import BulkSettings
from service.errors import StartupError

Command = Callable[..., int]
Png = Callable[..., bytes]
Said = pytest.CaptureFixture[str]


def failed(folder: Path) -> list[str]:
    return [json.loads(line)["name"] for line in (folder / "failures.jsonl").read_text().splitlines()]


def outputs(folder: Path) -> list[str]:
    return sorted(path.name for path in (folder / "out").glob("[!.]*"))


def test_failures_inside_of_a_shard_are_told_of_by_every_later_run(
    command: Command, pack: Callable[..., bytes], png: Png, tmp_path: Path, capsys: Said
) -> None:
    (tmp_path / "in" / "0.tar").write_bytes(pack({"1.png": png(5), "2.png": b"no picture"}))
    assert command() == 1
    (tmp_path / "in" / "1.tar").write_bytes(pack({"3.png": b"no picture either", "4.png": png(5), "5.png": "gone"}))
    assert command() == 1
    assert failed(tmp_path) == ["0.tar/2.png", "1.tar/5.png", "1.tar/3.png"]
    assert "3 failed (1 of them before this run)" in capsys.readouterr().out
    (tmp_path / "failures.jsonl").unlink()
    assert command() == 1
    assert sorted(failed(tmp_path)) == ["0.tar/2.png", "1.tar/3.png", "1.tar/5.png"]
    assert outputs(tmp_path) == ["0.tar", "1.tar"]


def test_shard_that_succeeds_later_has_no_failures_any_more(
    command: Command, pack: Callable[..., bytes], png: Png, tmp_path: Path
) -> None:
    (tmp_path / "in" / "0.tar").write_bytes(pack({"2.png": b"no picture"}))
    assert command() == 1
    (tmp_path / "out" / "0.tar").unlink()
    (tmp_path / "in" / "0.tar").write_bytes(pack({"2.png": png(5)}))
    assert command() == 0
    assert command() == 0


def test_damaged_shards_fail_alone_and_are_tried_again(
    command: Command, pack: Callable[..., bytes], png: Png, tmp_path: Path
) -> None:
    whole = pack({f"{number}.png": png(number) for number in range(3)})
    shards = {"cut.tar": whole[:1024], "gz.tar": pack({"1.png": png(1)}, "w:gz")[:60], "twins.TAR": None}
    shards["twins.TAR"] = pack({"k.png": png(1), "k.jpg": png(1)})
    for name, content in {**shards, "good.tar": whole, "LOUD.TAR": whole}.items():
        (tmp_path / "in" / name).write_bytes(content)
    for _ in range(2):
        assert command() == 1
        assert sorted(failed(tmp_path)) == sorted(shards)
        assert outputs(tmp_path) == ["LOUD.TAR", "good.tar"]


def test_pictures_that_cannot_be_read_or_written_fail_alone(command: Command, png: Png, tmp_path: Path) -> None:
    folder = tmp_path / "in"
    long = "a" * 250 + ".png"
    for name in ("good.png", "10²1.png", long, "line\n.png", b"caf\xe9.png".decode(errors="surrogateescape")):
        (folder / name).write_bytes(png(5))
    (folder / "lost.png").symlink_to("nowhere")
    (folder / "self.png").symlink_to("self.png")
    for _ in range(2):
        assert command() == 1
        assert sorted(failed(tmp_path)) == sorted([long, "line\n.png", "caf\\udce9.png", "lost.png", "self.png"])
        assert outputs(tmp_path) == ["10²1.png", "good.png"]


def test_failures_that_are_tolerated_are_told_of_all_the_same(command: Command, tmp_path: Path, capsys: Said) -> None:
    (tmp_path / "in" / "a.png").write_bytes(b"no picture")
    assert command(tolerate_failures=True) == 0
    assert "1 failed; " in capsys.readouterr().out
    assert failed(tmp_path) == ["a.png"]
    assert command() == 1


def test_files_that_were_there_before_are_not_taken_for_outputs(command: Command, png: Png, tmp_path: Path) -> None:
    (tmp_path / "in" / "a.png").write_bytes(png(5))
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "a.png").write_bytes(b"somebody's")
    with pytest.raises(BulkError, match=r"out/a\.png is there"):
        command()
    (tmp_path / "out" / "a.png").write_bytes(b"")
    assert command() == 0
    assert (tmp_path / "out" / "a.png").stat().st_size


def test_what_is_left_aside_is_counted(command: Command, png: Png, tmp_path: Path, capsys: Said) -> None:
    for name in ("a.png", "a.txt", "b.txt", "c.tar.gz", "d.TGZ", "README"):
        (tmp_path / "in" / name).write_bytes(png(5))
    assert command() == 0
    assert capsys.readouterr().out.splitlines()[0] == (
        f"{tmp_path / 'in'}: 1 found, 0 done already, 1 pictures to do; left aside: "
        "2 .txt, 1 .tar.gz, 1 .tgz, 1 without an ending"
    )


def test_same_input_written_otherwise_goes_on(
    command: Command, png: Png, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Said
) -> None:
    (tmp_path / "in" / "a.png").write_bytes(png(5))
    monkeypatch.chdir(tmp_path)
    for name in ("in", "in/", str(tmp_path / "in")):
        assert command(input=name, output="out", models=Path("models")) == 0
    assert capsys.readouterr().out.count("1 done already") == 2


@pytest.mark.parametrize("chosen", [{"seed": 3}, {"model": "nobody"}])
def test_run_that_cannot_begin_leaves_nothing(
    command: Command, png: Png, tmp_path: Path, chosen: dict[str, object]
) -> None:
    (tmp_path / "in" / "a.png").write_bytes(png(5))
    with pytest.raises(StartupError, match=f"--{next(iter(chosen))} {next(iter(chosen.values()))}: ") as told:
        command(**chosen)
    assert "--default-model" not in str(told.value)
    assert not list((tmp_path / "out").glob(".lapis*"))
    assert command() == 0


@pytest.mark.parametrize("place", ["none/failures.jsonl", "in"])
def test_failures_that_cannot_be_written_down_are_told_of_first(
    command: Command, png: Png, tmp_path: Path, place: str
) -> None:
    (tmp_path / "in" / "a.png").write_bytes(png(5))
    with pytest.raises(BulkError, match=f"--failures {tmp_path / place}: the file cannot be written"):
        command(failures=tmp_path / place)
    assert outputs(tmp_path) == []


@pytest.mark.parametrize("empty", ["input", "output"])
def test_empty_place_has_its_own_sentence(empty: str) -> None:
    with pytest.raises(ValidationError, match="is empty; name a folder"):
        BulkSettings(**{"input": "in", "output": "out", empty: ""})
