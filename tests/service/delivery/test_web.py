"""Fetching from web servers that behave as web servers do."""

from __future__ import annotations

import hashlib
import tarfile
import tracemalloc
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

    from conftest import Command, Web

PATIENT = ("--patience", 3)


@pytest.fixture
def model(web: Web, repository: Path) -> Path:
    """A model of some size behind /facades/2/model.onnx: the name of its producer fills it up."""
    path = web.folder / "facades/2/model.onnx"
    path.parent.mkdir(parents=True)
    producer = b"\x12\x80\x80\x80\x01" + bytes(1 << 21)
    path.write_bytes((repository / "facades/2/model.onnx").read_bytes() + producer)
    return path


def test_a_model_comes_whole_and_is_known_again(command: Command, web: Web, model: Path, tmp_path: Path) -> None:
    arguments = ("fetch", f"{web.url}/facades/2/model.onnx?signature=s3cret", "--output", tmp_path / "out")
    first = command(*arguments)
    assert (tmp_path / "out/facades/2/model.onnx").read_bytes() == model.read_bytes()
    assert "s3cret" not in first.log
    assert command(*arguments).events == ["already_there"]
    web.mood.etag = '"2"'
    assert "fetched" in command(*arguments).events


def test_an_archive_is_unpacked(
    command: Command, web: Web, repository: Path, arrived: Callable[[Path], bool], tmp_path: Path
) -> None:
    for name, mode in (("models.tar", "w"), ("models.tar.gz", "w:gz"), ("models.tgz", "w:gz")):
        with tarfile.open(web.folder / name, mode) as archive:  # type: ignore[call-overload]
            archive.add(repository, "release-1.0/models")
        digest = hashlib.sha256((web.folder / name).read_bytes()).hexdigest()
        command("fetch", f"{web.url}/{name}", "--output", tmp_path / name, "--sha256", digest)
        assert arrived(tmp_path / name)


def test_a_transfer_that_breaks_off_goes_on_from_there(command: Command, web: Web, model: Path, tmp_path: Path) -> None:
    web.mood.cut_after = [1_300_000, 100_000]
    done = command("fetch", f"{web.url}/facades/2/model.onnx", "--output", tmp_path / "out", *PATIENT)
    assert done.events.count("trying_again") == 2
    assert [wanted for _, wanted in web.mood.asked] == ["", "bytes=1300000-", "bytes=1400000-"]
    assert (tmp_path / "out/facades/2/model.onnx").read_bytes() == model.read_bytes()


def test_a_server_without_ranges_is_read_again(command: Command, web: Web, model: Path, tmp_path: Path) -> None:
    web.mood.cut_after, web.mood.ranges = [1_300_000], False
    command("fetch", f"{web.url}/facades/2/model.onnx", "--output", tmp_path / "out", *PATIENT)
    assert (tmp_path / "out/facades/2/model.onnx").read_bytes() == model.read_bytes()


def test_a_file_that_changes_meanwhile_is_not_pieced_together(
    command: Command, web: Web, model: Path, tmp_path: Path
) -> None:
    assert model.exists()
    web.mood.cut_after, web.mood.etag_after_cut = [1_300_000], '"2"'
    done = command("fetch", f"{web.url}/facades/2/model.onnx", "--output", tmp_path / "out", *PATIENT)
    assert "changed while it was read" in done.error
    assert not (tmp_path / "out/facades").exists()


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504])
def test_what_passes_is_tried_again(command: Command, web: Web, model: Path, tmp_path: Path, status: int) -> None:
    assert model.exists()
    web.mood.statuses = [status]
    done = command("fetch", f"{web.url}/facades/2/model.onnx", "--output", tmp_path / "out", *PATIENT)
    assert "trying_again" in done.events
    assert done.code == 0


def test_patience_ends(command: Command, web: Web, tmp_path: Path) -> None:
    web.mood.statuses = [503] * 9
    done = command("fetch", f"{web.url}/facades/2/model.onnx", "--output", tmp_path / "out", "--patience", 0.4)
    assert "503 Service Unavailable (tried again for 0.4 s)" in done.error
    assert done.code == 1


@pytest.mark.parametrize("status", [400, 401, 403, 404, 410])
def test_what_does_not_pass_is_not(command: Command, web: Web, tmp_path: Path, status: int) -> None:
    web.mood.statuses = [status] * 9
    done = command("fetch", f"{web.url}/facades/2/model.onnx", "--output", tmp_path / "out", *PATIENT)
    assert f"{web.url}/facades/2/model.onnx: {status} " in done.error
    assert len(web.mood.asked) == 1
    assert done.code == 2


def test_a_wrong_digest_is_told_with_the_right_one(command: Command, web: Web, model: Path, tmp_path: Path) -> None:
    digest, wrong = hashlib.sha256(model.read_bytes()).hexdigest(), "0" * 64
    url = f"{web.url}/facades/2/model.onnx"
    done = command("fetch", url, "--output", tmp_path / "out", "--sha256", wrong)
    assert f"the SHA-256 is {digest}; expected {wrong}" in done.error
    assert not (tmp_path / "out/facades").exists()


def test_a_larger_file_than_allowed_is_not_begun(command: Command, web: Web, model: Path, tmp_path: Path) -> None:
    assert model.exists()
    url = f"{web.url}/facades/2/model.onnx"
    done = command("fetch", url, "--output", tmp_path / "out", "--max-bytes", 1_000_000)
    assert "--max-bytes allows 1,000,000" in done.error
    assert "fetching" not in done.events


def test_authorization_is_sent_and_never_to_another_host(
    command: Command,
    web: Web,
    model: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert model.exists()
    web.mood.token = "Bearer s3cret"
    url = f"{web.url}/facades/2/model.onnx"
    assert "401 Unauthorized; what authorises us" in command("fetch", url, "--output", tmp_path / "out").error
    monkeypatch.setenv("LAPIS_MODELS_FETCH__AUTHORIZATION", "Bearer s3cret")
    assert command("fetch", url, "--output", tmp_path / "out").code == 0

    other = url.replace("127.0.0.1", "localhost")
    web.mood.redirect, web.mood.token = {"/a/1/model.onnx": other}, ""
    web.mood.seen_tokens.clear()
    assert command("fetch", f"{web.url}/a/1/model.onnx", "--output", tmp_path / "out").code == 0
    assert web.mood.seen_tokens == ["Bearer s3cret", ""]


def test_a_server_that_is_not_there_is_named(command: Command, free_port: int, tmp_path: Path) -> None:
    url = f"http://127.0.0.1:{free_port}/facades/2/model.onnx"
    done = command("fetch", url, "--output", tmp_path / "out", "--patience", 0.3)
    assert f"{url}: " in done.error
    assert "refused" in done.error


def test_memory_does_not_grow_with_the_file(command: Command, tmp_path: Path) -> None:
    size = 64 << 20
    path = tmp_path / "facades/1/model.onnx"
    path.parent.mkdir(parents=True)
    with path.open("wb") as file:
        file.write(b"\x3a\x80\x80\x80\x20")  # a graph of 64 MiB
        file.truncate(file.tell() + size)
    tracemalloc.start()
    try:
        assert command("fetch", path.as_uri(), "--output", tmp_path / "out").code == 0
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < size // 4
