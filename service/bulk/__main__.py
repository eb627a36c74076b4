"""The command `lapis-bulk`."""

from __future__ import annotations

import json
import sys
import time
from typing import TYPE_CHECKING, NoReturn

from lapis.command import run

from service.bulk import begun
from service.bulk.errors import BulkError
from service.bulk.settings import BulkSettings
from service.errors import StartupError

if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import IO

    from service.bulk.units import Todo
    from service.bulk.worker import Report

INTERRUPTED = 130


def main() -> NoReturn:
    """Run the command."""
    run("lapis-bulk", BulkSettings, translate_all, errors=(BulkError, StartupError), extra="bulk")


def translate_all(settings: BulkSettings) -> int:
    """Translate what has no output yet; returns the exit code. Raises BulkError and StartupError."""
    # An extra: whoever lacks it is told before anything is begun.
    import ray  # noqa: PLC0415
    import ray.data  # noqa: F401, PLC0415

    try:
        return _translate_all(settings)
    except KeyboardInterrupt:
        print("interrupted; the same command goes on from here", file=sys.stderr)
        return INTERRUPTED


def _translate_all(settings: BulkSettings) -> int:
    from service.bulk.cluster import joined, translate  # noqa: PLC0415

    todo = _begin(settings)
    kind = "shards" if todo.units and todo.units[0].is_shard else "pictures"
    print(
        f"{settings.input}: {todo.wanted + todo.done:,} found, {todo.done:,} done already, {todo.wanted:,} {kind} to do"
    )
    if not todo.units:
        return 0
    with joined(settings.ray):
        return _tell(settings, translate(settings, todo.units))


def _begin(settings: BulkSettings) -> Todo:
    """Look at what there is, before anything is started for it."""
    from service.bulk.pipeline import choose  # noqa: PLC0415
    from service.bulk.storage import Storage  # noqa: PLC0415
    from service.bulk.units import plan  # noqa: PLC0415
    from service.bulk.worker import EXTENSIONS, served_with  # noqa: PLC0415

    source, target = Storage(settings.input), Storage(settings.output)
    source.check_is_there()
    source.check_apart(target)
    model = choose(served_with(settings, on_gpu=False), settings.model, settings.model_version)
    todo = plan(source.names(), target.names(), EXTENSIONS[settings.format], settings.unit)
    begun.begin(target, begun.describe(settings, model))
    return todo


def _tell(settings: BulkSettings, reports: Iterable[Report]) -> int:
    """Say how it goes, and write down what failed."""
    began = told = time.monotonic()
    translated = failed = 0
    with settings.failures.open("w", encoding="utf-8") as failures:
        for report in reports:
            translated += report.translated
            failed += len(report.failed)
            _note(failures, report)
            if settings.report_every and time.monotonic() - told >= settings.report_every:
                told = time.monotonic()
                print(_line(translated, failed, told - began), flush=True)
    print(_line(translated, failed, time.monotonic() - began))
    if failed:
        print(f"{failed:,} failed; {settings.failures} has their names, and why")
    return 1 if failed else 0


def _note(failures: IO[str], report: Report) -> None:
    for name, reason in report.failed:
        failures.write(json.dumps({"name": name, "reason": reason}) + "\n")
    failures.flush()


def _line(translated: int, failed: int, seconds: float) -> str:
    more = f", {failed:,} failed" if failed else ""
    rate = translated / max(seconds, 1e-9)
    return f"{translated:,} pictures translated{more} in {seconds:.1f} s ({rate:.1f} pictures/s)"


if __name__ == "__main__":
    main()
