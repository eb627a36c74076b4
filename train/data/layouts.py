"""Where the pairs are: the layouts of paired data sets, told apart by looking.

    side by side   FOLDER/*.png, each A|B in one picture (facades, maps, edges2shoes)
    two folders    FOLDER/A/*, FOLDER/B/*, matched by name without suffix

A data set is such a folder, or a folder with the splits `train` and `val` (or `test`), each in one of the layouts
(or, as in the second, A/train and B/train).
"""

from __future__ import annotations

import json
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from tqdm import tqdm

from train.data.pictures import SUFFIXES, Picture, UnreadablePicture, read_picture
from train.errors import PairsError

if TYPE_CHECKING:
    from pathlib import Path

HELD_OUT_SPLITS = ("val", "test")
DESCRIPTION = "pairs.json"


@dataclass(frozen=True)
class Pair:
    """One (A, B): two files, or one file that shows both."""

    name: str
    A: Path
    B: Path

    @property
    def side_by_side(self) -> bool:
        """Tells whether one file shows A and B."""
        return self.A == self.B


@dataclass(frozen=True)
class Found:
    """The pairs of a split in order of name, and what is wrong with the rest, a line each."""

    pairs: list[Pair]
    problems: list[str]


def find_pairs(folder: Path, split: str | None = None) -> Found:
    """Finds the pairs of one split of a data set (None: the folder itself).

    Raises PairsError where there is no such folder, or nothing in it that could be a pair.
    """
    if not folder.is_dir():
        raise PairsError(f"{folder}: no such folder")
    folder_A, folder_B = _two_folders(folder, split)
    if folder_A.is_dir() and folder_B.is_dir():
        found = _match(folder_A, folder_B)
    else:
        place = folder / split if split else folder
        found = Found([Pair(path.stem, path, path) for path in _pictures(place)], _same_stems(_pictures(place)))
    if not found.pairs and not found.problems:
        where = folder / split if split else folder
        raise PairsError(f"{where}: no pictures; wanted are side-by-side pictures, or the folders A and B")
    return found


def splits(folder: Path) -> tuple[str | None, str | None]:
    """Names the split to train on and the held-out one; None: the folder has no splits, or no held-out one."""
    names = [name for name in ("train", *HELD_OUT_SPLITS) if _has_split(folder, name)]
    if "train" not in names:
        return None, None
    return "train", next((name for name in names if name != "train"), None)


def describe(folder: Path) -> dict[str, Any]:
    """Returns what the data set says of itself in pairs.json (name, licence, attribution, url); at least its name."""
    known: dict[str, Any] = {"name": folder.resolve().name, "licence": "", "attribution": "", "url": ""}
    path = folder / DESCRIPTION
    if path.is_file():
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise PairsError(f"{path}: not readable as JSON ({error})") from error
        known |= {key: content[key] for key in known if key in content}
    return known


def read_pair(pair: Pair, channels_A: int, channels_B: int) -> tuple[Picture, Picture]:
    """Reads both pictures as [H, W, C]. Raises UnreadablePicture, naming the file, for damage or sizes that differ."""
    if pair.side_by_side:
        both = _named(pair.A, max(channels_A, channels_B))
        width = both.shape[1]
        if width % 2:
            raise UnreadablePicture(f"{pair.A}: {width} pixels wide; A and B side by side need an even width")
        A, B = both[:, : width // 2], both[:, width // 2 :]
        return _fewer(A, channels_A), _fewer(B, channels_B)
    A, B = _named(pair.A, channels_A), _named(pair.B, channels_B)
    if A.shape[:2] != B.shape[:2]:
        size_A, size_B = (f"{picture.shape[1]}x{picture.shape[0]}" for picture in (A, B))
        raise UnreadablePicture(f"{pair.A}: {size_A}, but {pair.B}: {size_B}; A and B must be of one size")
    return A, B


def check_pairs(found: Found, channels_A: int, channels_B: int, *, skip_bad: bool, what: str) -> list[Pair]:
    """Decodes every picture on all cores and returns the pairs that are sound.

    Raises PairsError listing all that are not, unless `skip_bad` says to leave them out; raises it as well where no
    pair is left.
    """
    with ThreadPoolExecutor() as pool:
        complaints = pool.map(partial(_complaint, channels_A=channels_A, channels_B=channels_B), found.pairs)
        bar = tqdm(complaints, total=len(found.pairs), desc=f"checking {what}", unit="pair", disable=None, leave=False)
        verdicts = list(bar)
    problems = found.problems + [verdict for verdict in verdicts if verdict]
    sound = [pair for pair, verdict in zip(found.pairs, verdicts, strict=True) if not verdict]
    if problems and not skip_bad:
        listing = "\n  ".join(problems)
        raise PairsError(f"{len(problems)} bad in {what} (--skip-bad leaves them out):\n  {listing}")
    if problems:
        print(f"{what}: left out {len(problems)} bad, kept {len(sound)}")
    if not sound:
        raise PairsError(f"{what}: no sound pair is left")
    return sound


def _complaint(pair: Pair, channels_A: int, channels_B: int) -> str | None:
    try:
        read_pair(pair, channels_A, channels_B)
    except UnreadablePicture as error:
        return str(error)
    return None


def _named(path: Path, channels: int) -> Picture:
    try:
        return read_picture(path, channels)
    except UnreadablePicture as error:
        raise UnreadablePicture(f"{path}: {error}") from error


def _fewer(picture: Picture, channels: int) -> Picture:
    """Makes the grey half of a picture that was read in colour grey: the mean, exact where the half is grey already."""
    if picture.shape[2] == channels:
        return picture
    grey: Picture = picture.mean(axis=2, keepdims=True).round().astype(picture.dtype)
    return grey


def _has_split(folder: Path, name: str) -> bool:
    return (folder / name).is_dir() or all(place.is_dir() for place in _two_folders(folder, name))


def _two_folders(folder: Path, split: str | None) -> tuple[Path, Path]:
    if split is None:
        return folder / "A", folder / "B"
    inside = folder / split
    if (inside / "A").is_dir():
        return inside / "A", inside / "B"
    return folder / "A" / split, folder / "B" / split


def _match(folder_A: Path, folder_B: Path) -> Found:
    pictures_A, pictures_B = _pictures(folder_A), _pictures(folder_B)
    problems = _same_stems(pictures_A) + _same_stems(pictures_B)
    by_name_A = {path.stem: path for path in pictures_A}
    by_name_B = {path.stem: path for path in pictures_B}
    problems += [f"{by_name_A[name]}: no partner in {folder_B}" for name in sorted(by_name_A.keys() - by_name_B)]
    problems += [f"{by_name_B[name]}: no partner in {folder_A}" for name in sorted(by_name_B.keys() - by_name_A)]
    names = sorted(by_name_A.keys() & by_name_B)
    return Found([Pair(name, by_name_A[name], by_name_B[name]) for name in names], problems)


def _pictures(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    return sorted(path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES and path.is_file())


def _same_stems(paths: list[Path]) -> list[str]:
    counts = Counter(path.stem for path in paths)
    return [f"{path}: another picture here has the same name" for path in paths if counts[path.stem] > 1]
