"""Folders that cannot be seen whole."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from conftest import Command, Tree


def as_anybody(*arguments: object) -> subprocess.CompletedProcess[str]:
    """Runs `lapis-models` as someone to whom the modes of files apply, as they do not to root."""
    command = [sys.executable, "-m", "service.delivery", *map(str, arguments)]
    if os.geteuid() == 0:
        if shutil.which("setpriv") is None:
            pytest.skip("root may read everything, and there is no setpriv to take that away")
        taken = "-dac_override,-dac_read_search"
        command = ["setpriv", f"--bounding-set={taken}", f"--inh-caps={taken}", *command]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("mode", [0o000, 0o400])
@pytest.mark.parametrize("way", ["fetch", "push"])
def test_what_cannot_be_looked_into_is_not_passed_over(repository: Path, tmp_path: Path, way: str, mode: int) -> None:
    closed = repository / "facades/2"
    closed.chmod(mode)
    try:
        if way == "fetch":
            done = as_anybody("fetch", repository.as_uri(), "--output", tmp_path / "out")
        else:
            done = as_anybody("push", repository, "oci://127.0.0.1:1/models:1", "--patience", 0)
    finally:
        closed.chmod(0o755)
    named = closed if mode == 0 else closed / "model.onnx"
    assert (done.returncode, done.stderr) == (2, f"lapis-models: error: {named}: Permission denied\n")


@pytest.mark.parametrize("name", [".hidden", "lost+found"])
def test_what_is_hidden_or_the_file_system_s_need_not_be_readable(
    repository: Path, tmp_path: Path, tree: Tree, delivered: dict[str, bytes], name: str
) -> None:
    (repository / name).mkdir(mode=0)
    try:
        done = as_anybody("fetch", repository.as_uri(), "--output", tmp_path / "out")
    finally:
        (repository / name).chmod(0o755)
    assert done.returncode == 0, done.stderr
    assert tree(tmp_path / "out") == delivered


def test_a_link_that_leads_nowhere_is_nothing(
    command: Command, repository: Path, tmp_path: Path, tree: Tree, delivered: dict[str, bytes]
) -> None:
    (repository / "maps/7/README.md").symlink_to("nowhere")
    command("fetch", repository.as_uri(), "--output", tmp_path / "out")
    assert tree(tmp_path / "out") == delivered
