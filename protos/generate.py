#!/usr/bin/env python
"""Generates the stubs beside their .proto files; with --check, tells which of the committed ones are stale.

Needs grpcio-tools and mypy-protobuf. The stubs work with no lower grpcio and protobuf than generated them.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import sysconfig
import tempfile
from pathlib import Path

import grpc_tools  # type: ignore[import-untyped]
from grpc_tools import protoc

ROOT = Path(__file__).resolve().parent
GENERATED = ("*_pb2.py", "*_pb2.pyi", "*_pb2_grpc.py", "*_pb2_grpc.pyi")


def generate(output: Path) -> None:
    """Writes the stubs of all protos under `output`, laid out as here."""
    plugins = ("protoc-gen-mypy", "protoc-gen-mypy_grpc")
    arguments = [
        "protoc",
        f"-I{ROOT}",
        f"-I{Path(grpc_tools.__file__).parent / '_proto'}",
        *(f"--plugin={_installed(plugin)}" for plugin in plugins),
        *(f"--{kind}_out={output}" for kind in ("python", "grpc_python", "mypy", "mypy_grpc")),
        *sorted(str(path.relative_to(ROOT)) for path in (ROOT / "lapis").rglob("*.proto")),
    ]
    if protoc.main(arguments) != 0:
        sys.exit("protoc failed")


def stale() -> list[Path]:
    """Returns the stubs that are not what the protos give now: changed, missing or left over."""
    with tempfile.TemporaryDirectory() as folder:
        generate(Path(folder))
        fresh = _stubs(Path(folder))
    committed = _stubs(ROOT)
    return sorted(path for path in fresh.keys() | committed.keys() if fresh.get(path) != committed.get(path))


def _stubs(root: Path) -> dict[Path, bytes]:
    return {path.relative_to(root): path.read_bytes() for kind in GENERATED for path in (root / "lapis").rglob(kind)}


def _installed(plugin: str) -> str:
    """Returns the plugin's path; the interpreter's own folder comes first, so that no environment need be activated."""
    path = shutil.which(plugin, path=sysconfig.get_path("scripts")) or shutil.which(plugin)
    if path is None:
        sys.exit(f"{plugin} is not installed: it comes with mypy-protobuf")
    return path


def main() -> None:
    """Is the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 where a stub is stale")
    if not parser.parse_args().check:
        generate(ROOT)
    elif paths := stale():
        sys.exit(f"stale: {', '.join(map(str, paths))}; run `make proto`")


if __name__ == "__main__":
    main()
