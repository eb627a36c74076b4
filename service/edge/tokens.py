"""Who may call: bearer tokens, each with the name of whom it was given to, in a file that may change.

The file has one `NAME TOKEN` a line, and comments from `#` on. A name may have several tokens, so that a new one can be
handed out before the old one goes.
"""

from __future__ import annotations

import hashlib
import re
import secrets
from typing import TYPE_CHECKING

from service.edge.reread import Reread, content
from service.errors import StartupError, Unauthenticated

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    Metadata = Iterable[tuple[str, str | bytes]]

# What a bearer token may be made of (RFC 6750, 2.1).
_TOKEN = re.compile(r"[A-Za-z0-9._~+/-]+=*")
_SCHEME = "bearer "
# Digests are of use in this process alone.
_SALT = secrets.token_bytes(32)


class Tokens:
    """The tokens in a file, read again when it changes; raises StartupError where it cannot be used at the start."""

    def __init__(self, path: Path) -> None:
        self._names = Reread("tokens", [path], lambda: _read(path))

    def name(self, metadata: Metadata | None) -> str:
        """Return the name of the caller whose token came with a call; raises Unauthenticated.

        What is looked up is a digest that nobody outside can foresee, so that the time it takes tells nothing of how
        near a wrong token came.
        """
        token = _bearer(metadata)
        if token is None:
            raise Unauthenticated("the call carries no token; send metadata `authorization: Bearer TOKEN`")
        name = self._names.latest().get(_digest(token))
        if name is None:
            raise Unauthenticated("the token is not one that this server knows, or not any more")
        return name


def _bearer(metadata: Metadata | None) -> str | None:
    for key, value in metadata or ():
        if key == "authorization" and isinstance(value, str) and value[: len(_SCHEME)].lower() == _SCHEME:
            return value[len(_SCHEME) :].strip()
    return None


def _read(path: Path) -> dict[bytes, str]:
    """Return the names by their tokens' digests. Nothing that is said of a bad line repeats any of it."""
    names: dict[bytes, str] = {}
    for number, name, token in _entries(path):
        if names.setdefault(digest := _digest(token), name) != name:
            raise StartupError(f"--tokens: {path}, line {number}: the token is that of {names[digest]}, too")
    if not names:
        raise StartupError(f"--tokens: {path} holds no token, so that nobody could call; one `NAME TOKEN` a line")
    return names


def _entries(path: Path) -> Iterator[tuple[int, str, str]]:
    try:
        text = content(path, "--tokens").decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise StartupError(f"--tokens: {path} is not text in UTF-8") from error
    for number, line in enumerate(text.splitlines(), 1):
        words = line.split()
        if not words or words[0].startswith("#"):
            continue
        if len(words) < 2 or (len(words) > 2 and not words[2].startswith("#")):
            raise StartupError(f"--tokens: {path}, line {number}: must be `NAME TOKEN`, a space between, none in them")
        if not _TOKEN.fullmatch(words[1]):
            raise StartupError(
                f"--tokens: {path}, line {number}: the token has other characters than letters, digits and -._~+/ "
                "with = at its end"
            )
        yield number, words[0], words[1]


def _digest(token: str) -> bytes:
    return hashlib.blake2b(token.encode(errors="surrogateescape"), key=_SALT, digest_size=32).digest()
