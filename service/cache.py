"""Answers kept for when they are asked for again, where models are deterministic.

An answer depends on the model, on the decoded pixels and on the options, the seed among them; its key is a hash over
all of that. Two files with the same pixels share an answer, and a model's new version has none of the old one's.
"""

from __future__ import annotations

from hashlib import blake2b
from typing import TYPE_CHECKING, Generic, TypeVar

from cachetools import LRUCache

if TYPE_CHECKING:
    from service.engine.contract import Pixels

T = TypeVar("T")

# What an entry takes besides its data: the key, the answer's own objects, and its places in three tables, just after
# these have doubled. Measured, and rounded up.
OVERHEAD = 1024

# An answer that is larger than this share of the cache would cost too many others their place.
LARGEST_SHARE = 1 / 8


class AnswerCache(Generic[T]):
    """The answers used last, as many as fit into `max_bytes` with all that goes with them.

    For one thread, the event loop's; only `key` may be called in any.
    """

    def __init__(self, max_bytes: int) -> None:
        self._largest = max_bytes * LARGEST_SHARE
        self._entries: LRUCache[bytes, tuple[T, int]] = LRUCache(max_bytes, getsizeof=_size)

    @staticmethod
    def key(digest: str, pixels: Pixels, *options: object) -> bytes:
        """Return 32 bytes (BLAKE2b) that stand for a model's digest, [H, W, C] as decoded, and the options.

        An option's `repr` must tell all that matters of it, as those of numbers, strings, enums and dataclasses do. The
        hash runs over all pixels, about a second per gigabyte, and gives up the interpreter lock.
        """
        hashed = blake2b(digest_size=32)
        # Ahead of the pixels stands how many there are, and the repr of a tuple reads one way only.
        described = repr((digest, pixels.shape, options)).encode()
        hashed.update(len(described).to_bytes(8, "little"))
        hashed.update(described)
        hashed.update(pixels.tobytes() if not pixels.flags.c_contiguous else pixels.data)
        return hashed.digest()

    def get(self, key: bytes) -> T | None:
        """Return the answer of that key, which is then the one used last; None where none is kept."""
        entry = self._entries.get(key)
        return entry[0] if entry else None

    def put(self, key: bytes, answer: T, nbytes: int) -> None:
        """Keep an answer, whose data take `nbytes`, in place of those not used for longest.

        One larger than an eighth of the cache is not kept.
        """
        if _size((answer, nbytes)) <= self._largest:
            self._entries[key] = answer, nbytes

    @property
    def nbytes(self) -> int:
        """Bytes that the answers take, with all that goes with them."""
        return int(self._entries.currsize)


def _size(entry: tuple[object, int]) -> int:
    return entry[1] + OVERHEAD
