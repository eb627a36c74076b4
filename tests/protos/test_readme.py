from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from lapis.client.errors import BY_REASON

from service.edge.status import CODES

if TYPE_CHECKING:
    from conftest import Server

README = (Path(__file__).parents[2] / "protos/README.md").read_text()
PROGRAMS = re.findall(r"^```python\n(.+?)^```", README, re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("program", PROGRAMS)
def test_programs_run_as_they_stand(program: str, server: Server, tmp_path: Path) -> None:
    (tmp_path / "cat.png").write_bytes(b"cat")
    ended = subprocess.run(
        [sys.executable, "-c", program.replace("127.0.0.1:50051", server.address)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (ended.returncode, ended.stderr) == (0, "")
    assert "edges2emoji" in ended.stdout


def test_every_reason_is_in_the_table() -> None:
    rows = re.findall(r"^\| `(\w+)`.*?\| `(\w+)` \| (\w+) \|", README, re.MULTILINE)
    told = {reason: (name, code) for name, reason, code in rows}
    codes = {error.reason: code.name for error, code in CODES.items()}
    known = {reason: (error.__name__, codes[reason]) for reason, error in BY_REASON.items()}
    assert told == known | {"UNREACHABLE": ("Unreachable", "UNAVAILABLE")}


def test_every_flag_that_it_names_exists() -> None:
    shown = subprocess.run([sys.executable, "-m", "lapis", "--help"], capture_output=True, text=True, check=True).stdout
    section = README.partition("## The command")[2].partition("## From Python")[0]
    flags = set(re.findall(r"--[a-z][a-z-]*", section))
    assert flags
    assert flags <= set(re.findall(r"--[a-z][a-z-]*", shown))
