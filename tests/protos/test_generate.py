from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from lapis.v1 import translation_pb2_grpc
from packaging.requirements import Requirement
from packaging.version import Version

PROTOS = Path(__file__).parents[2] / "protos"


def generate(protos: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, protos / "generate.py", *arguments], capture_output=True, text=True, check=False
    )


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    return Path(shutil.copytree(PROTOS, tmp_path / "protos", ignore=shutil.ignore_patterns("__pycache__")))


def test_committed_stubs_are_fresh() -> None:
    assert generate(PROTOS, "--check").returncode == 0


def test_changed_proto_makes_its_stubs_stale_until_they_are_generated(copy: Path) -> None:
    proto = copy / "lapis/v1/translation.proto"
    proto.write_text(proto.read_text().replace("string provider = 6;", "string provider = 16;"))
    check = generate(copy, "--check")
    assert check.returncode == 1
    assert "stale: lapis/v1/translation_pb2.py; run `make proto`" in check.stderr
    assert generate(copy).returncode == 0
    assert generate(copy, "--check").returncode == 0


def test_edited_missing_and_left_over_stubs_are_stale(copy: Path) -> None:
    stubs = copy / "lapis/v1"
    (stubs / "translation_pb2.pyi").write_text("# edited by hand\n")
    (stubs / "translation_pb2_grpc.py").unlink()
    (stubs / "removed_pb2.py").touch()
    assert (
        "stale: lapis/v1/removed_pb2.py, lapis/v1/translation_pb2.pyi, lapis/v1/translation_pb2_grpc.py;"
        in generate(copy, "--check").stderr
    )


def test_contract_passes_the_linter() -> None:
    buf = Path(sys.executable).with_name("buf")
    lint = subprocess.run([buf, "lint"], cwd=PROTOS, capture_output=True, text=True, check=False)
    assert (lint.returncode, lint.stdout) == (0, "")


def test_oldest_libraries_that_the_client_accepts_can_import_the_stubs() -> None:
    project = tomllib.loads((PROTOS / "pyproject.toml").read_text())["project"]
    requirements = {found.name: found.specifier for found in map(Requirement, project["dependencies"])}
    floors = {
        name: Version(bound.version)
        for name, bounds in requirements.items()
        for bound in bounds
        if bound.operator == ">="
    }
    generated = (PROTOS / "lapis/v1/translation_pb2.py").read_text()
    protobuf = re.search(r"^# Protobuf Python Version: (.+)$", generated, re.MULTILINE)
    assert protobuf
    assert floors["protobuf"] >= Version(protobuf[1])
    assert floors["grpcio"] >= Version(translation_pb2_grpc.GRPC_GENERATED_VERSION)
