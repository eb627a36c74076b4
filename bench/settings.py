"""The settings of `lapis-bench`."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Literal, NamedTuple, Self, TypeVar, get_args

from lapis.command import CommandSettings
from pydantic import (
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    field_validator,
    model_validator,
)
from pydantic_settings import SettingsConfigDict

from bench.mix import Mix, parse

Priority = Literal["high", "normal", "low"]
Answer = Literal["same", "png", "jpeg", "webp", "raw"]
Word = TypeVar("Word", bound=str)

_PICTURE = re.compile(r"(png|jpeg|webp|raw):(\d{1,5})(?:x(\d{1,5}))?")


class PictureKind(NamedTuple):
    """A format, and height and width in pixels; `file` stands for a folder's files as they are."""

    format: str
    height: int
    width: int

    def __str__(self) -> str:
        return self.format if self.format == "file" else f"{self.format}:{self.height}x{self.width}"


class BenchSettings(CommandSettings):
    """Puts a Lapis server under load and reports goodput, latency, refusals and what the server did meanwhile.

    Mixes are written as in high=0.1,low=0.9. Exit code 0: measured; 1: calls failed, or none was answered; 2: wrong
    usage or no server; 130: stopped by Ctrl-C, after reporting what was measured until then.
    """

    model_config = SettingsConfigDict(env_prefix="LAPIS_BENCH_")

    # Who is called.
    server: str = Field("127.0.0.1:50051", description="gRPC address, HOST:PORT; of several, with commas, each in turn")
    http: str = Field("", description="HTTP address of the server (several with commas), to read its metrics")
    pid: str = Field(
        "", description="process id of the server (several with commas), for its memory, threads and file handles"
    )
    model: str = Field("", description="the model; the server's default or only one where empty")
    model_version: str = Field("", description="the model's version; the highest that is ready where empty")
    connections: PositiveInt = Field(1, description="connections of each process; they take turns")
    processes: PositiveInt = Field(1, description="client processes that share the load")
    stream: bool = Field(False, description="send pictures over one TranslateStream call per connection")
    balanced: bool = Field(
        False,
        description="call as a service's client does: each connection knows all addresses, calls those in turn that "
        "report healthy, and tries again what is answered UNAVAILABLE",
    )
    connect_timeout: PositiveFloat = Field(5.0, description="seconds to wait for a server that is not there yet")

    # How many calls, and when.
    load: Literal["closed", "poisson", "constant"] = Field(
        "closed",
        description="closed: --concurrency callers, each calls again when answered; poisson, constant: --rate calls/s "
        "at random or even intervals, whether or not earlier ones are answered",
    )
    rate: NonNegativeFloat = Field(0, description="calls/s of poisson and constant load")
    concurrency: PositiveInt = Field(8, description="callers of closed load")
    seconds: PositiveFloat = Field(10.0, description="seconds that are measured")
    warmup: NonNegativeFloat = Field(2.0, description="seconds of load before that")
    drain: NonNegativeFloat = Field(30.0, description="seconds that answers may take after the last call")
    max_outstanding: PositiveInt = Field(
        10_000, description="calls of one process that may be unanswered; more are not sent, and counted as unsent"
    )
    seed: NonNegativeInt = Field(0, description="seed of all that is drawn at random")

    # What is asked.
    priority: str = Field("normal", description="mix of high, normal and low")
    deadline: str = Field("none", description="mix of seconds that a caller waits, and none")
    deadline_as: Literal["call", "picture"] = Field(
        "call",
        description="call: gRPC's deadline, at which the caller hangs up; picture: the request's timeout, which leaves "
        "it to the server, so that a late answer is seen; always so with --stream",
    )
    cancel: float = Field(0, ge=0, le=1, description="share of calls that the caller cancels")
    cancel_within: PositiveFloat = Field(0.2, description="seconds within which it does, at random")
    pictures: str = Field(
        "auto",
        description="mix of pictures, as in png:256=0.7,jpeg:480x640=0.2,raw:256=0.1, and file for a folder's as they "
        "are; auto: file with --folder, else png:256",
    )
    folder: Path | None = Field(
        None, description="folder of .png, .jpg and .webp pictures to send; else they are drawn"
    )
    variety: PositiveInt = Field(16, description="different pictures of each kind")
    fit: Literal["stretch", "pad", "crop", "tile"] = Field(
        "stretch", description="how pictures are fitted to the model"
    )
    answer: str = Field(
        "png", description="mix of the answers' formats: png, jpeg, webp, raw, or same as the picture sent"
    )
    answer_size: Literal["model", "input"] = Field("model", description="size of the answers")

    # What is told.
    output: Path | None = Field(None, description="file for the figures, as JSON")
    plot: Path | None = Field(None, description="file for a plot (.png, .svg or .pdf)")

    @property
    def addresses(self) -> list[str]:
        """The servers, HOST:PORT."""
        return _items(self.server)

    @property
    def http_addresses(self) -> list[str]:
        """The servers' HTTP sides, HOST:PORT."""
        return _items(self.http)

    @property
    def pids(self) -> list[int]:
        """The servers' processes."""
        return [int(pid) for pid in _items(self.pid)]

    @property
    def priorities(self) -> Mix[Priority]:
        """What callers say of their haste."""
        return parse(self.priority, _priority)

    @property
    def deadlines(self) -> Mix[float]:
        """Seconds that callers wait; infinite for those who wait for ever."""
        return parse(self.deadline, _seconds)

    @property
    def picture_kinds(self) -> Mix[PictureKind]:
        """What is sent."""
        if self.pictures == "auto":
            return Mix([(PictureKind("file", 0, 0) if self.folder else PictureKind("png", 256, 256), 1.0)])
        return parse(self.pictures, _picture)

    @property
    def answers(self) -> Mix[Answer]:
        """What is asked for."""
        return parse(self.answer, _answer)

    @property
    def is_open(self) -> bool:
        """Whether calls are sent by the clock, and not when earlier ones are answered."""
        return self.load != "closed"

    @field_validator("priority", "deadline", "pictures", "answer", "pid")
    @classmethod
    def _mixes_can_be_read(cls, text: str, info: object) -> str:
        field = getattr(info, "field_name", "")
        if field == "pid":
            list(map(_pid, _items(text)))
        elif text != "auto" or field != "pictures":
            parse(text, {"priority": _priority, "deadline": _seconds, "pictures": _picture, "answer": _answer}[field])
        return text

    @field_validator("server")
    @classmethod
    def _there_is_a_server(cls, text: str) -> str:
        if not _items(text):
            raise ValueError("needs an address, HOST:PORT")
        return text

    @model_validator(mode="after")
    def _options_go_together(self) -> Self:
        if self.is_open and not self.rate:
            raise ValueError(f"--load {self.load} needs a --rate above 0")
        if self.rate and not self.is_open:
            raise ValueError("--rate is for --load poisson or constant; closed load is set by --concurrency")
        if self.stream and self.cancel:
            raise ValueError("--cancel: a picture of a stream cannot be cancelled; leave out --stream")
        if not self.folder and any(kind.format == "file" for kind in self.picture_kinds.items):
            raise ValueError("--pictures file needs a --folder")
        if not self.is_open and self.concurrency < self.processes:
            raise ValueError(f"--concurrency {self.concurrency} cannot be shared by {self.processes} processes")
        if self.plot and self.plot.suffix not in {".png", ".svg", ".pdf"}:
            raise ValueError(f"--plot {self.plot}: must end in .png, .svg or .pdf")
        return self


def _items(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


def _pid(text: str) -> int:
    if not text.isdecimal() or int(text) == 0:
        raise ValueError(f"{text!r} is no process id")
    return int(text)


def _priority(text: str) -> Priority:
    return _one_of(text, get_args(Priority), "priority")


def _answer(text: str) -> Answer:
    return _one_of(text, get_args(Answer), "format of answers")


def _one_of(text: str, words: tuple[Word, ...], what: str) -> Word:
    for word in words:
        if word == text:
            return word
    raise ValueError(f"{text!r} is no {what}; there are {', '.join(words)}")


def _seconds(text: str) -> float:
    if text == "none":
        return math.inf
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not 0 < seconds < math.inf:
        raise ValueError(f"{text!r} is no deadline; it is a number of seconds above 0, or none")
    return seconds


def _picture(text: str) -> PictureKind:
    if text == "file":
        return PictureKind("file", 0, 0)
    match = _PICTURE.fullmatch(text)
    if not match or "0" in {match[2], match[3]}:
        raise ValueError(
            f"{text!r} is no kind of picture; write file, or png, jpeg, webp or raw with a size, as in png:256 or "
            "raw:480x640"
        )
    return PictureKind(match[1], int(match[2]), int(match[3] or match[2]))
