"""The command and models with noise, of 16 bits and of many sizes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from lapis.v1 import translation_pb2 as v1

if TYPE_CHECKING:
    from collections.abc import Callable

    from conftest import Ended, Server


def pictures(**contents: bytes) -> list[str]:
    """Writes NAME.png for each and returns the names."""
    for name, content in contents.items():
        Path(f"{name}.png").write_bytes(content)
    return [f"{name}.png" for name in contents]


def test_models_say_whether_they_take_seeds_and_of_what_samples_they_are(
    command: Callable[..., Ended], server: Server
) -> None:
    model = server.service.models[0]
    model.takes_seed, model.output.sample_type = True, v1.SAMPLE_TYPE_UINT16
    assert command("--models").out.splitlines()[1].endswith("latest,stable  uint8 to uint16  yes")


def test_one_seed_is_that_of_every_picture(command: Callable[..., Ended], server: Server) -> None:
    server.service.models[0].takes_seed = True
    assert command(*pictures(a=b"a", b=b"b"), "--output", "out", "--seed", "-3").code == 0
    assert [request.seed for request in server.service.requests] == [-3, -3]
    assert sorted(path.name for path in Path("out").iterdir()) == ["a.png", "b.png"]
    ended = command(*pictures(a=b"a"), "--output", "one.png", "--seed", "9")
    assert "batch of 5, seed 9)" in ended.out


def test_several_seeds_make_several_translations_of_each_picture(command: Callable[..., Ended], server: Server) -> None:
    server.service.models[0].takes_seed = True
    ended = command(*pictures(a=b"a", b=b"b"), "--output", "out", "--seeds", "0-2,40", "--concurrency", "1")
    assert ended.out.startswith("8 of 8 pictures translated to out")
    assert [(request.encoded, request.seed) for request in server.service.requests] == [
        (picture, seed) for picture in (b"a", b"b") for seed in (0, 1, 2, 40)
    ]
    assert sorted(path.name for path in Path("out").iterdir()) == sorted(
        f"{name}.seed{seed}.png" for name in "ab" for seed in (0, 1, 2, 40)
    )
    more = command("a.png", "b.png", "--output", "out", "--seeds", "0-3,40", "--resume")
    assert more.out.startswith("2 of 2 pictures translated to out")
    assert more.out.endswith("8 were there already\n")


def test_failed_seeds_can_be_fed_back_and_keep_their_names(command: Callable[..., Ended], server: Server) -> None:
    server.service.models[0].takes_seed = True
    run = ("--output", "out", "--seeds", "0-2", "--failures", "failed.txt")
    assert command(*pictures(a=b"a", bad=b"fail INFERENCE_FAILED"), *run).code == 1
    assert sorted(Path("failed.txt").read_text().splitlines()) == [
        f"bad.png\tbad.seed{seed}.png\t{seed}" for seed in range(3)
    ]
    Path("bad.png").write_bytes(b"repaired")
    server.service.requests.clear()
    assert command("--list", "failed.txt", *run).code == 0
    assert sorted(request.seed for request in server.service.requests) == [0, 1, 2]
    assert len(list(Path("out").iterdir())) == 6


def test_list_may_give_each_picture_its_seed(command: Callable[..., Ended], server: Server) -> None:
    server.service.models[0].takes_seed = True
    pictures(a=b"a", b=b"b")
    Path("list.txt").write_text("a.png\tfirst\t5\nb.png\t\t-6\na.png\tlast\n")
    assert command("--list", "list.txt", "--output", "out", "--seed", "1", "--concurrency", "1").code == 0
    assert [request.seed for request in server.service.requests] == [5, -6, 1]
    assert sorted(path.name for path in Path("out").iterdir()) == ["b.png", "first.png", "last.png"]


def test_list_with_a_seed_that_is_none_is_refused(command: Callable[..., Ended]) -> None:
    pictures(a=b"a")
    Path("list.txt").write_text("a.png\tfirst\tseven\n")
    ended = command("--list", "list.txt", "--output", "out")
    assert ended.code == 2
    assert ended.err == "lapis-translate: error: a list gives the seed 'seven', which is no whole number of 64 bits\n"


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--seeds", "7-3"], "--seeds: must be seeds such as 7, 0-7 or 1,5,10-19"),
        (["--seeds", "a"], "--seeds: must be seeds such as 7, 0-7 or 1,5,10-19"),
        (["--seeds", "0-10000"], "--seeds: names 10,001 seeds; at most 10,000 are taken"),
        (["--seed", str(2**63)], "--seed: Input should be less than or equal to 9223372036854775807"),
        (["--seed", "1", "--seeds", "1-2"], "give one of them"),
        (["--seed", "1"], "model edges2emoji version 1 takes no seed"),
        (["--seeds", "1"], "model edges2emoji version 1 takes no seed"),
    ],
)
def test_seeds_that_cannot_be_are_refused_once_and_for_all(
    command: Callable[..., Ended], server: Server, flags: list[str], words: str
) -> None:
    ended = command(*pictures(a=b"a", b=b"b"), "--output", "out", *flags)
    assert ended.code == 2
    assert words in ended.err
    assert ended.err.count("\n") == 1
    assert not Path("out").exists()
    assert server.service.requests == []


def test_format_that_cannot_hold_the_model_s_bits_is_refused_once(
    command: Callable[..., Ended], server: Server
) -> None:
    server.service.models[0].output.sample_type = v1.SAMPLE_TYPE_UINT16
    ended = command(*pictures(a=b"a", b=b"b"), "--output", "out", "--format", "webp")
    assert (ended.code, ended.out) == (2, "")
    assert "gives 16 bits, which webp cannot hold: ask for --format png" in ended.err
    assert not Path("out").exists()


def test_fit_is_the_server_s_to_choose_unless_it_is_given(command: Callable[..., Ended], server: Server) -> None:
    command(*pictures(a=b"a"), "--output", "out")
    command(*pictures(b=b"b"), "--output", "out", "--fit", "none")
    assert [request.fit for request in server.service.requests] == [v1.FIT_UNSPECIFIED, v1.FIT_NONE]
