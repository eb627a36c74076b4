"""The command `lapis-translate`: pictures on disk, through a Lapis server, to pictures on disk."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import IO, TYPE_CHECKING, NoReturn

from tqdm import tqdm

# Read when gRPC is imported: its notes on connections are not for the reader of a command's output.
os.environ.setdefault("GRPC_VERBOSITY", "NONE")

from lapis.bulk import translate_files
from lapis.client import AsyncClient, TranslateOptions, TranslationError
from lapis.client.address import count_addresses
from lapis.command import run
from lapis.listing import table
from lapis.output import EXTENSIONS, UnusablePaths, make_folders
from lapis.plan import plan
from lapis.report import Report
from lapis.retry import Retry, patiently
from lapis.settings import Settings
from lapis.sources import Sources

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lapis.client import ConnectOptions, Model
    from lapis.plan import Plan

SOME_FAILED = 1
INTERRUPTED = 130


class UnusableModel(Exception):
    """A model that the server has, and that will never answer."""


def translate(settings: Settings) -> int:
    """Does what the settings say; returns the exit code."""
    try:
        return asyncio.run(_list_models(settings)) if settings.models else _translate(settings)
    except KeyboardInterrupt:
        return INTERRUPTED


def _translate(settings: Settings) -> int:
    output = settings.output or Path()
    sources = Sources(settings.inputs, settings.list, output, settings.root)
    jobs = plan(
        sources,
        output,
        EXTENSIONS[settings.file_format],
        overwrite=settings.overwrite,
        resume=settings.resume,
        seeds=settings.each_seed,
        watch=partial(tqdm, desc="looking for pictures", unit="", delay=1, leave=False, disable=None),
    )
    if not jobs:
        print(f"nothing to do: all {jobs.skipped} translations are in {output} already")
        return 0
    with _opened(settings.failures) as failures:
        report = Report(len(jobs), jobs.skipped, output, failures)
        try:
            asyncio.run(_translate_all(settings, jobs, report))
        except asyncio.CancelledError:  # SIGTERM
            return INTERRUPTED
        finally:
            report.summary()
    return SOME_FAILED if report.failed else 0


async def _translate_all(settings: Settings, jobs: Plan, report: Report) -> None:
    _end_on_sigterm()
    # A wrong address or model is told once, before any folder is made, and not once for each picture.
    model = await _find_model(settings)
    make_folders(jobs.folders())
    # That other models are healthy is of no matter.
    connection: ConnectOptions = {**settings.connection, "health_service": model.name}
    async with AsyncClient(settings.server, timeout=settings.timeout, **connection) as client:
        await translate_files(
            client,
            jobs,
            _options(settings, len(jobs)),
            concurrency=settings.concurrency,
            streams=await _streams(settings),
            retry=Retry(settings.retry_max_time),
            report=report,
        )


async def _find_model(settings: Settings) -> Model:
    async with AsyncClient(settings.server, timeout=settings.timeout, **settings.connection) as client:
        find = partial(client.get_model, settings.model, settings.model_version)
        model = await patiently(find, Retry(settings.connect_timeout))
    if model.state == "failed":
        raise UnusableModel(f"the server could not load model {model.name} version {model.version}; its log says why")
    if model.state == "ready":
        _check_options(settings, model)
    return model


def _check_options(settings: Settings, model: Model) -> None:
    """Raises UnusableModel for what every picture would be refused for."""
    name = f"model {model.name} version {model.version}"
    if (settings.seed is not None or settings.seeds) and not model.takes_seed:
        raise UnusableModel(f"{name} takes no seed: it was exported without its noise; leave --seed and --seeds out")
    if model.output.dtype != "uint8" and settings.file_format != "png":
        raise UnusableModel(f"{name} gives 16 bits, which {settings.file_format} cannot hold: ask for --format png")


def _options(settings: Settings, pictures: int) -> TranslateOptions:
    """Returns what is asked for each picture: where there are many, nobody waits for one of them."""
    if settings.priority != "auto":
        return {**settings.options, "priority": settings.priority}
    return {**settings.options, "priority": "normal" if pictures == 1 else "low"}


async def _streams(settings: Settings) -> int:
    """Returns on how many calls the pictures go: a call goes to one server."""
    if settings.streams != "auto":
        return settings.streams
    return min(await asyncio.to_thread(count_addresses, settings.server), settings.concurrency)


@contextmanager
def _opened(failures: Path | None) -> Iterator[IO[bytes] | None]:
    """Opens the list of failures anew; raises UnusablePaths where it cannot be written."""
    if failures is None:
        yield None
        return
    try:
        file = failures.open("wb")
    except OSError as error:
        raise UnusablePaths(f"cannot write --failures {failures}: {error.strerror}") from error
    with file:
        yield file


def _end_on_sigterm() -> None:
    """Lets SIGTERM end the run as Ctrl-C does: with a summary, and without half a file."""
    task = asyncio.current_task()
    assert task is not None  # noqa: S101 (called in one)
    if sys.platform != "win32":  # which has no such signal
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)


async def _list_models(settings: Settings) -> int:
    async with AsyncClient(settings.server, timeout=settings.timeout, **settings.connection) as client:
        for line in table(await patiently(client.list_models, Retry(settings.connect_timeout))):
            print(line)
    return 0


def main() -> NoReturn:
    """Is the command `lapis-translate`."""
    run("lapis-translate", Settings, translate, (TranslationError, UnusableModel, UnusablePaths))


if __name__ == "__main__":
    main()
