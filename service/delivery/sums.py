"""`SHA256SUMS`: the digests of a folder's files, as `sha256sum` writes and checks them."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from service.delivery.errors import Refused
from service.delivery.layout import SUMS_FILE, safe_parts
from service.models.repository import MODEL_FILE

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

_LINE = re.compile(r"([0-9a-fA-F]{64}) [ *](?:\./)?(.+)")


def parse(text: str, where: str) -> dict[tuple[str, ...], str]:
    """Return the digests by path, relative to the folder; raises Refused."""
    found = {}
    for number, line in enumerate(text.splitlines(), 1):
        match = _LINE.fullmatch(line.rstrip())
        if match:
            found[safe_parts(match[2], f"{where}: {SUMS_FILE}, line {number}")] = match[1].lower()
        elif line.strip():
            raise Refused(f"{where}: {SUMS_FILE}, line {number}: expected a SHA-256, two spaces and a path")
    return found


def check(
    digests: Mapping[tuple[str, ...], str],
    listed: Mapping[tuple[str, ...], str],
    names: Collection[tuple[str, ...]],
    where: str,
) -> None:
    """Compare what was received, of those names, with what is listed; raises Refused.

    Every file must be listed, and every model that is listed must be there.
    """
    for parts in names:
        path = "/".join(parts)
        if parts not in listed:
            raise Refused(f"{where}: {path} is not listed in {SUMS_FILE}")
        if listed[parts] != digests[parts]:
            raise Refused(f"{where}: the SHA-256 of {path} is {digests[parts]}; {SUMS_FILE} says {listed[parts]}")
    missing = sorted(parts for parts in listed if parts[-1] == MODEL_FILE and parts not in names)
    if missing:
        raise Refused(f"{where}: {SUMS_FILE} lists {'/'.join(missing[0])}, which is not there")
