"""What a model must keep beside its values: seeds, repetition, and the sizes that it was not made for."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from export.apart import among
from export.errors import RunsDiffer, SeedsWrong, ValuesDiffer
from export.proof import prove_values, references, row
from train.data.pictures import resize

if TYPE_CHECKING:
    import onnxruntime  # type: ignore[import-untyped]

    from export.metadata import Parity, PictureSpec
    from export.precision import Bounds
    from export.proof import Pictures, Seeds, Translate
    from export.translator import Translator

FEW = 2  # pictures at each size that the model was not made for
SEEDS = (0, 1, 2**32, -1, 2**63 - 1)  # some differ in their highest bits alone


class AtSize(NamedTuple):
    """What was found at a size."""

    height: int
    width: int
    parity: Parity


def sizes_to_prove(spec: PictureSpec) -> list[tuple[int, int]]:
    """Returns heights and widths, the one that the model was made for first; a model of one size has no other.

    With it go the smallest size, the smallest that is not square, and one that is a step higher than it was made for.
    """
    made_for = (spec.height, spec.width)
    if not spec.any_size:
        return [made_for]
    step = spec.multiple
    least = -(-spec.smallest // step) * step
    others = [(least, least + step), (spec.height + step, spec.width), (least, least)]
    if spec.height + step == spec.width:
        others.append((spec.height, spec.width + step))
    return list(dict.fromkeys([made_for, *others]))


def few_at_size(pictures: Pictures, height: int, width: int) -> Pictures:
    """Returns the two richest of pictures [n, H, W, C] as [2, height, width, C]: made smaller, or laid side by side.

    Of a flat picture a norm over its own pixels makes a picture of rounding errors, which proves nothing; a piece cut
    out of a drawing is often flat.
    """
    richest = np.argsort([-float(picture.std()) for picture in pictures], kind="stable")[:FEW]
    smaller = [resize(pictures[i], min(height, pictures.shape[1]), min(width, pictures.shape[2])) for i in richest]
    times = (-(-height // smaller[0].shape[0]), -(-width // smaller[0].shape[1]), 1)
    return np.stack([np.tile(picture, times)[:height, :width] for picture in smaller])


def prove_sizes(
    session: onnxruntime.InferenceSession,
    translator: Translator,
    pictures: Pictures,
    given: PictureSpec,
    bounds: Bounds,
    *,
    seeds: Seeds | None = None,
) -> list[AtSize]:
    """Returns how far the model is from PyTorch at sizes that it was not made for; none for a model of one size.

    A few pictures, made smaller or repeated, go through each. Raises what `prove_values` does, naming the size.
    """
    found = []
    for height, width in sizes_to_prove(given)[1:]:
        few = few_at_size(pictures, height, width)
        some = None if seeds is None else seeds[: len(few)]
        try:
            parity = prove_values(session, few, references(translator, few, some), bounds, some)
        except ValuesDiffer as error:
            raise ValuesDiffer(f"at {height} x {width} pixels {error}", error.largest) from error
        found.append(AtSize(height, width, parity))
    return found


def prove_seeds(translate: Translate, picture: Pictures, accepted: float = 0) -> float:
    """Proves that each seed gives a picture of its own, and the same one again; returns by how much they differ.

    That is the mean difference, in levels of 255, between the translations of `picture`, [H, W, C], with any two of
    several seeds. Raises SeedsWrong; the same seed may be `accepted` levels off.
    """
    seeds = np.array(SEEDS, np.int64)
    together = translate(np.repeat(picture[np.newaxis], len(seeds), axis=0), seeds)
    for i in reversed(range(len(seeds))):
        largest = among(translate(picture[np.newaxis], row(seeds, i)), together[i : i + 1]).largest
        if largest > accepted:
            raise SeedsWrong(f"seed {seeds[i]} gives another picture the second time, up to {largest:g} levels off")
    pairs = [(i, j) for i in range(len(seeds)) for j in range(i)]
    same = [
        f"{seeds[j]} and {seeds[i]}" for i, j in pairs if among(together[i : i + 1], together[j : j + 1]).largest == 0
    ]
    if same:
        raise SeedsWrong(f"different seeds give the same picture: {'; '.join(same)}")
    return among(np.stack([together[i] for i, _ in pairs]), np.stack([together[j] for _, j in pairs])).mean


def prove_repeats(translate: Translate, pictures: Pictures, seeds: Seeds | None = None, accepted: float = 0) -> float:
    """Proves that the same pictures come out the same when they are run again; returns the largest difference.

    Raises RunsDiffer where that is more than `accepted` levels of 255.
    """
    first = translate(pictures, seeds)
    largest = max(among(translate(pictures, seeds), first).largest for _ in range(2))
    if largest > accepted:
        raise RunsDiffer(f"the same pictures come out up to {largest:g} levels of 255 apart from run to run", largest)
    return largest
