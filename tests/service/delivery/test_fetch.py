"""What holds wherever models come from."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from service.models.repository import scan

if TYPE_CHECKING:
    from conftest import Command, Tree, Web


def test_a_repository_comes_with_what_belongs_to_it_and_nothing_else(
    command: Command, repository: Path, tmp_path: Path, tree: Tree, delivered: dict[str, bytes]
) -> None:
    done = command("fetch", repository.as_uri(), "--output", tmp_path / "out")
    assert done.code == 0
    assert tree(tmp_path / "out") == delivered
    assert len(scan(tmp_path / "out").files) == 3


def test_a_second_run_changes_nothing(command: Command, repository: Path, tmp_path: Path) -> None:
    arguments = ("fetch", repository.as_uri(), "--output", tmp_path / "out")
    command(*arguments)
    model = tmp_path / "out/facades/1/model.onnx"
    before = model.stat()
    assert command(*arguments).events == ["already_there"]
    assert (model.stat().st_ino, model.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


def test_a_file_that_was_spoilt_is_brought_anew(
    command: Command, repository: Path, tmp_path: Path, tree: Tree, delivered: dict[str, bytes]
) -> None:
    arguments = ("fetch", repository.as_uri(), "--output", tmp_path / "out")
    command(*arguments)
    (tmp_path / "out/maps/7/model.onnx").write_bytes(b"spoilt")
    untouched = (tmp_path / "out/facades/1/model.onnx").stat().st_ino
    assert "fetched" in command(*arguments).events
    assert tree(tmp_path / "out") == delivered
    assert (tmp_path / "out/facades/1/model.onnx").stat().st_ino == untouched


def test_a_change_at_the_source_is_followed(command: Command, repository: Path, tmp_path: Path, tree: Tree) -> None:
    arguments = ("fetch", repository.as_uri(), "--output", tmp_path / "out")
    command(*arguments)
    shutil.copytree(repository / "facades/2", repository / "facades/3")
    command(*arguments)
    assert "facades/3/model.onnx" in tree(tmp_path / "out")


def test_what_was_there_before_stays(command: Command, repository: Path, tmp_path: Path, tree: Tree) -> None:
    shutil.copytree(repository / "maps", tmp_path / "out/night")
    command("fetch", (repository / "facades").as_uri(), "--output", tmp_path / "out")
    assert {path.split("/")[0] for path in tree(tmp_path / "out")} == {"night", "facades"}


@pytest.mark.parametrize("below", ["", "facades", "facades/1"])
def test_name_and_version_are_read_off_the_whole_path(
    command: Command, repository: Path, tmp_path: Path, below: str, tree: Tree
) -> None:
    command("fetch", (repository / below).as_uri(), "--output", tmp_path / "out")
    assert "facades/1/model.onnx" in tree(tmp_path / "out")


def test_a_single_model_is_put_where_it_is_told(command: Command, repository: Path, tmp_path: Path, tree: Tree) -> None:
    loose = tmp_path / "run" / "export"
    shutil.copytree(repository / "facades/1", loose)
    assert "say where it belongs with --as" in command("fetch", loose.as_uri(), "--output", tmp_path / "out").error
    command("fetch", loose.as_uri(), "--output", tmp_path / "out", "--as", "night/4")
    assert set(tree(tmp_path / "out")) == {"night/4/model.onnx", "night/4/README.md"}


def test_one_place_is_not_for_several_models(command: Command, repository: Path, tmp_path: Path) -> None:
    done = command("fetch", repository.as_uri(), "--output", tmp_path / "out", "--as", "night/4")
    assert "--as night/4 is for one model, and there are 3" in done.error


def test_two_repositories_are_one_too_many(command: Command, repository: Path, tmp_path: Path, tree: Tree) -> None:
    shutil.copytree(repository, repository.parent / "others")
    done = command("fetch", repository.parent.as_uri(), "--output", tmp_path / "out")
    assert "holds two model repositories" in done.error
    assert tree(tmp_path / "out") == {}


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b"", "the file is empty"),
        (b"<!DOCTYPE html><html>Sign in</html>", "a web page, not a model"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:12\n", "a pointer of Git LFS"),
        (b"\x1f\x8b\x08 and so on", "a compressed file"),
        (b"nothing of the kind", "no whole ONNX model"),
    ],
)
def test_what_is_no_model_is_called_by_its_name(
    command: Command, repository: Path, tmp_path: Path, content: bytes, what: str
) -> None:
    (repository / "maps/7/model.onnx").write_bytes(content)
    done = command("fetch", repository.as_uri(), "--output", tmp_path / "out")
    assert f"maps/7/model.onnx: {what}" in done.error
    assert not (tmp_path / "out/maps").exists()


def test_a_model_that_was_cut_short_is_refused(command: Command, repository: Path, tmp_path: Path) -> None:
    model = repository / "maps/7/model.onnx"
    model.write_bytes(model.read_bytes()[:-20])
    assert "no whole ONNX model" in command("fetch", repository.as_uri(), "--output", tmp_path / "out").error


def test_labels_that_cannot_be_used_are_refused(command: Command, repository: Path, tmp_path: Path) -> None:
    (repository / "facades/labels.json").write_text("{")
    done = command("fetch", repository.as_uri(), "--output", tmp_path / "out")
    assert "facades/labels.json: not JSON" in done.error


def test_more_than_is_allowed_is_refused(command: Command, repository: Path, tmp_path: Path, tree: Tree) -> None:
    done = command("fetch", repository.as_uri(), "--output", tmp_path / "out", "--max-bytes", 100)
    assert "--max-bytes" in done.error
    assert tree(tmp_path / "out") == {}


def list_sums(folder: Path, pattern: str = "*/*/model.onnx") -> str:
    """Writes SHA256SUMS with the real tool, and returns its own digest."""
    files = [str(path.relative_to(folder)) for path in sorted(folder.glob(pattern))]
    sums = subprocess.run(["sha256sum", *files], cwd=folder, capture_output=True, check=True).stdout
    (folder / "SHA256SUMS").write_bytes(sums)
    return hashlib.sha256(sums).hexdigest()


def test_a_folder_is_held_to_its_list_of_digests(command: Command, repository: Path, tmp_path: Path) -> None:
    (repository / "facades/labels.json").unlink()
    (repository / "facades/1/README.md").unlink()
    digest = list_sums(repository)
    arguments = ("fetch", repository.as_uri(), "--output", tmp_path / "out")
    assert command(*arguments, "--sha256", digest).code == 0
    wrong = command(*arguments, "--sha256", "0" * 64).error
    assert digest in wrong
    assert "0" * 64 in wrong
    shutil.copy(repository / "facades/2/model.onnx", repository / "facades/1/model.onnx")
    elsewhere = command("fetch", repository.as_uri(), "--output", tmp_path / "elsewhere", "--sha256", digest)
    assert "SHA256SUMS says" in elsewhere.error


def test_a_file_that_is_not_listed_and_a_model_that_is_missing_are_refused(
    command: Command, repository: Path, tmp_path: Path
) -> None:
    list_sums(repository)
    arguments = ("fetch", repository.as_uri(), "--output", tmp_path / "out")
    assert "is not listed in SHA256SUMS" in command(*arguments).error
    list_sums(repository, "**/*.*")
    shutil.rmtree(repository / "maps")
    assert "lists maps/7/model.onnx, which is not there" in command(*arguments).error


def test_a_folder_without_a_list_says_how_to_make_one(command: Command, repository: Path, tmp_path: Path) -> None:
    done = command("fetch", repository.as_uri(), "--output", tmp_path / "out", "--sha256", "0" * 64)
    assert "sha256sum */*/model.onnx > SHA256SUMS" in done.error


def test_with_the_right_digest_in_place_nobody_is_asked(command: Command, web: Web, repository: Path) -> None:
    model = web.folder / "facades/2/model.onnx"
    shutil.copytree(repository / "facades/2", model.parent)
    digest = hashlib.sha256(model.read_bytes()).hexdigest()
    out = web.folder.parent / "out"
    arguments = ("fetch", f"{web.url}/facades/2/model.onnx", "--output", out, "--sha256", f"sha256:{digest}")
    command(*arguments)
    web.mood.asked.clear()
    assert command(*arguments).events == ["already_there"]
    assert web.mood.asked == []


def test_what_an_interrupted_run_left_behind_is_taken_away(
    command: Command, repository: Path, tmp_path: Path, tree: Tree, delivered: dict[str, bytes]
) -> None:
    left = tmp_path / "out/.lapis-models-staging"
    left.mkdir(parents=True)
    (left / "half").write_bytes(b"half a model")
    command("fetch", repository.as_uri(), "--output", tmp_path / "out")
    assert tree(tmp_path / "out") == delivered


def test_of_two_at_once_one_waits(repository: Path, tmp_path: Path, tree: Tree, delivered: dict[str, bytes]) -> None:
    (tmp_path / "out").mkdir()
    with (tmp_path / "out/.lapis-models.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        arguments = ("fetch", repository.as_uri(), "--output", str(tmp_path / "out"))
        other = subprocess.Popen(
            [sys.executable, "-m", "service.delivery", *arguments], stderr=subprocess.PIPE, text=True
        )
        with other:
            assert other.stderr
            assert json.loads(other.stderr.readline())["event"] == "waiting_for_another_fetch"
            assert tree(tmp_path / "out") == {}
            fcntl.flock(lock, fcntl.LOCK_UN)
    assert other.returncode == 0
    assert tree(tmp_path / "out") == delivered


@pytest.mark.parametrize(
    ("ending", "code", "said"),
    [(signal.SIGINT, 130, "lapis-models: interrupted; run the same command again\n"), (signal.SIGTERM, 143, "")],
)
def test_a_signal_leaves_nothing_behind(
    tmp_path: Path, tree: Tree, ending: signal.Signals, code: int, said: str
) -> None:
    pipe = tmp_path / "facades/1/model.onnx"
    pipe.parent.mkdir(parents=True)
    os.mkfifo(pipe)
    (tmp_path / "archive.tar").symlink_to(pipe)
    arguments = ["fetch", (tmp_path / "archive.tar").as_uri(), "--output", str(tmp_path / "out")]
    command = [sys.executable, "-m", "service.delivery", *arguments]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as running:
        assert running.stderr
        running.stderr.readline()  # it reads from the pipe, to which nobody writes
        running.send_signal(ending)
        assert running.stderr.read() == said
    assert running.returncode == code
    assert tree(tmp_path / "out") == {}


def test_a_place_that_cannot_be_written_is_named(command: Command, repository: Path, tmp_path: Path) -> None:
    (tmp_path / "out").write_text("a file")
    assert f"{tmp_path / 'out'}: " in command("fetch", repository.as_uri(), "--output", tmp_path / "out").error


@pytest.mark.parametrize(
    ("in_the_way", "is_folder"),
    [("facades/1/model.onnx", True), ("facades/labels.json", True), ("maps/7", False), ("maps", False)],
)
def test_what_is_in_the_way_is_named_before_anything_is_placed(
    command: Command, repository: Path, tmp_path: Path, in_the_way: str, *, is_folder: bool
) -> None:
    place = tmp_path / "out" / in_the_way
    (place if is_folder else place.parent).mkdir(parents=True)
    if not is_folder:
        place.write_text("a file")
    before = sorted((tmp_path / "out").rglob("[!.]*"))
    done = command("fetch", repository.as_uri(), "--output", tmp_path / "out")
    assert done.error.startswith(f"lapis-models: error: {place}: is ")
    assert sorted((tmp_path / "out").rglob("[!.]*")) == before


def test_a_server_that_looks_meanwhile_sees_whole_models_only(
    command: Command, repository: Path, tmp_path: Path
) -> None:
    model, out, stop, seen = repository / "maps/7", tmp_path / "out", threading.Event(), []
    whole = (model / "model.onnx").read_bytes()

    def look() -> None:
        while not stop.is_set():
            seen.extend((path / "model.onnx").read_bytes() == whole for path in out.glob("night/*"))

    watcher = threading.Thread(target=look)
    watcher.start()
    try:
        for version in range(1, 6):
            command("fetch", model.as_uri(), "--output", out, "--as", f"night/{version}")
    finally:
        stop.set()
        watcher.join()
    assert seen
    assert all(seen)


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("models/facades", "expected a URL that begins with s3://"),
        ("ftp://host/model.onnx", "expected a URL that begins with s3://"),
        ("file://models", "three slashes"),
        ("file:///nowhere/to/be/found", "there is nothing"),
        ("s3:///models", "names no bucket"),
        ("s3://my bucket/models", "names no bucket"),
        ("https://[bad/model.onnx", "https://[bad/model.onnx: names no host that can be read"),
        ("https://me:s3cret@[bad/model.onnx?s3cret", "error: https://[bad/model.onnx: names no host"),
        ("s3://[bad/x", "s3://[bad/x: names no host that can be read"),
        ("file://[bad/x", "file://[bad/x: names no host that can be read"),
        ("oci://[:::1]/models:1", "oci://[:::1]/models:1: names no host that can be read"),
        ("https://example.invalid/a\\b/model.onnx", "https://example.invalid/a\\b/model.onnx: "),
        ("oci://registry.example.com/models", "names neither a tag nor a digest"),
        ("oci://registry.example.com/Models:1", "small letters"),
        ("https://example.invalid/model.zip", "expected a name that ends in .onnx"),
    ],
)
def test_a_url_that_leads_nowhere_is_explained(command: Command, tmp_path: Path, url: str, message: str) -> None:
    assert message in command("fetch", url, "--output", tmp_path / "out", "--patience", 2).error


@pytest.mark.parametrize(
    ("flag", "value", "message"),
    [
        ("--as", "facades", "must be NAME/VERSION"),
        ("--as", "facades/latest", "must be NAME/VERSION"),
        ("--sha256", "abc", "--sha256"),
        ("--ca-certificate", "/nowhere.pem", "no such file"),
        ("--registry-user", "somebody", "go together"),
        ("--max-bytes", "0", "--max-bytes"),
        ("--endpoint", "notaurl", "--endpoint: must be http://HOST:PORT"),
        ("--endpoint", "minio:9000", "--endpoint: must be http://HOST:PORT"),
        ("--endpoint", "ftp://minio", "--endpoint: must be http://HOST:PORT"),
        ("--endpoint", "http://minio:99999", "--endpoint: must be http://HOST:PORT"),
        ("--endpoint", "http://[minio]", "--endpoint: must be http://HOST:PORT"),
        ("--endpoint", "http://999.1.1.1", "--endpoint: must be http://HOST:PORT"),
        ("--endpoint", "http://", "--endpoint: must be http://HOST:PORT"),
    ],
)
def test_a_wrong_setting_is_named(command: Command, tmp_path: Path, flag: str, value: str, message: str) -> None:
    done = command("fetch", "file:///models", "--output", tmp_path / "out", flag, value)
    assert message in done.error
    assert not (tmp_path / "out").exists()
