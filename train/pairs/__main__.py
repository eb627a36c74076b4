"""The command `lapis-pairs`."""

from __future__ import annotations

from pathlib import Path

from lapis.command import CommandSettings, run
from pydantic import BaseModel, Field
from pydantic_settings import CliPositionalArg, CliSubCommand, SettingsConfigDict

from train.errors import PairsError


class OpenMoji(BaseModel):
    """Makes a data set of OpenMoji drawings: black lines → the drawing in colour, in the folders A and B."""

    output: Path = Field(..., description="folder to write; must not exist, or be empty")
    size: int = Field(256, ge=16, le=2048, description="pixels a side of each picture")
    test: int = Field(120, ge=1, description="drawings to hold out, at least; variants of one drawing stay together")
    seed: int = Field(0, ge=0, description="chooses the drawings that are held out")
    limit: int | None = Field(None, ge=2, description="take at most so many pairs, spread over the whole set")


class Check(BaseModel):
    """Decodes every picture of a data set and lists all that is wrong with it."""

    data: CliPositionalArg[Path] = Field(..., description="folder of the data set")
    input_nc: int = Field(3, ge=1, le=4, description="channels of A")
    output_nc: int = Field(3, ge=1, le=4, description="channels of B")
    skip_bad: bool = Field(False, description="count the bad pairs instead of failing on them")


class Grid(BaseModel):
    """Shows translations between the drawings they were made of and the targets: a row for each pair."""

    data: CliPositionalArg[Path] = Field(..., description="folder of the pairs: one split of a data set")
    translations: Path = Field(..., description="folder of pictures named as the pairs are")
    output: Path = Field(..., description="PNG to write: columns A, translation, B")
    rows: int = Field(8, ge=1, description="pairs to show, spread over those that were translated")


class PairsSettings(CommandSettings):
    """Makes and checks data sets of pairs for lapis-train."""

    model_config = SettingsConfigDict(env_prefix="LAPIS_PAIRS_", env_nested_delimiter="__")

    openmoji: CliSubCommand[OpenMoji] = Field(description="make a data set of OpenMoji drawings: lines → colour")
    check: CliSubCommand[Check] = Field(description="decode every picture of a data set and list what is wrong")
    grid: CliSubCommand[Grid] = Field(description="picture of A, translation and B, a row for each pair")


def main() -> None:
    """Runs `lapis-pairs`."""
    run("lapis-pairs", PairsSettings, pairs, (PairsError,), extra="train")


def pairs(settings: PairsSettings) -> int:
    """Carries out the subcommand and prints what came of it."""
    # Imported here: an installation of the service alone lacks what draws.
    from train.data.layouts import find_pairs  # noqa: PLC0415
    from train.pairs.build import build_openmoji, check  # noqa: PLC0415
    from train.pairs.grid import write_grid  # noqa: PLC0415

    if settings.openmoji:
        wanted = settings.openmoji
        counts = build_openmoji(wanted.output, size=wanted.size, test=wanted.test, seed=wanted.seed, limit=wanted.limit)
        print(f"{wanted.output}: {_listed(counts)} (OpenMoji, CC BY-SA 4.0)")
    elif settings.check:
        asked = settings.check
        counts = check(asked.data, channels_A=asked.input_nc, channels_B=asked.output_nc, skip_bad=asked.skip_bad)
        print(f"{asked.data}: {_listed(counts)}, all sound")
    elif settings.grid:
        drawn = settings.grid
        shown = write_grid(drawn.output, find_pairs(drawn.data).pairs, drawn.translations, drawn.rows)
        print(f"{drawn.output}: {shown} rows of A, translation, B")
    else:
        raise PairsError("name what to do: openmoji, check or grid (see lapis-pairs --help)")
    return 0


def _listed(counts: dict[str, int]) -> str:
    return ", ".join(f"{name} {count:,} pairs" for name, count in counts.items())


if __name__ == "__main__":
    main()
