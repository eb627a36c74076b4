from __future__ import annotations

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


def test_each_shard_is_a_unit() -> None:
    todo = plan(["00.tar", "01.tar"], ["00.tar"], ".png", 100)
    assert todo.units == [Unit(("01.tar",), is_shard=True)]


@pytest.mark.parametrize(
    ("names", "told"),
    [
        ([], "no pictures"),
        (["a.txt"], "no pictures"),
        (["a.png", "a.tar"], "shards, as a.tar, and loose pictures, as a.png"),
        (["x/a.png", "x/a.jpg"], "x/a.jpg and x/a.png"),
    ],
)
def test_input_that_cannot_be_done_is_refused(names: list[str], told: str) -> None:
    with pytest.raises(BulkError, match=told):
        plan(names, [], ".png", 10)


@pytest.mark.parametrize(
    ("name", "expected"), [("a/b.c.jpg", "a/b.c.webp"), ("x.PNG", "x.webp"), ("s/000.tar", "s/000.tar")]
)
def test_names_are_kept_but_for_the_extension(name: str, expected: str) -> None:
    assert output_name(name, ".webp") == expected
