"""The release's own steps, taken from the manifest and run here."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[3]
PIPELINE = ROOT / "deploy" / "pipeline"
COMMANDS = {
    "lapis-train": "train",
    "lapis-export": "export",
    "lapis-models": "service.delivery",
    "lapis-serve": "service",
    "lapis-translate": "lapis",
}


@dataclass(frozen=True)
class Release:
    """The workflow template, and what stands for its parameters."""

    manifest: dict[str, Any]

    @property
    def parameters(self) -> dict[str, str]:
        """What they are by themselves; the version, which every release must name, is 4 here."""
        given = self.manifest["spec"]["arguments"]["parameters"]
        return {f"workflow.parameters.{one['name']}": one.get("value", "4") for one in given}

    def template(self, name: str) -> dict[str, Any]:
        (found,) = [one for one in self.manifest["spec"]["templates"] if one["name"] == name]
        return found

    def environment(self, name: str, parameters: dict[str, str]) -> dict[str, str]:
        """Returns the variables of a step with the parameters filled in; every one that it names must be known."""
        known = self.parameters | self._defaults(name) | parameters

        def fill(text: str) -> str:
            return re.sub(r"\{\{(.*?)\}\}", lambda match: known[match[1]], text)

        return {one["name"]: fill(one["value"]) for one in self.template(name)["script"]["env"]}

    def _defaults(self, name: str) -> dict[str, str]:
        inputs = self.template(name).get("inputs", {}).get("parameters", [])
        return {f"inputs.parameters.{one['name']}": one["value"] for one in inputs if "value" in one}


class Shell:
    """Runs steps as the containers would, with our commands on the path."""

    def __init__(self, release: Release, folder: Path) -> None:
        self._release = release
        self._commands = folder / "bin"
        self._commands.mkdir()
        for command, module in COMMANDS.items():
            script = self._commands / command
            script.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m {module} "$@"\n')
            script.chmod(0o755)
        self._home = folder / "home"
        self._home.mkdir()

    def run(
        self, step: str, parameters: dict[str, str] | None = None, **variables: object
    ) -> subprocess.CompletedProcess[str]:
        environment = self._release.environment(step, parameters or {})
        script = self._release.template(step)["script"]
        here = {
            "HOME": str(self._home),
            "DOCKER_CONFIG": str(self._home),
            "PATH": f"{self._commands}:{os.environ['PATH']}",
        }
        given = {name: str(value) for name, value in variables.items()}
        return subprocess.run(
            [*script["command"], "-c", script["source"]],
            env={**environment, **here, **given},
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
        )


@pytest.fixture(scope="session")
def release() -> Release:
    return Release(yaml.safe_load((PIPELINE / "argo" / "release.yaml").read_text()))


@pytest.fixture
def shell(release: Release, tmp_path: Path) -> Shell:
    return Shell(release, tmp_path)
