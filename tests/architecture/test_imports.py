"""Rooms meet at files: what each may import, and what is really imported when its command starts."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
import tomllib
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

# What each room may import of the project, itself included.
ALLOWED = {
    "train": {"train", "lapis.command"},
    "export": {
        "export",
        "train.models",
        "train.data.layouts",
        "train.data.pictures",
        "train.errors",
        "lapis.command",
        "lapis.ending",
    },
    "service": {"service", "lapis"},
    "lapis": {"lapis"},
    "bench": {"bench", "train", "export", "service", "lapis"},  # and no one imports bench
}
# The extras of the distribution `lapis` that each room, or a part of one, is installed with.
EXTRAS = {"train": ["train"], "export": ["export"], "service": [], "service/bulk": ["bulk"]}
OURS = set(ALLOWED)


def imported(path: Path) -> set[str]:
    """Returns the modules that a file imports anywhere in it; `from a import b` counts as `a.b`."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def top(module: str) -> str:
    return module.partition(".")[0]


def within(module: str, packages: set[str]) -> bool:
    return any(module == package or module.startswith(f"{package}.") for package in packages)


@pytest.mark.parametrize("room", ALLOWED)
def test_rooms_import_only_the_rooms_that_they_may(room: str, sources: dict[str, list[Path]], root: Path) -> None:
    strays = [
        f"{path.relative_to(root)} imports {module}"
        for path in sources[room]
        for module in sorted(imported(path))
        if top(module) in OURS and not within(module, ALLOWED[room])
    ]
    assert sources[room]
    assert strays == []


@pytest.mark.parametrize(("room", "forbidden"), [("service", "torch"), ("train", "onnxruntime")])
def test_rooms_do_without_each_other_s_runtime(
    room: str, forbidden: str, sources: dict[str, list[Path]], root: Path
) -> None:
    strays = [str(path.relative_to(root)) for path in sources[room] if forbidden in map(top, imported(path))]
    assert strays == []


def installed_with(requirements: list[str]) -> set[str]:
    """Returns the distributions that pip installs for the requirements, those they require in turn included."""
    found: set[tuple[str, str]] = set()
    waiting = [Requirement(requirement) for requirement in requirements]
    while waiting:
        requirement = waiting.pop()
        name = canonicalize_name(requirement.name)
        for extra in {"", *requirement.extras}:
            if (name, extra) not in found:
                found.add((name, extra))
                needed = map(Requirement, _requires(name))
                waiting += [one for one in needed if not one.marker or one.marker.evaluate({"extra": extra})]
    return {name for name, _ in found}


def _requires(name: str) -> list[str]:
    try:
        return metadata.requires(name) or []
    except metadata.PackageNotFoundError:
        return []  # of an extra or of another system: nothing here can import it either


def undeclared(paths: list[Path], requirements: list[str]) -> list[str]:
    """Returns `file: module` for what the files import and the requirements do not install."""
    homes = metadata.packages_distributions()
    installed = installed_with(requirements)
    return [
        f"{path.name}: {module}"
        for path in paths
        for module in sorted(set(map(top, imported(path))) - sys.stdlib_module_names - OURS - {"__future__"})
        if not installed & set(map(canonicalize_name, homes.get(module, [])))
    ]


@pytest.mark.parametrize("place", EXTRAS)
def test_rooms_import_only_what_their_installation_brings(
    place: str, sources: dict[str, list[Path]], root: Path
) -> None:
    apart = [root / other for other in EXTRAS if other.startswith(f"{place}/")]
    paths = [
        path
        for path in sources[place.partition("/")[0]]
        if path.is_relative_to(root / place) and not any(map(path.is_relative_to, apart))
    ]
    requirements = [f"lapis[{','.join(EXTRAS[place])}]"]
    assert paths
    assert undeclared(paths, requirements) == []


def test_service_is_installed_without_torch() -> None:
    assert not installed_with(["lapis"]) & {"torch", "onnx", "onnxscript"}


def test_client_imports_only_what_the_client_s_installation_brings(root: Path) -> None:
    project = tomllib.loads((root / "protos/pyproject.toml").read_text())["project"]
    client = [
        root / "protos/lapis/__init__.py",
        *root.glob("protos/lapis/client/*.py"),
        *root.glob("protos/lapis/v1/*.py"),
    ]
    assert undeclared(client, project["dependencies"]) == []
    assert undeclared([*root.glob("protos/lapis/*.py")], ["lapis-client[cli]"]) == []


# What each command must start without, by its module.
STRANGERS = {
    "service.__main__": {"torch", "onnx", "train", "export"},
    "service.delivery.__main__": {"torch", "onnx", "onnxruntime", "cv2", "ray", "train", "export"},
    "service.bulk.__main__": {"torch", "onnx", "onnxruntime", "ray", "train", "export"},
    "train.__main__": {"onnxruntime", "service", "export"},
    "train.pairs.__main__": {"torch", "onnxruntime", "service", "export"},
    "export.__main__": {"service"},
    "bench.__main__": {"torch", "onnx", "onnxruntime", "matplotlib", "service", "train", "export"},
    "lapis.__main__": {"torch", "onnxruntime", "numpy", "service", "train", "export"},
}
COMMANDS = {
    name: target.removesuffix(":main")
    for project in ("pyproject.toml", "protos/pyproject.toml")
    for name, target in tomllib.loads((Path(__file__).parents[2] / project).read_text())["project"]["scripts"].items()
}


def run(program: str, *arguments: str) -> str:
    """Runs the program in an interpreter of its own and returns what it printed."""
    ended = subprocess.run([sys.executable, "-c", program, *arguments], capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stderr) == (0, "")
    return ended.stdout


def loaded(output: str) -> set[str]:
    """Returns the top modules from the last line of what a program printed."""
    return set(map(top, json.loads(output.splitlines()[-1])))


@pytest.mark.parametrize("command", COMMANDS)
def test_help_is_shown_without_anything_of_the_others(command: str) -> None:
    module = COMMANDS[command]
    output = run(
        f"import atexit, json, sys, {module} as command\n"
        "atexit.register(lambda: print(json.dumps(sorted(sys.modules))))\n"
        "command.main()",
        "--help",
    )
    assert f"usage: {command} " in output
    assert STRANGERS[module] & loaded(output) == set()


def test_client_is_imported_without_the_commands_libraries() -> None:
    output = run("import json, sys, lapis.client; print(json.dumps(sorted(sys.modules)))")
    strangers = {"numpy", "pydantic", "pydantic_settings", "tqdm", "yaml", "service", "train", "export"}
    assert strangers & loaded(output) == set()
