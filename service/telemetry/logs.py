"""Structured logs on stderr, our own and those of the libraries in one form."""

from __future__ import annotations

import logging
import sys
from contextlib import suppress
from contextvars import ContextVar
from io import TextIOBase
from typing import TYPE_CHECKING, Any, Literal

import structlog

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, MutableMapping
    from typing import TextIO

    from structlog.typing import FilteringBoundLogger, Processor

log: FilteringBoundLogger = structlog.get_logger()

request_fields: ContextVar[Callable[[], Mapping[str, str]] | None] = ContextVar("request_fields", default=None)
"""Tells the fields of the request in hand, which stand on each of its lines; asked only when a line is written."""


def configure(level: str, form: Literal["auto", "json", "console"], **always: object) -> None:
    """Send all logs of the process to stderr, one event a line, each with the fields in `always`."""
    stream: Any = _Steadfast(sys.stderr)
    as_console = sys.stderr.isatty() if form == "auto" else form == "console"
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        _add_request_fields,
        _Adding(always),
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    # Tracebacks without local variables, which hold callers' pictures.
    tracebacks = structlog.processors.ExceptionRenderer(
        structlog.tracebacks.ExceptionDictTransformer(show_locals=False)
    )
    last: list[Processor] = (
        [structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), exception_formatter=structlog.dev.plain_traceback)]
        if as_console
        else [tracebacks, structlog.processors.JSONRenderer()]
    )
    number = logging.getLevelNamesMapping()[level.upper()]
    structlog.configure(
        processors=[*shared, *last],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=structlog.WriteLoggerFactory(stream),
    )
    _capture_libraries(stream, number, shared, last)


class _Steadfast(TextIOBase):
    """A stream that loses what cannot be written: who reads the log no more must not end the requests it tells of."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """Write what can be written."""
        with suppress(OSError, ValueError):
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        """Write what is still held back."""
        with suppress(OSError, ValueError):
            self._stream.flush()


class _Adding:
    """Adds fields that are the same on every line."""

    def __init__(self, fields: Mapping[str, object]) -> None:
        self._fields = fields

    def __call__(self, _: object, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        return {**event, **self._fields}


def _add_request_fields(_: object, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Say whose request a line belongs to, where it does not say so itself."""
    fields = request_fields.get()
    return {**fields(), **event} if fields else event


def _capture_libraries(stream: TextIO, level: int, shared: list[Processor], last: list[Processor]) -> None:
    handler = logging.StreamHandler(stream)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *last],
        )
    )
    logging.basicConfig(handlers=[handler], level=max(level, logging.WARNING), force=True)
