"""All container files, and the service's built and run for real."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
DOCKERFILES = sorted((ROOT / "deploy").glob("*/*.Dockerfile"))
TRAINING = ROOT / "deploy" / "docker" / "train.Dockerfile"
NAMES = [path.name for path in DOCKERFILES]


def logical(path: Path) -> list[str]:
    lines = [line for line in path.read_text(encoding="utf-8").splitlines() if not line.startswith("#")]
    return re.sub(r"\\\n\s*", "", "\n".join(lines)).splitlines()


def test_there_is_one_for_each_image() -> None:
    assert NAMES == ["service.Dockerfile", "train.Dockerfile", "bulk.Dockerfile"]


@pytest.mark.parametrize("path", DOCKERFILES, ids=NAMES)
def test_hadolint_has_nothing_to_say(path: Path) -> None:
    hadolint = Path(sys.executable).with_name("hadolint")
    checked = subprocess.run([hadolint, "--no-color", path], capture_output=True, text=True, check=False)
    assert (checked.returncode, checked.stdout) == (0, "")


@pytest.mark.parametrize("path", DOCKERFILES, ids=NAMES)
def test_bases_can_be_named_by_their_digests_and_none_is_the_latest(path: Path) -> None:
    lines = logical(path)
    stages = {line.split()[-1] for line in lines if " AS " in line}
    bases = {line.split()[1] for line in lines if line.startswith("FROM ")} - stages
    assert bases == {"${PYTHON_IMAGE}"}
    (default,) = (line.partition("=")[2] for line in lines if line.startswith("ARG PYTHON_IMAGE="))
    assert re.search(r":\d[\w.-]*$", default)


@pytest.mark.parametrize("path", DOCKERFILES, ids=NAMES)
def test_last_user_has_no_rights_and_a_number(path: Path) -> None:
    assert [line for line in logical(path) if line.startswith("USER ")][-1] == "USER 65532:65532"


@pytest.mark.parametrize(
    "path", [path for path in DOCKERFILES if path.parent.name == "docker"], ids=lambda one: one.name
)
def test_labels_are_those_of_the_open_container_initiative(path: Path) -> None:
    text = "\n".join(logical(path))
    given = set(re.findall(r"org\.opencontainers\.image\.(\w+)=", text))
    assert given == {"title", "description", "version", "revision", "created", "source"}
    (version,) = re.findall(r"^ARG VERSION=(.+)$", text, re.MULTILINE)
    assert version == tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
    for variable in re.findall(r"\$\{(\w+)\}", text):
        assert re.search(rf"^ARG {variable}=", text, re.MULTILINE)


def test_training_image_has_every_command_that_the_jobs_run() -> None:
    scripts = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["scripts"]
    run = set()
    for path in (ROOT / "deploy" / "training").rglob("*.yaml"):
        for manifest in yaml.safe_load_all(path.read_text(encoding="utf-8")):
            run |= {
                one["command"][0]
                for one in containers(manifest)
                if one["image"].endswith("-train") and "command" in one
            }
    assert {"lapis-train", "lapis-pairs", "lapis-export"} <= run
    assert run <= set(scripts) | {"torchrun"}
    assert "'.[export]'" in TRAINING.read_text(encoding="utf-8")  # which brings torch, and with it torchrun


def containers(manifest: object) -> list[dict[str, list[str]]]:
    """Returns what looks like a container, wherever in a manifest it stands."""
    if isinstance(manifest, list):
        return [found for one in manifest for found in containers(one)]
    if not isinstance(manifest, dict):
        return []
    here = [manifest] if "image" in manifest and "name" in manifest else []
    return here + [found for one in manifest.values() for found in containers(one)]


def test_training_image_holds_what_was_built_and_nothing_that_built_it() -> None:
    lines = logical(TRAINING)
    last = lines[max(at for at, line in enumerate(lines) if line.startswith("FROM ")) :]
    assert not [line for line in last if line.startswith("RUN ")]
    assert [line.split()[1] for line in last if line.startswith("COPY ")] == ["--from=environment", "--from=packages"]


@pytest.mark.slow
def test_service_s_image_is_built_and_translates_a_picture() -> None:
    tried = subprocess.run(
        [sys.executable, "-m", "deploy.docker.trial"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    if tried.returncode == 2:
        pytest.skip(tried.stderr.strip())
    assert tried.returncode == 0, tried.stderr
    assert tried.stdout.splitlines()[-1] == "stopped    by SIGTERM as process 1, exit code 0"
