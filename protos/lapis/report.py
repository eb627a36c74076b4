"""Tells a person how it goes: a bar on a terminal, each failure as it happens, and what came of it all."""

from __future__ import annotations

import os
import sys
import time
from collections import Counter, defaultdict
from typing import IO, TYPE_CHECKING

from tqdm import tqdm

from lapis.client import Translation, TranslationError

if TYPE_CHECKING:
    from pathlib import Path

    from lapis.bulk import Outcome
    from lapis.plan import Job

_EXAMPLES = 3


class Report:
    """Counts outcomes and tells of them.

    `failures`, where given, gets a line for each job that failed, which `--list` reads: the picture, after a tab the
    name of its translation below `output`, and after another the seed, where there is one.
    """

    def __init__(self, jobs: int, skipped: int, output: Path, failures: IO[bytes] | None = None) -> None:
        self._started = time.monotonic()
        self._jobs = jobs
        self._skipped = skipped
        self._output = output
        self._failures = failures
        self._done = 0
        self._failed: Counter[str] = Counter()
        self._examples: defaultdict[str, list[str]] = defaultdict(list)
        # `None` shows the bar on a terminal only.
        self._bar = tqdm(total=jobs, unit=" pictures", dynamic_ncols=True, disable=True if jobs == 1 else None)

    @property
    def failed(self) -> int:
        """Jobs that failed."""
        return self._failed.total()

    def __call__(self, outcome: Outcome) -> None:
        """Takes note of a job that has ended."""
        if isinstance(outcome.result, Translation):
            self._done += 1
            if self._jobs == 1:
                print(described(outcome.job, outcome.result))
        else:
            self._note_failure(outcome.job, outcome.result)
        self._bar.update()

    def summary(self) -> None:
        """Prints what came of it all, unless nothing did; for one picture all has been said."""
        self._bar.close()
        if self._jobs == 1 or self._done + self.failed == 0:
            return
        seconds = time.monotonic() - self._started
        left = self._jobs - self._done - self.failed
        extras = [f"{self.failed} failed"] * (self.failed > 0) + [f"{left} not sent"] * (left > 0)
        extras += [f"{self._skipped} were there already"] * (self._skipped > 0)
        rate = f"{self._done / seconds:.1f} pictures/s"
        done = f"{self._done} of {self._jobs} pictures translated to {self._output} in {seconds:.1f} s ({rate})"
        print(", ".join([done, *extras]))
        for reason, count in self._failed.most_common():
            more = ", …" if count > _EXAMPLES else ""
            print(f"  {count} {reason}: {', '.join(self._examples[reason])}{more}")

    def _note_failure(self, job: Job, error: TranslationError | OSError) -> None:
        reason = error.reason if isinstance(error, TranslationError) else (error.strerror or type(error).__name__)
        self._failed[reason] += 1
        if self._failed[reason] <= _EXAMPLES:
            self._examples[reason].append(str(job.source))
        self._bar.set_postfix(failed=self.failed, refresh=False)
        text = f"{error} ({reason})" if isinstance(error, TranslationError) else reason
        tqdm.write(f"{job.source}: {text}", file=sys.stderr)
        if self._failures:
            self._list(job, self._failures)

    def _list(self, job: Job, failures: IO[bytes]) -> None:
        """Adds a line to the list of failures."""
        name = job.target.relative_to(self._output) if job.target != self._output else job.target.name
        line = f"{job.source}\t{name}"
        seed = "" if job.seed is None else f"\t{job.seed}"
        if line.count("\t") > 1 or not {"\n", "\r"}.isdisjoint(line):
            tqdm.write(
                f"{str(job.source)!r} cannot stand in a list: it has a tab or a line's end in it", file=sys.stderr
            )
            return
        failures.write(os.fsencode(f"{line}{seed}\n"))
        failures.flush()


def described(job: Job, translation: Translation) -> str:
    """Returns what is told of a single picture."""
    timings = translation.timings
    stages = ", ".join(f"{name} {1000 * getattr(timings, name):.1f}" for name in ("decode", "queue", "infer", "encode"))
    how = "from the cache" if translation.cached else f"batch of {timings.batch_size}"
    if translation.tiles > 1:
        how += f", {translation.tiles} tiles"
    if translation.seed is not None:
        how += f", seed {translation.seed}"
    return (
        f"{job.target}: {translation.width}x{translation.height} {translation.format} "
        f"by {translation.model} {translation.version} in {1000 * timings.total:.1f} ms ({stages}; {how})"
    )
