"""What a source has: the parts to be read, each a file of a repository or an archive of such files."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, Protocol

from service.delivery.errors import Refused

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

Form = Literal["file", "tar", "tar.gz"]

_FORMS: dict[str, Form] = {".onnx": "file", ".tar": "tar", ".tar.gz": "tar.gz", ".tgz": "tar.gz"}


@dataclass(frozen=True)
class Part:
    """Something that is read from its first byte to its last; `read(offset)` begins at any byte.

    `path` is where it lies at its source, as far as that is known, from the outermost folder on. `sha256` is what its
    bytes must come to, and `size` how many there are, where the source says so.
    """

    path: tuple[str, ...]
    form: Form
    read: Callable[[int], Iterator[bytes]] = field(repr=False, compare=False)
    size: int | None = None
    sha256: str = ""


@dataclass(frozen=True)
class Offer:
    """All that a URL stands for. `identity` changes when any of it does; "" where the source cannot tell.

    `sha256` is the digest of the whole where the source has one. Where `sums` is set, the parts are a folder's, and
    that one lists the digests of the others.
    """

    identity: str
    parts: Sequence[Part]
    sha256: str = ""
    folder: bool = False
    sums: Part | None = None


class Source(Protocol):
    """Where models come from."""

    def offer(self) -> Offer:
        """Return what is there now; raises Refused and Transient."""


def form_of(path: str) -> Form | None:
    """Return what a file is by its name, None for what is no file of ours."""
    return next((form for ending, form in _FORMS.items() if path.lower().endswith(ending)), None)


def expected_form(path: str, shown: str) -> Form:
    """Return what the file at the end of the path is; raises Refused."""
    form = form_of(path)
    if form is None:
        raise Refused(f"{shown}: expected a name that ends in {', '.join(_FORMS)}")
    return form
