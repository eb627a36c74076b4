from __future__ import annotations

import json
import re
import shlex
import tomllib
from importlib.metadata import requires
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from service.settings import ServeSettings

ROOT = Path(__file__).parents[2]
DOCKERFILE = ROOT / "deploy" / "docker" / "service.Dockerfile"
TARGETS = ["cpu", "cuda"]


def _instructions() -> list[tuple[str, str]]:
    lines = [line for line in DOCKERFILE.read_text(encoding="utf-8").splitlines() if not line.startswith("#")]
    logical = re.sub(r"\\\n\s*", "", "\n".join(lines)).splitlines()
    return [(keyword, rest) for keyword, _, rest in (line.partition(" ") for line in logical if line)]


def _image(target: str) -> list[tuple[str, str]]:
    """Returns the instructions that make a target, those of the stages it is built from first."""
    stages: dict[str, list[tuple[str, str]]] = {}
    for keyword, rest in _instructions():
        if keyword == "FROM":
            base, _, name = rest.partition(" AS ")
            stages[name] = list(stages.get(base, []))
        elif stages:
            stages[name].append((keyword, rest))
    return stages[target]


def _values(target: str, keyword: str) -> list[str]:
    return [rest for given, rest in _image(target) if given == keyword]


def test_cpu_is_built_where_no_target_is_named() -> None:
    last = [rest for keyword, rest in _instructions() if keyword == "FROM"][-1]
    assert last.endswith(" AS cpu")


@pytest.mark.parametrize("target", TARGETS)
def test_service_runs_as_a_numeric_user_without_rights(target: str) -> None:
    user = _values(target, "USER")[-1]
    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", user)


@pytest.mark.parametrize("target", TARGETS)
def test_first_process_is_the_command_itself(target: str) -> None:
    scripts = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["scripts"]
    (entry_point,) = _values(target, "ENTRYPOINT")
    assert json.loads(entry_point) == ["lapis-serve"]
    assert "lapis-serve" in scripts


@pytest.mark.parametrize("target", TARGETS)
def test_health_is_what_the_service_itself_says_without_a_shell(target: str) -> None:
    (healthcheck,) = _values(target, "HEALTHCHECK")
    command = json.loads(healthcheck.partition("CMD ")[2])
    assert command == ["lapis-serve", "--probe", f"127.0.0.1:{ServeSettings.model_fields['port'].default}"]
    assert "probe" in ServeSettings.model_fields


@pytest.mark.parametrize("target", TARGETS)
def test_image_holds_what_was_built_and_nothing_that_built_it(target: str) -> None:
    assert not _values(target, "RUN")
    libraries = [f"--from={target}-environment"] * (2 if target == "cuda" else 1)  # CUDA is a layer of its own
    copied = [rest.split()[0] for rest in _values(target, "COPY")]
    assert copied == ["--from=bytecode", *libraries, "models", "--from=packages"]


def test_commands_whose_packages_are_not_copied_are_taken_away() -> None:
    scripts = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["scripts"]
    there = {rest.split()[0] for rest in _values("packages", "COPY")}
    (install,) = (rest for rest in _values("packages", "RUN") if "--prefix /packages" in rest)
    removed = set(re.findall(r"/packages/bin/([\w-]+)", install))
    assert removed == {name for name, place in scripts.items() if place.split(".")[0] not in there}


@pytest.mark.parametrize("target", TARGETS)
def test_settings_in_the_environment_are_ones_that_the_service_has(
    target: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    prefix = ServeSettings.model_config["env_prefix"]
    variables = dict(pair.split("=", 1) for rest in _values(target, "ENV") for pair in shlex.split(rest))
    settings = {name: value for name, value in variables.items() if name.startswith("LAPIS_")}
    for name, value in settings.items():
        assert name.removeprefix(prefix).lower() in ServeSettings.model_fields
        monkeypatch.setenv(name, value)
    served = ServeSettings()
    assert (served.host, served.http_host, str(served.models)) == ("0.0.0.0", "0.0.0.0", "/models")
    assert "models /models" in _values(target, "COPY")


@pytest.mark.parametrize("target", TARGETS)
def test_exposed_ports_are_those_the_service_listens_on(target: str) -> None:
    fields = ServeSettings.model_fields
    assert _values(target, "EXPOSE") == [f"{fields['port'].default} {fields['http_port'].default}"]


def test_everything_copied_is_there_and_let_through_to_the_build() -> None:
    allowed = {
        line.removeprefix("!")
        for line in (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
        if line.startswith("!")
    }
    copied = [rest.split()[:-1] for keyword, rest in _instructions() if keyword == "COPY" and "--from" not in rest]
    for source in {source for sources in copied for source in sources} - {"."}:
        assert (ROOT / source).exists()
        assert source.split("/")[0] in allowed


@pytest.mark.parametrize("target", TARGETS)
def test_no_torch_is_installed(target: str) -> None:
    installs = [rest for rest in _values(f"{target}-environment", "RUN") if " install " in rest]
    asked = {extra for rest in installs for extra in re.findall(r"'\.\[(\w+)\]'", rest)}
    assert asked == ({"gpu"} if target == "cuda" else set())
    needed = _needed(Requirement(f"lapis[{','.join(asked)}]"))
    assert "onnxruntime-gpu" in needed
    assert not needed & {"torch", "torchvision", "torchmetrics", "onnxruntime"}


def _needed(wanted: Requirement) -> set[str]:
    """Returns all that comes with a distribution, read off the metadata of what is installed here."""
    found: set[str] = set()
    queue = [wanted]
    while queue:
        requirement = queue.pop()
        if str(requirement) in found:
            continue
        found |= {str(requirement), canonicalize_name(requirement.name)}
        queue += [needed for needed in _requirements(requirement.name) if _applies(needed, requirement.extras)]
    return found


def _requirements(name: str) -> list[Requirement]:
    if name.startswith("nvidia-"):  # CUDA's wheels, which need not be here; they depend on each other alone
        return []
    return [Requirement(line) for line in requires(name) or []]


def _applies(requirement: Requirement, extras: set[str]) -> bool:
    return requirement.marker is None or any(requirement.marker.evaluate({"extra": extra}) for extra in extras or {""})
