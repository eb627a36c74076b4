"""Translates many files over one connection: keeps the pipe full, and waits where the server asks for it."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, TypeVar

from lapis.client import NotReady, QueueFull, TranslationError, Unreachable
from lapis.plan import Job, write

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator, Sequence

    from lapis.client import AsyncClient, TranslateOptions, Translation

T = TypeVar("T")

_FIRST_WAIT = 0.25
_LONGEST_WAIT = 8.0


@dataclass(frozen=True)
class Outcome:
    """What became of a job: its translation, written, or why there is none."""

    job: Job
    result: Translation | TranslationError | OSError


@dataclass(frozen=True)
class Retry:
    """For how many seconds of waiting in all a call is made again, and how the waiting is done."""

    max_time: float
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep


async def translate_files(
    client: AsyncClient,
    jobs: Sequence[Job],
    options: TranslateOptions,
    *,
    concurrency: int,
    retry: Retry,
    report: Callable[[Outcome], None],
) -> None:
    """Translates the jobs, `concurrency` at a time, and reports each as it ends.

    A picture that fails does not stop the others. Raises Unreachable when the server stays away, as the rest would fail
    alike.
    """
    waiting = iter(jobs)  # shared: each worker takes the next job that no other has taken
    try:
        async with asyncio.TaskGroup() as group:
            for _ in range(min(concurrency, len(jobs))):
                group.create_task(_worker(client, waiting, options, retry, report))
    except BaseExceptionGroup as errors:
        raise errors.exceptions[0] from None


async def _worker(
    client: AsyncClient,
    waiting: Iterator[Job],
    options: TranslateOptions,
    retry: Retry,
    report: Callable[[Outcome], None],
) -> None:
    for job in waiting:
        try:
            translation = await patiently(partial(client.translate, job.source, **options), retry)
            await asyncio.to_thread(write, job.target, translation.picture)
        except Unreachable:
            raise
        except (TranslationError, OSError) as error:
            report(Outcome(job, error))
        else:
            report(Outcome(job, translation))


async def patiently(call: Callable[[], Awaitable[T]], retry: Retry) -> T:
    """Makes the call until the server takes it, or until waiting any longer would exceed `retry.max_time`."""
    waited, wait = 0.0, _FIRST_WAIT
    while True:
        try:
            return await call()
        except (QueueFull, NotReady, Unreachable) as error:
            pause = error.retry_after or wait
            if waited + pause > retry.max_time:
                raise
        await retry.sleep(pause)
        waited, wait = waited + pause, min(2 * wait, _LONGEST_WAIT)
