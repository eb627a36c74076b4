"""Writes and checks data sets on disk."""

from __future__ import annotations

import json
import math
import shutil
import tempfile
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from functools import partial
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING

from tqdm import tqdm

from train.data.layouts import DESCRIPTION, check_pairs, find_pairs, splits
from train.data.pictures import write_png
from train.errors import PairsError
from train.pairs import openmoji

if TYPE_CHECKING:
    from collections.abc import Iterator


def build_openmoji(output: Path, *, size: int, test: int, seed: int, limit: int | None) -> dict[str, int]:
    """Writes OpenMoji as PNGs into output/{train,test}/{A,B}; returns the number of pairs of each split.

    `limit` takes only so many pairs, spread over the whole set. Raises PairsError where the folder is taken or cannot
    be written; nothing is left behind then.
    """
    drawings = openmoji.drawings()
    if limit is not None:
        drawings = drawings[:: math.ceil(len(drawings) / limit)]
    with _folder_made_whole(output) as folder:
        for split, side in product(("train", "test"), "AB"):
            (folder / split / side).mkdir(parents=True)
        names = _draw(drawings, folder / "train", size)
        held_out = openmoji.hold_out(names, test, seed)
        if len(held_out) >= len(names):
            raise PairsError(f"--test {test} leaves nothing to train on: there are {len(names)} pairs")
        for name, side in product(held_out, "AB"):
            (folder / "train" / side / f"{name}.png").rename(folder / "test" / side / f"{name}.png")
        counts = {"train": len(names) - len(held_out), "test": len(held_out)}
        description = openmoji.DESCRIPTION | {"size": size, "seed": seed, "pairs": counts}
        (folder / DESCRIPTION).write_text(json.dumps(description, indent=2) + "\n", encoding="utf-8")
    return counts


def check(folder: Path, *, channels_A: int, channels_B: int, skip_bad: bool) -> dict[str, int]:
    """Decodes every pair of a data set and returns how many are sound, by split. Raises PairsError listing the rest."""
    counts = {}
    for split in _splits_or_all(folder):
        found = find_pairs(folder, split)
        what = str(folder / (split or ""))
        counts[split or folder.name] = len(check_pairs(found, channels_A, channels_B, skip_bad=skip_bad, what=what))
    return counts


def _splits_or_all(folder: Path) -> list[str | None]:
    """Names the splits of a data set; [None] stands for a folder without any."""
    return [split for split in splits(folder) if split] or [None]


def _draw(drawings: list[openmoji.Drawing], folder: Path, size: int) -> list[str]:
    """Writes the pairs of all drawings with colour on all cores; returns their names."""
    with ProcessPoolExecutor() as pool:
        written = pool.map(partial(_draw_one, folder=folder, size=size), drawings, chunksize=16)
        names = list(tqdm(written, total=len(drawings), desc="drawing", unit="drawing", disable=None))
    return [name for name in names if name]


def _draw_one(drawing: openmoji.Drawing, *, folder: Path, size: int) -> str | None:
    pair = openmoji.pair(drawing, size)
    if pair is None:
        return None
    for side, picture in zip("AB", pair, strict=True):
        write_png(folder / side / f"{drawing.name}.png", picture)
    return drawing.name


@contextmanager
def _folder_made_whole(output: Path) -> Iterator[Path]:
    """Gives a folder beside `output` that takes its name once the block is through, and vanishes otherwise."""
    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise PairsError(f"{output}: exists already and is not empty; name another folder or remove it")
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=f".{output.name}.", dir=output.parent))
    except OSError as error:
        raise PairsError(f"{output}: cannot be written ({error.strerror})") from error
    try:
        yield temporary
        temporary.chmod(0o755)
        temporary.rename(output)
    except OSError as error:
        raise PairsError(f"{output}: cannot be written ({error.strerror})") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
