"""The command `lapis-bulk`."""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NoReturn

from lapis.command import run

from service.bulk import interrupt
from service.bulk.errors import BulkError
from service.bulk.settings import BulkSettings
from service.errors import StartupError

if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import IO

    from service.bulk.failures import Failed
    from service.bulk.units import Todo
    from service.bulk.worker import Report


def main() -> NoReturn:
    """Run the command."""
    try:
        run("lapis-bulk", BulkSettings, translate_all, errors=(BulkError, StartupError), extra="bulk")
    except SystemExit as end:
        if end.code in {interrupt.INTERRUPTED, interrupt.TERMINATED}:
            interrupt.leave(int(end.code))
        raise


def translate_all(settings: BulkSettings) -> int:
    """Translate what has no output yet; returns the exit code. Raises BulkError and StartupError."""
    try:
        interrupt.listen()
        # An extra: whoever lacks it is told before anything is begun.
        import ray  # noqa: PLC0415
        import ray.data  # noqa: F401, PLC0415

        return _translate_all(settings)
    except KeyboardInterrupt as stop:
        print("interrupted; the same command goes on from here", file=sys.stderr)
        return interrupt.code_of(stop)


def _translate_all(settings: BulkSettings) -> int:
    from service.bulk.cluster import translate  # noqa: PLC0415
    from service.bulk.joining import joined  # noqa: PLC0415

    begun = _begin(settings)
    todo = begun.todo
    print(
        f"{settings.input}: {todo.wanted + todo.done:,} found, {todo.done:,} done already, {todo.wanted:,} {todo.kind} "
        f"to do{todo.left_aside}"
    )
    with _opened(settings) as failures:
        telling = _Telling(settings, failures)
        telling.earlier(begun.failed)
        telling.note(todo.unnamed)
        if todo.units:
            with joined(settings.ray):
                telling.follow(translate(begun.settings, todo.units, begun.description))
        return telling.end()


@dataclass(frozen=True)
class _Begun:
    """What is known before anything is started: what to do and how, and what failed in shards that are done.

    The description is None where an earlier run left it.
    """

    settings: BulkSettings
    todo: Todo
    failed: list[Failed]
    description: dict[str, Any] | None


def _begin(settings: BulkSettings) -> _Begun:
    """Look at what there is, before anything is started for it; writes no file."""
    from service.bulk import begun, failures  # noqa: PLC0415
    from service.bulk.pipeline import choose  # noqa: PLC0415
    from service.bulk.storage import Storage, settled  # noqa: PLC0415
    from service.bulk.units import output_name, plan  # noqa: PLC0415
    from service.bulk.worker import EXTENSIONS, served_with  # noqa: PLC0415

    source, target = Storage(settings.input), Storage(settings.output, creates=True)
    source.check_is_there()
    source.check_apart(target)
    model = choose(served_with(settings, on_gpu=False), settings.model, settings.model_version)
    extension = EXTENSIONS[settings.format]
    todo = plan(source.names(), target.names(filled=True), extension, settings.unit)
    there = output_name(todo.finished[0], extension) if todo.finished else ""
    description = begun.describe(settings, model)
    is_continued = begun.is_continued(target, description, there)
    earlier = failures.kept(target, todo.finished) if todo.kind == "shards" else []
    return _Begun(settled(settings), todo, earlier, None if is_continued else description)


def _opened(settings: BulkSettings) -> IO[str]:
    try:
        return settings.failures.open("w", encoding="utf-8")
    except OSError as error:
        raise BulkError(f"--failures {settings.failures}: the file cannot be written: {error.strerror}") from error


class _Telling:
    """Says how it goes, and writes down what failed."""

    def __init__(self, settings: BulkSettings, failures: IO[str]) -> None:
        self._settings = settings
        self._failures = failures
        self._began = self._told = time.monotonic()
        self._translated = self._failed = self._before = 0
        self._followed = False

    def note(self, failed: list[Failed]) -> None:
        """Tell of what failed."""
        from service.bulk.failures import lines  # noqa: PLC0415

        self._failed += len(failed)
        self._failures.write(lines(failed))
        self._failures.flush()

    def earlier(self, failed: list[Failed]) -> None:
        """Tell of what had failed before this run, and is not tried again."""
        self._before = len(failed)
        self.note(failed)

    def follow(self, reports: Iterable[Report]) -> None:
        """Tell of reports as they come."""
        self._followed = True
        for report in reports:
            self._translated += report.translated
            self.note(report.failed)
            now, every = time.monotonic(), self._settings.report_every
            if every and now - self._told >= every:
                self._told = now
                print(self._line(), flush=True)

    def end(self) -> int:
        """Sum up; returns the exit code."""
        if self._followed:
            print(self._line())
        if not self._failed:
            return 0
        before = f" ({self._before:,} of them before this run)" if self._before else ""
        print(f"{self._failed:,} failed{before}; {self._settings.failures} has their names, and why")
        return 0 if self._settings.tolerate_failures else 1

    def _line(self) -> str:
        failed = self._failed - self._before
        more = f", {failed:,} failed" if failed else ""
        seconds = time.monotonic() - self._began
        rate = self._translated / max(seconds, 1e-9)
        return f"{self._translated:,} pictures translated{more} in {seconds:.1f} s ({rate:.1f} pictures/s)"


if __name__ == "__main__":
    main()
