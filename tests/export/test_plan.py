from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from export.errors import OptionError
from export.plan import settle
from export.settings import ExportSettings
from export.sources.lapis import load
from export.sources.source import Wishes

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from export.plan import Plan


def plan(checkpoint: Path, **options: object) -> Plan:
    settings = ExportSettings(paths=[checkpoint], output=checkpoint / "cats" / "1", **options)  # type: ignore[arg-type]
    return settle(settings, load(checkpoint, Wishes()))


def test_one_channel_to_two_is_colourisation_unless_it_is_told_otherwise(make_checkpoint: Callable[..., Path]) -> None:
    checkpoint = make_checkpoint(input_nc=1, output_nc=2)
    colour, bare = plan(checkpoint), plan(checkpoint, lab_colorization="off")
    assert (colour.lab, colour.sides.given.channels, colour.sides.made.colour) == (True, 3, "rgb")
    assert (bare.lab, bare.sides.given.colour, bare.sides.made.channels) == (False, "grey", 2)


def test_colourisation_needs_a_network_of_one_channel_to_two(make_checkpoint: Callable[..., Path]) -> None:
    with pytest.raises(OptionError, match="this one takes 3 and gives 3"):
        plan(make_checkpoint(), lab_colorization="on")


def test_bits_direction_and_size_are_the_training_s_unless_told(
    make_checkpoint: Callable[..., Path], change_json: Callable[..., None]
) -> None:
    checkpoint = make_checkpoint()
    change_json(checkpoint / "config.json", **{"data.bits": 16, "data.direction": "BtoA"})
    found, told = plan(checkpoint), plan(checkpoint, bits="8", direction="AtoB", size="128x256")
    assert (found.sides.given.dtype, found.direction, found.sides.made.width) == ("uint16", "BtoA", 128)
    assert (told.sides.made.dtype, told.direction, told.sides.given.width) == ("uint8", "AtoB", 256)


def test_bytes_cannot_compute_sixteen_bits(make_checkpoint: Callable[..., Path], tmp_path: Path) -> None:
    with pytest.raises(OptionError, match=r"--precision int8.*--bits 8"):
        plan(make_checkpoint(), bits="16", precision="int8", calibrate=tmp_path)


@pytest.mark.parametrize(
    ("options", "target"), [({}, "cpu"), ({"precision": "fp16"}, "cuda"), ({"optimize_for": "cuda"}, "cuda")]
)
def test_graph_is_made_for_the_hardware_of_its_precision(
    make_checkpoint: Callable[..., Path], options: dict[str, str], target: str
) -> None:
    assert plan(make_checkpoint(), **options).target == target
