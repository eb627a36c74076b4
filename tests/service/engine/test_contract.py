from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from service.engine.contract import Contract, PictureShape, read_contract
from service.errors import StartupError
from tests.service.conftest import described

FREE = (None, "H", "W", 3)


@dataclass
class Node:
    name: str
    type: str
    shape: list[int | str | None]


@dataclass
class File:
    """A graph and its metadata, as ONNX Runtime tells of them."""

    inputs: list[Node]
    outputs: list[Node]
    custom_metadata_map: dict[str, str] = field(default_factory=dict)

    def get_inputs(self) -> list[Node]:
        return self.inputs

    def get_outputs(self) -> list[Node]:
        return self.outputs

    def get_modelmeta(self) -> File:
        return self


def node(name: str, shape: tuple[int | str | None, ...] = ("N", 8, 8, 3), samples: str = "uint8") -> Node:
    return Node(name, f"tensor({samples})", list(shape))


def seed(shape: tuple[int | str | None, ...] = ("N",), samples: str = "int64") -> Node:
    return node("seed", shape, samples)


def read(
    *more: Node,
    given: tuple[int | str | None, ...] = ("N", 8, 8, 3),
    made: tuple[int | str | None, ...] | None = None,
    samples: str = "uint8",
    says: dict[str, Any] | None = None,
) -> Contract:
    inputs = [node("image", given, samples), *more]
    file = File(inputs, [node("translation", made or given, samples)], {"lapis": json.dumps(says)} if says else {})
    return read_contract(Path("m.onnx"), file)


def test_fixed_size_needs_no_metadata() -> None:
    contract = read()
    assert contract.input == contract.output == PictureShape(8, 8, 3)
    assert not contract.takes_seed
    assert not contract.input.any_size


def test_free_size_is_what_the_metadata_say() -> None:
    contract = read(given=FREE, says=described(64, 128, multiple=32, smallest=40))
    assert contract.input == PictureShape(64, 128, 3, multiple=32, smallest=64)
    assert contract.input.any_size


def test_samples_and_seeds_are_the_graph_s() -> None:
    contract = read(seed(), samples="uint16", says=described(dtype="uint16", noise="seeded"))
    assert (contract.input.dtype, contract.output.dtype, contract.takes_seed) == ("uint16", "uint16", True)
    assert read(seed()).takes_seed, "where the metadata say nothing, the graph does"


def test_bytes_are_those_of_the_samples() -> None:
    assert PictureShape(4, 6, 3).nbytes == 72
    assert PictureShape(4, 6, 3, "uint16").nbytes_at(8, 6) == 288
    blank = PictureShape(4, 6, 3, "uint16").blank()
    assert (blank.shape, blank.dtype) == ((4, 6, 3), np.uint16)


@pytest.mark.parametrize(
    ("size", "taken"),
    [((64, 64), True), ((96, 64), True), ((32, 64), False), ((64, 80), False), ((4096, 64), True), ((0, 64), False)],
)
def test_sizes_are_multiples_from_the_smallest_on(size: tuple[int, int], *, taken: bool) -> None:
    assert PictureShape(256, 256, 3, multiple=32, smallest=64).accepts(*size) == taken
    assert not PictureShape(256, 256, 3).accepts(*size)


def test_answers_are_as_much_larger_at_any_size() -> None:
    says = described(64, 64, multiple=32) | {"output": {"height": 128, "width": 192, "channels": 3, "multiple": 64}}
    assert read(given=FREE, says=says).made_size(32, 96) == (64, 288)


@pytest.mark.parametrize(
    ("graph", "message"),
    [
        ({"given": FREE}, "input's height and width are free, and the file does not say which it takes"),
        ({"given": ("N", "H", 8, 3)}, r"input image is \[N, H, 8, 3\]; expected \[N, height, width, channels\]"),
        ({"given": FREE, "made": ("N", 8, 8, 3)}, "the input's height and width are free and the output's are not"),
        ({"given": FREE, "says": described()}, "input is described as 8 x 8, .* but the graph's is any size"),
        ({"says": described(multiple=4)}, "input is described as any size, .* but the graph's is 8 x 8"),
        ({"given": FREE, "says": described(10, 8, multiple=4)}, "made for 10 x 8, .* multiples of 4 from 4"),
        ({"given": FREE, "says": described(8, 8, multiple=4, smallest=9)}, "made for 8 x 8, .* multiples of 4 from 12"),
        ({"given": FREE, "says": described(multiple=-1)}, "input.multiple: "),
        ({"says": described(dtype="uint16")}, "described as .* of uint16, but the graph's is .* of uint8"),
        ({"samples": "uint16", "says": described()}, "described as .* of uint8, but the graph's is .* of uint16"),
        ({"samples": "float"}, r"image is tensor\(float\); expected tensor\(uint8\) or tensor\(uint16\)"),
        ({"says": described(noise="seeded")}, "noise is 'seeded', but the graph has no input seed"),
    ],
)
def test_what_graph_and_metadata_do_not_agree_on_is_refused(graph: dict[str, Any], message: str) -> None:
    with pytest.raises(StartupError, match=rf"^m\.onnx: .*{message}"):
        read(**graph)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (seed(("N", 1)), r"the input seed is tensor\(int64\) \[N, 1\]; expected tensor\(int64\) \[N\]"),
        (seed((4,)), r"\[4\]; expected tensor\(int64\) \[N\], N free"),
        (seed(samples="int32"), r"the input seed is tensor\(int32\)"),
        (node("mask"), "the graph's inputs are image, mask; expected one called image, and one called seed"),
    ],
)
def test_what_else_goes_in_is_one_seed_a_row_or_nothing(more: Node, message: str) -> None:
    with pytest.raises(StartupError, match=message):
        read(more)


def test_noise_that_the_metadata_do_not_know_of_is_refused() -> None:
    with pytest.raises(StartupError, match="noise is 'off', but the graph has an input seed"):
        read(seed(), says=described())
