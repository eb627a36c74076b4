from __future__ import annotations

import asyncio
import json
import logging
import os
import re
import sys
from typing import TYPE_CHECKING

import pytest
import structlog

from service.telemetry import logs

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    structlog.reset_defaults()
    root.handlers[:] = handlers
    root.setLevel(level)


def test_json_is_one_event_a_line_for_us_and_for_libraries(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure("info", "json")
    logs.log.info("serving", grpc_port=1)
    logging.getLogger("some.library").warning("careful\nnow")
    ours, theirs = (json.loads(line) for line in capsys.readouterr().err.splitlines())
    assert (ours["event"], ours["level"], ours["grpc_port"]) == ("serving", "info", 1)
    assert (theirs["event"], theirs["level"]) == ("careful\nnow", "warning")
    assert re.fullmatch(r"[-\d]+T[:.\d]+Z", ours["timestamp"])


def look_up(picture: str) -> str:
    return {}[len(picture)]


def test_exception_stays_within_its_line_and_keeps_what_callers_sent_to_itself(
    capsys: pytest.CaptureFixture[str],
) -> None:
    logs.configure("info", "json")
    try:
        look_up("private" * 3)
    except KeyError as error:
        logs.log.error("failed", exc_info=error)
    (line,) = capsys.readouterr().err.splitlines()
    assert json.loads(line)["exception"][0]["exc_value"] == "21"
    assert "privateprivate" not in line


def test_level_keeps_out_what_is_less_severe(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure("warning", "json")
    logs.log.info("quiet")
    logs.log.warning("loud")
    (line,) = capsys.readouterr().err.splitlines()
    assert json.loads(line)["event"] == "loud"


def test_console_is_for_people(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure("info", "console")
    logs.log.info("serving", grpc_port=1)
    (line,) = capsys.readouterr().err.splitlines()
    assert re.search(r"\[info +\] serving +grpc_port=1$", line)


def test_where_nobody_watches_logs_are_json(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure("info", "auto")
    logs.log.info("serving")
    assert json.loads(capsys.readouterr().err)["event"] == "serving"


def test_fields_of_the_process_stand_on_each_line(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure("info", "json", worker=3)
    logs.log.info("serving")
    logging.getLogger("some.library").warning("careful")
    assert [json.loads(line)["worker"] for line in capsys.readouterr().err.splitlines()] == [3, 3]


async def test_lines_of_a_request_say_whose_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure("info", "json")

    async def serve(name: str) -> None:
        logs.request_fields.set(lambda: {"request_id": name, "trace_id": f"trace of {name}"})
        logs.log.info("ours")
        logging.getLogger("some.library").warning("theirs")
        logs.log.info("another", request_id="told")

    async with asyncio.TaskGroup() as tasks:
        for name in ("a", "b"):
            tasks.create_task(serve(name))
    logs.log.info("of none")
    told = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert [(one.get("request_id"), one.get("trace_id")) for one in told] == [
        ("a", "trace of a"),
        ("a", "trace of a"),
        ("told", "trace of a"),
        ("b", "trace of b"),
        ("b", "trace of b"),
        ("told", "trace of b"),
        (None, None),
    ]


def test_fields_of_a_request_are_not_made_for_lines_that_are_not_written() -> None:
    logs.configure("info", "json")
    token = logs.request_fields.set(lambda: pytest.fail("asked for nothing"))
    logs.log.debug("quiet")
    logs.request_fields.reset(token)


def test_log_that_nobody_reads_any_more_harms_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    reading, writing = os.pipe()
    with os.fdopen(writing, "w", buffering=1) as broken:
        monkeypatch.setattr(sys, "stderr", broken)
        logs.configure("info", "json")
        os.close(reading)
        logs.log.error("lost")
        logging.getLogger("some.library").error("lost too")
        with pytest.raises(BrokenPipeError):
            broken.flush()
        os.dup2(os.open(os.devnull, os.O_WRONLY), writing)
