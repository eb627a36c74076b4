"""Real pictures and pairs, as people have them, in the form that a model takes and gives.

DATA is one of these, told apart by looking:

    pictures       FOLDER/*.png, inputs alone; or a single file
    side by side   FOLDER/*.png, each A|B in one picture: where all of them are twice as wide as the model's aspect
    two folders    FOLDER/A/*, FOLDER/B/*, matched by name without suffix

or a data set with splits, of which the held-out one is taken: val, else test, else train. Pictures are read as training
reads them. Beside picture files (grey, RGB and RGBA of 8 or 16 bits; TIFF with any number of channels), a file may be
a NumPy array, NAME.npy, uint8 or uint16 [H, W, C].
"""

from __future__ import annotations

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from export.bands import read_array, read_bands
from export.errors import PicturesError
from train.data.layouts import DESCRIPTION, HELD_OUT_SPLITS, Pair, read_pair
from train.data.pictures import SUFFIXES, UnreadablePicture, read_picture, resize

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from export.metadata import PictureSpec, Samples
    from export.sources.source import Direction

Pictures = NDArray[Any]  # uint8 or uint16 [n, H, W, C]
Picture = NDArray[Any]  # uint8 or uint16 [H, W, C]
T = TypeVar("T")
R = TypeVar("R")

MOST = 32  # the proof takes seconds, not minutes
ARRAY = ".npy"
_LOOKED_AT = 8  # pictures of a folder that tell whether it holds pairs side by side
_LIKE_TRAINING = (1, 3)  # channel counts that training reads, and converts into each other


class Inputs(NamedTuple):
    """Pictures [n, H, W, C] and their names."""

    names: list[str]
    pictures: Pictures


class Pairs(NamedTuple):
    """Inputs and targets, [n, H, W, C] each, and their names."""

    names: list[str]
    inputs: Pictures
    targets: Pictures


@dataclass(frozen=True)
class _Found:
    """The files of DATA: `flat`, or those of the folders A and B; `paired` where flat ones are known to be A|B."""

    place: Path
    flat: list[Path] = field(default_factory=list)
    A: list[Path] = field(default_factory=list)
    B: list[Path] = field(default_factory=list)
    paired: bool = False


def load_inputs(place: Path, spec: PictureSpec, *, direction: Direction, most: int | None = MOST) -> Pictures:
    """Returns up to `most` inputs, spread over their names: [n, H, W, C] of the spec's dtype, stretched to its size.

    Raises PicturesError where there are none, and where some cannot be read or have other channels, naming them all.
    """
    return read_inputs(place, spec, direction=direction, most=most).pictures


def load_pairs(
    place: Path,
    given: PictureSpec,
    made: PictureSpec,
    *,
    direction: Direction,
    most: int | None = None,
    lab: bool = False,
) -> tuple[Pictures, Pictures]:
    """Returns up to `most` inputs and their targets, spread over their names, each as its spec says.

    With `lab` a picture that stands alone is the target of itself: colourisation takes its lightness. Raises
    PicturesError as `load_inputs` does, and where A and B do not match.
    """
    pairs = read_pairs(place, given, made, direction=direction, most=most, lab=lab)
    return pairs.inputs, pairs.targets


def read_inputs(place: Path, spec: PictureSpec, *, direction: Direction, most: int | None = MOST) -> Inputs:
    """Returns what `load_inputs` does, with the names."""
    found = _find(place)
    side = found.A if direction == "AtoB" else found.B
    if not found.flat and not side:
        raise PicturesError(f"{found.place} holds no pictures in {'A' if direction == 'AtoB' else 'B'}")
    files = _spread(found.flat or side, most)
    halved = bool(found.flat) and _side_by_side(found, spec)

    def read(file: Path) -> Picture:
        picture = _read(file, spec.channels)
        return _fit(_half(file, picture, first=direction == "AtoB") if halved else picture, spec)

    return Inputs([file.stem for file in files], np.stack(_each(read, files)))


def read_pairs(
    place: Path,
    given: PictureSpec,
    made: PictureSpec,
    *,
    direction: Direction,
    most: int | None = None,
    lab: bool = False,
) -> Pairs:
    """Returns what `load_pairs` does, with the names."""
    found = _find(place)
    if found.flat and lab and not _side_by_side(found, given):
        alone = read_inputs(place, given, direction=direction, most=most)
        return Pairs(alone.names, alone.pictures, alone.pictures)
    pairs = _spread(_pairs(found), most)
    both = _each(partial(_read_pair, given=given, made=made, forward=direction == "AtoB"), pairs)
    inputs, targets = (np.stack(side) for side in zip(*both, strict=True))
    return Pairs([pair.name for pair in pairs], inputs, targets)


def holds_pairs(place: Path, given: PictureSpec, *, lab: bool = False) -> bool:
    """Tells whether DATA holds targets for its inputs; raises PicturesError where it holds nothing."""
    found = _find(place)
    return bool(found.A and found.B) or (bool(found.flat) and (lab or _side_by_side(found, given)))


def _find(place: Path) -> _Found:
    try:
        found = _Found(place, flat=[place]) if place.is_file() else _in_folder(place)
    except OSError as error:
        raise PicturesError(f"{place}: {error.strerror}; name a folder of real pictures or a data set") from error
    if not (found.flat or found.A or found.B):
        raise PicturesError(f"{place} holds no pictures; name a folder of real ones, or a data set of pairs")
    return found


def _in_folder(folder: Path) -> _Found:
    """Looks at a data set with splits, at two folders, at pictures, and at a held-out split alone, in this order."""
    described = (folder / DESCRIPTION).is_file()
    here = _split(folder, None, paired=described)
    held_out = [split for split in HELD_OUT_SPLITS if _has_split(folder, split)]
    trained = _has_split(folder, "train")
    if not trained and (here.flat or here.A or here.B or not held_out):
        return here
    return _split(folder, [*held_out, "train"][0], paired=trained or described)


def _split(folder: Path, split: str | None, *, paired: bool) -> _Found:
    inside = folder / split if split else folder
    if not (inside / "A").is_dir() and split and (folder / "A" / split).is_dir():
        return _Found(inside, A=_files(folder / "A" / split), B=_files(folder / "B" / split))
    if (inside / "A").is_dir() or (inside / "B").is_dir():
        return _Found(inside, A=_files(inside / "A"), B=_files(inside / "B"))
    return _Found(inside, flat=_files(inside, must=split is None), paired=paired)


def _has_split(folder: Path, split: str) -> bool:
    return (folder / split).is_dir() or (folder / "A" / split).is_dir()


def _files(folder: Path, *, must: bool = False) -> list[Path]:
    if not must and not folder.is_dir():
        return []
    return sorted(file for file in folder.iterdir() if file.suffix.lower() in {*SUFFIXES, ARRAY} and file.is_file())


def _spread(items: list[T], most: int | None) -> list[T]:
    places = np.linspace(0, len(items) - 1, min(most or len(items), len(items))).round().astype(int)
    return [items[place] for place in places]


def _pairs(found: _Found) -> list[Pair]:
    """Returns the pairs in order of name; raises PicturesError listing all that have no partner."""
    if found.flat:
        return [Pair(file.stem, file, file) for file in found.flat]
    sides = [{file.stem: file for file in files} for files in (found.A, found.B)]
    problems = [f"several are called {stem}" for files in (found.A, found.B) for stem in _twice(files)]
    problems += [f"{sides[0][stem]} has no partner in B" for stem in sorted(sides[0].keys() - sides[1])]
    problems += [f"{sides[1][stem]} has no partner in A" for stem in sorted(sides[1].keys() - sides[0])]
    if problems:
        raise PicturesError(f"{found.place}: {'; '.join(problems)}")
    return [Pair(stem, sides[0][stem], sides[1][stem]) for stem in sorted(sides[0])]


def _twice(files: list[Path]) -> list[str]:
    return [stem for stem, times in Counter(file.stem for file in files).items() if times > 1]


def _side_by_side(found: _Found, spec: PictureSpec) -> bool:
    """Tells whether flat pictures are A|B: known to be, or all twice as wide as the model's."""
    if found.paired:
        return True
    shapes = [shape[:2] for shape in _each(_shape, _spread(found.flat, _LOOKED_AT))]
    return all(
        width % 2 == 0 and abs(width * spec.height / (height * spec.width) - 2) < 0.02 for height, width in shapes
    )


def _shape(file: Path) -> tuple[int, ...]:
    with _named(file):
        return (read_array(file) if _is_array(file) else read_bands(file)).shape


def _read(file: Path, channels: int) -> Picture:
    """Reads [H, W, channels]; raises UnreadablePicture, which names the file."""
    with _named(file):
        if not _is_array(file) and channels in _LIKE_TRAINING:
            return read_picture(file, channels)
        picture = read_array(file) if _is_array(file) else read_bands(file, channels)
        if picture.shape[2] != channels:
            raise UnreadablePicture(f"has {picture.shape[2]} channels, {channels} are wanted")
        return picture


def _is_array(file: Path) -> bool:
    return file.suffix.lower() == ARRAY


@contextmanager
def _named(file: Path) -> Iterator[None]:
    try:
        yield
    except UnreadablePicture as error:
        raise UnreadablePicture(f"{file}: {error}") from error


def _read_pair(pair: Pair, *, given: PictureSpec, made: PictureSpec, forward: bool) -> tuple[Picture, Picture]:
    channels = (given.channels, made.channels) if forward else (made.channels, given.channels)
    if not (_is_array(pair.A) or _is_array(pair.B)) and set(channels) <= set(_LIKE_TRAINING):
        A, B = read_pair(pair, *channels)
    elif pair.side_by_side:
        A = _half(pair.A, _read(pair.A, channels[0]), first=True)
        B = _half(pair.A, _read(pair.A, channels[1]), first=False)
    else:
        A, B = _read(pair.A, channels[0]), _read(pair.B, channels[1])
    return (_fit(A, given), _fit(B, made)) if forward else (_fit(B, given), _fit(A, made))


def _half(file: Path, both: Picture, *, first: bool) -> Picture:
    width = both.shape[1]
    if width % 2:
        raise UnreadablePicture(f"{file} is {width} pixels wide; A and B side by side need an even width")
    return both[:, : width // 2] if first else both[:, width // 2 :]


def _fit(picture: Picture, spec: PictureSpec) -> Picture:
    return as_samples(resize(np.ascontiguousarray(picture), spec.height, spec.width), spec.dtype)


def as_samples(picture: Picture, dtype: Samples | str) -> Picture:
    """Converts a picture between 8 and 16 bits: times 257, and back to the nearest level."""
    if picture.dtype == dtype:
        return picture
    if dtype == "uint16":
        return picture.astype(np.uint16) * np.uint16(257)
    return ((picture.astype(np.uint32) + 128) // 257).astype(np.uint8)


def _each(read: Callable[[T], R], items: Sequence[T]) -> list[R]:
    """Reads on all cores; raises PicturesError naming all that cannot be read."""

    def attempt(item: T) -> R | UnreadablePicture:
        try:
            return read(item)
        except UnreadablePicture as error:
            return error

    with ThreadPoolExecutor() as pool:
        results = list(pool.map(attempt, items))
    problems = [str(result) for result in results if isinstance(result, UnreadablePicture)]
    if problems:
        raise PicturesError(f"{len(problems)} of {len(items)} pictures cannot be used: {'; '.join(problems)}")
    return [result for result in results if not isinstance(result, UnreadablePicture)]
