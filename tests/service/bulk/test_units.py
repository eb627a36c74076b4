from __future__ import annotations

import tracemalloc

import pytest

from service.bulk.errors import BulkError
from service.bulk.units import Unit, output_name, plan


def test_pictures_come_in_units_and_in_the_order_of_their_numbers() -> None:
    todo = plan(["b/10.png", "b/9.png", "a.JPG", "notes.txt"], [], ".png", 2)
    assert todo.units == [Unit(("a.JPG", "b/9.png")), Unit(("b/10.png",))]
    assert (todo.done, todo.wanted) == (0, 3)


def test_what_has_an_output_is_done() -> None:
    todo = plan(["a.jpg", "b.png"], ["a.webp", "b.png"], ".webp", 10)
    assert (todo.units, todo.done) == ([Unit(("b.png",))], 1)


def test_each_shard_is_a_unit_however_its_name_is_written() -> None:
    todo = plan(["00.tar", "01.tar", "02.TAR"], ["00.tar"], ".png", 100)
    assert todo.units == [Unit(("01.tar",), is_shard=True), Unit(("02.TAR",), is_shard=True)]
    assert (todo.kind, todo.finished) == ("shards", ["00.tar"])


def test_numbers_are_ordered_as_numbers_and_only_digits_are_numbers() -> None:
    ordered = ["9/2.png", "10/1.png", "10²1.png", "a007.png", "a9.png", "a10.png", "b2.png", f"b{10**30}.png"]
    (unit,) = plan(reversed(ordered), [], ".png", 100).units
    assert list(unit.names) == ordered


def test_names_take_little_memory() -> None:
    names = [f"folder/{number:03}/picture-{number}-1-2.png" for number in range(10_000)]
    tracemalloc.start()
    try:
        plan(names, [], ".webp", 256)
        most = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert most / len(names) < 450


def test_what_is_neither_picture_nor_shard_is_counted_by_ending() -> None:
    names = ["a.png", "b.txt", "x/c.TXT", "d.tar.gz", "v1.2/readme", *(f"{number}.x{number}" for number in range(4))]
    assert plan(names, [], ".png", 10).left_aside == "; left aside: 2 .txt, 1 .tar.gz, 1 .x0, 1 .x1, 1 .x2, 2 others"
    assert not plan(["a.png"], [], ".png", 10).left_aside


def test_name_that_no_store_takes_is_told_of() -> None:
    todo = plan(["a\udce9.png", "b.png"], [], ".png", 10)
    assert todo.units == [Unit(("b.png",))]
    assert [name for name, _ in todo.unnamed] == ["a\\udce9.png"]


@pytest.mark.parametrize(
    ("names", "told"),
    [
        ([], "no pictures"),
        (["a.txt"], "no pictures"),
        (["a.tar.gz"], "but .tar.gz files; unpack them"),
        (["a.png", "a.tar"], "shards, as a.tar, and loose pictures, as a.png"),
        (["x/a.png", "x/a.jpg"], "x/a.jpg and x/a.png"),
    ],
)
def test_input_that_cannot_be_done_is_refused(names: list[str], told: str) -> None:
    with pytest.raises(BulkError, match=told):
        plan(names, [], ".png", 10)


@pytest.mark.parametrize(
    ("name", "expected"),
    [("a/b.c.jpg", "a/b.c.webp"), ("x.PNG", "x.webp"), ("s/000.tar", "s/000.tar"), ("x.TAR", "x.TAR")],
)
def test_names_are_kept_but_for_the_extension(name: str, expected: str) -> None:
    assert output_name(name, ".webp") == expected
