"""Outputs of two different runs are not mixed, and nobody's files are taken for outputs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from service.bulk import begun
from service.bulk.errors import BulkError
from service.bulk.storage import Storage


@pytest.fixture
def output(tmp_path: Path) -> Storage:
    return Storage(str(tmp_path / "out"), creates=True)


def described(**chosen: object) -> dict[str, Any]:
    return {"model": "invert", "input": "/few", "format": "png", **chosen}


def test_run_that_was_begun_goes_on(output: Storage) -> None:
    assert not begun.is_continued(output, described(), "")
    begun.leave(output, described())
    assert begun.is_continued(output, described(), "a.png")


def test_other_run_is_refused(output: Storage) -> None:
    begun.leave(output, described())
    with pytest.raises(BulkError, match=r"another run \(format 'png', now 'webp'\)"):
        begun.is_continued(output, described(format="webp"), "")


def test_files_of_nobody_are_not_taken_for_outputs(output: Storage) -> None:
    with pytest.raises(BulkError, match=r"out/a\.png is there, but no \.lapis-bulk\.json .* another --output"):
        begun.is_continued(output, described(), "a.png")


@pytest.mark.parametrize("content", [b"", b"[]", b"null", b"\xff", b"{"])
def test_damaged_description_is_told_of(output: Storage, content: bytes) -> None:
    output.write(begun.FILE, content)
    with pytest.raises(BulkError, match="damaged"):
        begun.is_continued(output, described(), "")


@pytest.mark.parametrize("written", ["few", "few/", "./few"])
def test_input_may_be_written_otherwise(
    output: Storage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, written: str
) -> None:
    monkeypatch.chdir(tmp_path)
    output.write(begun.FILE, json.dumps(described(input=written)).encode())
    assert begun.is_continued(output, described(input=str(tmp_path / "few")), "a.png")
