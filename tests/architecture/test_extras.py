"""The base installation is the service; the other commands say in one line what they lack there."""

from __future__ import annotations

import subprocess
import sys

import pytest

MISSING = {
    "train": ("torch", ["pairs", "--output", "run"], "train"),
    "train.pairs": ("resvg_py", ["openmoji", "--output", "moji"], "train"),
    "bench": ("psutil", ["--server", "127.0.0.1:1"], "bench"),
    "service.bulk": ("ray", ["in", "--output", "out"], "bulk"),
    "export": ("torch", ["run", "--output", "models/cats/1"], "export"),
}


@pytest.mark.parametrize("module", MISSING)
def test_command_without_its_extra_says_what_to_install(module: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    missing, arguments, extra = MISSING[module]
    # None in sys.modules is how Python itself marks a module that cannot be imported.
    program = f"import sys; sys.modules[{missing!r}] = None; from {module}.__main__ import main; main()"
    command = [sys.executable, "-c", program, *arguments]
    cwd = tmp_path_factory.mktemp("empty")
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=cwd)
    assert done.returncode == 2
    assert done.stderr.endswith(f"pip install 'lapis[{extra}]'\n")
    assert f"{missing} is not installed" in done.stderr
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize("module", MISSING)
def test_help_needs_no_extra(module: str) -> None:
    program = f"import sys; sys.modules[{MISSING[module][0]!r}] = None; from {module}.__main__ import main; main()"
    done = subprocess.run([sys.executable, "-c", program, "--help"], capture_output=True, text=True, check=False)
    assert done.returncode == 0
    assert done.stdout.startswith("usage: lapis-")
