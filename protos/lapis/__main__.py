"""The command `lapis-translate`: pictures on disk, through a Lapis server, to pictures on disk."""

from __future__ import annotations

import asyncio
import os
import sys
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn, Self

from pydantic import Field, PositiveFloat, PositiveInt, field_validator, model_validator
from pydantic_settings import CliPositionalArg, SettingsConfigDict
from tqdm import tqdm

# Read when gRPC is imported: its notes on connections are not for the reader of a command's output.
os.environ.setdefault("GRPC_VERBOSITY", "ERROR")

from lapis.bulk import Outcome, Retry, patiently, translate_files
from lapis.client import (
    DEFAULT_ADDRESS,
    AsyncClient,
    Fit,
    Size,
    TranslateOptions,
    Translation,
    TranslationError,
)
from lapis.command import CommandSettings, run
from lapis.plan import EXTENSIONS, FORMATS, FileFormat, UnusablePaths, is_file_name, make_folders, plan

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lapis.client import Model, PictureSpec
    from lapis.plan import Job

SOME_FAILED = 1
INTERRUPTED = 130


class UnusableModel(Exception):
    """A model that the server has, and that will never answer."""


class Settings(CommandSettings):
    """Translate pictures with a Lapis server: files, and folders with all that is in them.

    Exit code 0: all translated; 1: some failed; 2: wrong usage or no server.
    """

    model_config = SettingsConfigDict(env_prefix="LAPIS_TRANSLATE_")

    inputs: CliPositionalArg[list[Path]] = Field(
        [],
        description="pictures, and folders that are searched recursively for "
        ".png, .jpg, .jpeg and .webp; hidden files are left out",
    )
    output: Path | None = Field(
        None,
        description="where the translations go: a file (named .png, .jpg, .jpeg or .webp) for one picture, "
        "else a folder, in which pictures keep their names relative to the folder they come from",
    )
    overwrite: bool = Field(False, description="replace outputs that exist; inputs are never replaced")
    server: str = Field(DEFAULT_ADDRESS, description="the server's gRPC address, HOST:PORT")
    models: bool = Field(False, description="list the server's models instead")
    model: str = Field("", description="the model; the server's default or only one where empty")
    model_version: str = Field("", description="the model's version; the highest that is ready where empty")
    fit: Fit = Field("stretch", description="how a picture is brought to the model's size")
    format: FileFormat | None = Field(None, description="format of the outputs; as the output file is named, else png")
    quality: int = Field(0, ge=0, le=100, description="quality of jpeg and webp, 1 to 100; the server's 90 where 0")
    size: Size = Field("model", description="size of the outputs: the model's, or that of the input picture")
    timeout: PositiveFloat = Field(60.0, description="seconds that a picture may take on the server, waiting included")
    connect_timeout: float = Field(10.0, ge=0, description="seconds to wait for a server that is not there yet")
    concurrency: PositiveInt = Field(8, description="pictures in flight at a time")
    retry_max_time: float = Field(
        60.0, ge=0, description="seconds to wait in all, for each picture, while the server is full, loading or gone"
    )

    @field_validator("server")
    @classmethod
    def _has_a_port(cls, server: str) -> str:
        host, _, port = server.rpartition(":")
        if not host or not port.isdecimal():
            raise ValueError("must be HOST:PORT")
        return server

    @model_validator(mode="after")
    def _says_what_to_do(self) -> Self:
        if self.models:
            return self
        if not self.inputs:
            raise ValueError("name at least one picture or folder (see lapis-translate --help)")
        if self.output is None:
            raise ValueError("--output is required: a file for one picture, else a folder")
        if is_file_name(self.output) and self.file_format != FORMATS[self.output.suffix.lower()]:
            raise ValueError(f"--output {self.output} is not named as --format {self.format} would be")
        if self.quality and self.file_format == "png":
            raise ValueError("--quality is for jpeg and webp: png has none")
        return self

    @property
    def file_format(self) -> FileFormat:
        """The format of the outputs."""
        named = self.output is not None and is_file_name(self.output) and FORMATS[self.output.suffix.lower()]
        return self.format or named or "png"

    @property
    def options(self) -> TranslateOptions:
        """What is asked of the server for each picture."""
        return TranslateOptions(
            model=self.model,
            version=self.model_version,
            fit=self.fit,
            format=self.file_format,
            quality=self.quality,
            size=self.size,
        )


class Report:
    """Tells a person how it goes: a bar on a terminal, each failure as it happens, and what came of it all."""

    def __init__(self, jobs: int) -> None:
        self.started = time.monotonic()
        self.jobs = jobs
        self.done = 0
        self.failed = 0
        # `None` shows the bar on a terminal only.
        self.bar = tqdm(total=jobs, unit=" pictures", dynamic_ncols=True, disable=True if jobs == 1 else None)

    def __call__(self, outcome: Outcome) -> None:
        """Takes note of a job that has ended."""
        self.bar.update()
        if isinstance(outcome.result, Translation):
            self.done += 1
            if self.jobs == 1:
                print(_described(outcome.job, outcome.result))
        else:
            self.failed += 1
            tqdm.write(f"{outcome.job.source}: {_reason(outcome.result)}", file=sys.stderr)

    def summary(self, output: Path | None) -> None:
        """Prints what came of it all, unless nothing did; for one picture all has been said."""
        self.bar.close()
        if self.jobs == 1 or self.done + self.failed == 0:
            return
        seconds = time.monotonic() - self.started
        rate = f"{self.done / seconds:.1f} pictures/s"
        left = self.jobs - self.done - self.failed
        extras = [f"{self.failed} failed"] * (self.failed > 0) + [f"{left} not sent"] * (left > 0)
        print(
            f"{self.done} of {self.jobs} pictures translated to {output} in {seconds:.1f} s ({rate})",
            *extras,
            sep=", ",
        )


def translate(settings: Settings) -> int:
    """Does what the settings say; returns the exit code."""
    if settings.models:
        return asyncio.run(_list_models(settings))
    output = settings.output or Path()
    jobs = plan(settings.inputs, output, EXTENSIONS[settings.file_format], overwrite=settings.overwrite)
    report = Report(len(jobs))
    try:
        asyncio.run(_translate_all(settings, jobs, report))
    except KeyboardInterrupt:
        return INTERRUPTED
    finally:
        report.summary(settings.output)
    return SOME_FAILED if report.failed else 0


async def _translate_all(settings: Settings, jobs: Sequence[Job], report: Report) -> None:
    async with AsyncClient(settings.server, timeout=settings.timeout) as client:
        # A wrong address or model is told once, before any folder is made, and not once for each picture.
        find = partial(client.get_model, settings.model, settings.model_version)
        model = await patiently(find, Retry(settings.connect_timeout))
        if model.state == "failed":
            raise UnusableModel(
                f"the server could not load model {model.name} version {model.version}; its log says why"
            )
        make_folders(jobs)
        await translate_files(
            client,
            jobs,
            settings.options,
            concurrency=settings.concurrency,
            retry=Retry(settings.retry_max_time),
            report=report,
        )


def _described(job: Job, translation: Translation) -> str:
    timings = translation.timings
    stages = ", ".join(f"{name} {1000 * getattr(timings, name):.1f}" for name in ("decode", "queue", "infer", "encode"))
    return (
        f"{job.target}: {translation.width}x{translation.height} {translation.format} "
        f"by {translation.model} {translation.version} in {1000 * timings.total:.1f} ms ({stages}; "
        f"batch of {timings.batch_size})"
    )


def _reason(error: TranslationError | OSError) -> str:
    return f"{error} ({error.reason})" if isinstance(error, TranslationError) else (error.strerror or str(error))


async def _list_models(settings: Settings) -> int:
    async with AsyncClient(settings.server, timeout=settings.timeout) as client:
        rows = [_row(model) for model in await patiently(client.list_models, Retry(settings.connect_timeout))]
    table = [("MODEL", "VERSION", "STATE", "INPUT", "OUTPUT", "PROVIDER", "MAX BATCH"), *rows]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    for row in table:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
    return 0


def _row(model: Model) -> tuple[str, ...]:
    return (
        model.name,
        model.version,
        model.state,
        _size(model.input),
        _size(model.output),
        model.provider or "-",
        str(model.max_batch_size),
    )


def _size(spec: PictureSpec) -> str:
    """Writes width x height x channels, with `any` for a free one."""
    return "x".join("any" if number == -1 else str(number) for number in (spec.width, spec.height, spec.channels))


def main() -> NoReturn:
    """Is the command `lapis-translate`."""
    run("lapis-translate", Settings, translate, (TranslationError, UnusableModel, UnusablePaths))


if __name__ == "__main__":
    main()
