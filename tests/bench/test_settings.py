from __future__ import annotations

import math
from pathlib import Path

import pytest
from lapis.command import read

from bench.settings import BenchSettings, PictureKind


def test_mixes_are_read() -> None:
    settings = BenchSettings(
        priority="high=0.1,low=0.9", deadline="0.5=1,none=3", pictures="png:256=0.5,raw:48x64=0.5", answer="same"
    )
    assert settings.priorities.items == ["high", "low"]
    assert settings.deadlines.items == [0.5, math.inf]
    assert settings.deadlines.shares == [0.25, 0.75]
    assert settings.picture_kinds.items == [PictureKind("png", 256, 256), PictureKind("raw", 48, 64)]


def test_what_is_sent_follows_from_the_folder_unless_told() -> None:
    assert BenchSettings().picture_kinds.items == [PictureKind("png", 256, 256)]
    assert BenchSettings(folder=Path("drawings")).picture_kinds.items[0].format == "file"


def test_several_addresses_are_separated_by_commas() -> None:
    assert BenchSettings(server="a:1, b:2").addresses == ["a:1", "b:2"]


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (["--load", "poisson"], "needs a --rate above 0"),
        (["--rate", "5"], "--rate is for --load poisson or constant"),
        (["--priority", "urgent"], "'urgent' is no priority; there are high, normal, low"),
        (["--priority", "high=lots"], "'lots' is no weight"),
        (["--deadline", "-1"], "'-1' is no deadline"),
        (["--pictures", "gif:20"], "'gif:20' is no kind of picture"),
        (["--pictures", "png:0"], "'png:0' is no kind of picture"),
        (["--pictures", "file"], "--pictures file needs a --folder"),
        (["--answer", "bmp"], "'bmp' is no format of answers"),
        (["--stream", "--cancel", "0.1"], "--cancel: a picture of a stream cannot be cancelled"),
        (["--concurrency", "1", "--processes", "2"], "cannot be shared"),
        (["--plot", "figure.xls"], "must end in"),
        (["--pid", "one"], "'one' is no process id"),
        (["--server", ","], "needs an address"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(flags: list[str], says: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        read("lapis-bench", BenchSettings, flags)
    assert ended.value.code == 2
    error = capsys.readouterr().err
    assert says in error
    assert len(error.splitlines()) == 1


def test_environment_sets_what_flags_do_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LAPIS_BENCH_SECONDS", "3")
    monkeypatch.setenv("LAPIS_BENCH_SEED", "4")
    settings = read("lapis-bench", BenchSettings, ["--seed", "5"])
    assert (settings.seconds, settings.seed) == (3, 5)
