"""Translates any number of files: keeps the pipe full, and waits where the server asks for it."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING

import grpc

from lapis.client import NotReady, Overloaded, Request, TranslationError, Unreachable
from lapis.output import write
from lapis.pipe import Pipe, StreamBroken
from lapis.retry import Retry, patiently

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from lapis.client import AsyncClient, TranslateOptions, Translation
    from lapis.plan import Job

# How often a picture's stream may break under it before the picture is suspected.
_BREAKS = 3


@dataclass(frozen=True)
class Outcome:
    """What became of a job: its translation, written, or why there is none."""

    job: Job
    result: Translation | TranslationError | OSError


async def translate_files(
    client: AsyncClient,
    jobs: Iterable[Job],
    options: TranslateOptions,
    *,
    concurrency: int,
    retry: Retry,
    report: Callable[[Outcome], None],
    streams: int = 1,
) -> None:
    """Translates the jobs and reports each as it ends.

    `concurrency` jobs are in hand at a time, from the reading of the picture to the writing of its translation, and no
    further job is taken from `jobs`. They go over `streams` calls of TranslateStream. A picture that fails does not
    stop the others. Raises Unreachable when the server stays away, as the rest would fail alike.
    """
    waiting = iter(jobs)  # shared: each worker takes the next job that no other has taken
    try:
        async with asyncio.TaskGroup() as calls:
            pipe = Pipe(client, calls, options, streams=streams, window=concurrency)
            bulk = _Bulk(client, pipe, options, retry, report)
            async with asyncio.TaskGroup() as workers:
                for _ in range(concurrency):
                    workers.create_task(bulk.work(waiting))
            pipe.close()
    except BaseExceptionGroup as errors:
        raise _first(errors) from None


class _Bulk:
    """What the workers share."""

    def __init__(
        self,
        client: AsyncClient,
        pipe: Pipe,
        options: TranslateOptions,
        retry: Retry,
        report: Callable[[Outcome], None],
    ) -> None:
        self.client = client
        self.pipe = pipe
        self.options = options
        self.retry = retry
        self.report = report
        self.answered = 0

    async def work(self, jobs: Iterator[Job]) -> None:
        """Does one job after the other while there are any."""
        for job in jobs:
            self.report(Outcome(job, await self._do(job)))

    async def _do(self, job: Job) -> Translation | TranslationError | OSError:
        attempts = _Attempts(self, job)
        try:
            translation = await patiently(attempts.translate, self.retry)
            self.answered += 1
            await asyncio.to_thread(write, job.target, translation.picture)
        except Unreachable as error:
            if attempts.server_is_gone(error):
                raise
            return error
        except (TranslationError, OSError) as error:
            return error
        return translation


class _Attempts:
    """One picture's attempts. A picture that may be what broke its stream goes alone, where it harms no other."""

    def __init__(self, bulk: _Bulk, job: Job) -> None:
        self._bulk = bulk
        self._job = job
        self._breaks = 0
        self._refused = 0
        self._alone = False
        self._answered_then: int | None = None  # pictures answered when the server was first found gone

    async def translate(self) -> Translation:
        """Tries once; raises a TranslationError or an OSError."""
        picture = await asyncio.to_thread(self._job.source.read_bytes)
        try:
            return await (self._translate_alone(picture) if self._alone else self._translate_with_others(picture))
        except Overloaded:
            self._refused += 1
            raise
        except Unreachable:
            if self._answered_then is None:
                self._answered_then = self._bulk.answered
            raise

    def server_is_gone(self, error: Unreachable) -> bool:
        """Tells whether no other picture was answered either, since this one was not."""
        return error.code is grpc.StatusCode.UNIMPLEMENTED or self._answered_then == self._bulk.answered

    async def _translate_with_others(self, picture: bytes) -> Translation:
        try:
            return await self._bulk.pipe.translate(Request(picture, **self._own))
        except StreamBroken as broken:
            error = broken.error
        self._breaks += 1
        if isinstance(error, Unreachable | NotReady) and self._breaks < _BREAKS:
            raise error
        self._alone = True
        return await self._translate_alone(picture)

    async def _translate_alone(self, picture: bytes) -> Translation:
        options: TranslateOptions = {**self._bulk.options, **self._own}
        return await self._bulk.client.translate(picture, **options)

    @property
    def _own(self) -> TranslateOptions:
        """What is asked for this picture and not for the others."""
        own: TranslateOptions = {"previous_attempts": self._refused} if self._refused else {}
        return own if self._job.seed is None else {**own, "seed": self._job.seed}


def _first(errors: BaseExceptionGroup) -> BaseException:
    """Returns the first error of a group, however deep it lies."""
    error = errors.exceptions[0]
    return _first(error) if isinstance(error, BaseExceptionGroup) else error
