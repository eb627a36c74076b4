"""What failed inside of shards, kept beside them: a shard without some of its pictures counts as done ever after."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from itertools import chain
from typing import TYPE_CHECKING

from service.bulk.errors import BulkError
from service.bulk.storage import Unusable
from service.bulk.units import readable

if TYPE_CHECKING:
    from collections.abc import Iterable

    from service.bulk.storage import Storage

FOLDER = ".lapis-bulk-failures"
_SUFFIX = ".jsonl"
_READERS = 16

Failed = tuple[str, str]
"""A picture's name, and why there is no translation of it."""


def lines(failed: Iterable[Failed]) -> str:
    """Return a line of JSON for each failure."""
    return "".join(json.dumps({"name": readable(name), "reason": readable(reason)}) + "\n" for name, reason in failed)


def keep(output: Storage, shard: str, failed: list[Failed]) -> None:
    """Write down what failed in a shard, to be done before the shard is written; raises as `Storage.write` does.

    What an attempt that ended before its shard was written left there is replaced.
    """
    record = f"{FOLDER}/{shard}{_SUFFIX}"
    if failed or output.has(record):
        output.write(record, lines(failed).encode())


def kept(output: Storage, shards: Iterable[str]) -> list[Failed]:
    """Return what failed in these shards, which are done; raises BulkError where it cannot be read."""
    records = output.below(FOLDER)
    there = set(records.names(filled=True))
    wanted = [record for shard in shards if (record := shard + _SUFFIX) in there]
    with ThreadPoolExecutor(_READERS) as readers:
        return list(chain.from_iterable(readers.map(lambda record: _read(records, record), wanted)))


def _read(records: Storage, record: str) -> list[Failed]:
    try:
        found = [json.loads(line) for line in records.read(record).splitlines()]
        return [(one["name"], one["reason"]) for one in found]
    except FileNotFoundError:
        return []
    except (Unusable, ValueError, LookupError, TypeError) as error:
        shard = record.removesuffix(_SUFFIX)
        raise BulkError(
            f"{records.place}/{record}: damaged, or not readable ({error}); remove it and {shard}, which is then done "
            "again"
        ) from error
