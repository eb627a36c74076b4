"""Fetching from object stores: real servers that speak S3."""

from __future__ import annotations

import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from service.delivery.store import Bucket, StoreAccess

if TYPE_CHECKING:
    from conftest import Command, Tree

ONCE = ("--anonymous", "--patience", 0)
Start = Callable[..., AbstractContextManager[None]]


@pytest.fixture
def buckets(tmp_path: Path, repository: Path) -> Path:
    """A folder of buckets: `studio`, with the repository under `published/models`."""
    root = tmp_path / "buckets"
    shutil.copytree(repository, root / "studio/published/models")
    return root


@pytest.fixture
def s3(buckets: Path, tmp_path: Path, free_port: int, start: Start, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A server over the buckets, and credentials that it takes; its address."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "reader")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "s3cret")
    program = str(Path(sys.executable).with_name("localbucket"))
    url = f"http://127.0.0.1:{free_port}"
    with start([program, "--port", str(free_port), str(buckets)], url, tmp_path / "s3.log"):
        yield url


@pytest.fixture
def locked_s3(
    buckets: Path, tmp_path: Path, free_port: int, start: Start, monkeypatch: pytest.MonkeyPatch
) -> Iterator[str]:
    """A server that checks signatures; its address."""
    program = shutil.which("rclone")
    if (
        program is None
        or "auth-key"
        not in subprocess.run([program, "serve", "s3", "--help"], capture_output=True, text=True, check=False).stdout
    ):
        pytest.skip("no rclone here that serves S3 (1.65 or newer)")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "reader")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "s3cret")
    address = f"127.0.0.1:{free_port}"
    arguments = [program, "serve", "s3", "--addr", address, "--auth-key", "reader,s3cret", str(buckets)]
    with start(arguments, f"http://{address}", tmp_path / "rclone.log"):
        yield f"http://{address}"


def test_a_prefix_is_a_repository(
    command: Command, s3: str, tree: Tree, delivered: dict[str, bytes], tmp_path: Path
) -> None:
    arguments = ("fetch", "s3://studio/published/models", "--endpoint", s3, "--output", tmp_path / "out")
    assert command(*arguments).code == 0
    assert tree(tmp_path / "out") == delivered
    assert command(*arguments).events == ["already_there"]


def test_a_bucket_may_be_one(command: Command, s3: str, tree: Tree, tmp_path: Path) -> None:
    command("fetch", "s3://studio", "--endpoint", s3, "--output", tmp_path / "out")
    assert "maps/7/model.onnx" in tree(tmp_path / "out")


def test_objects_with_odd_names_matter_only_where_they_may_belong(
    command: Command, s3: str, tree: Tree, buckets: Path, tmp_path: Path
) -> None:
    arguments = ("fetch", "s3://studio", "--endpoint", s3, "--output", tmp_path / "out")
    (buckets / "studio/we\\ird.txt").write_text("of no concern")
    assert command(*arguments).code == 0
    assert "maps/7/model.onnx" in tree(tmp_path / "out")
    odd = buckets / "studio/published/models/we\\ird/1/model.onnx"
    odd.parent.mkdir(parents=True)
    odd.write_bytes(b"a model")
    expected = "error: s3://studio: 'published/models/we\\\\ird/1/model.onnx' leads out of the folder"
    assert expected in command(*arguments).error


def test_one_version_is_named_by_its_folder(command: Command, s3: str, tree: Tree, tmp_path: Path) -> None:
    url = "s3://studio/published/models/facades/2/"
    command("fetch", url, "--endpoint", s3, "--output", tmp_path / "out")
    assert set(tree(tmp_path / "out")) == {"facades/2/model.onnx"}


def test_a_new_version_in_the_bucket_is_followed(
    command: Command, s3: str, tree: Tree, buckets: Path, tmp_path: Path
) -> None:
    arguments = ("fetch", "s3://studio/published/models", "--endpoint", s3, "--output", tmp_path / "out")
    command(*arguments)
    shutil.copytree(buckets / "studio/published/models/maps/7", buckets / "studio/published/models/maps/8")
    command(*arguments)
    assert "maps/8/model.onnx" in tree(tmp_path / "out")


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("s3://studio/published/facade/3", "there is nothing"),
        ("s3://studio/published/models/maps/9/model.onnx", "404 Not Found"),
        ("s3://nowhere/models", "404 Not Found (NoSuchBucket)"),
    ],
)
def test_what_is_not_there_is_named(command: Command, s3: str, tmp_path: Path, url: str, message: str) -> None:
    done = command("fetch", url, "--endpoint", s3, "--output", tmp_path / "out")
    assert done.error.startswith(f"lapis-models: error: {url}: {message}")


def test_an_object_is_read_from_any_byte_on(s3: str, buckets: Path) -> None:
    (part,) = Bucket("s3://studio/published/models/maps/7/model.onnx", StoreAccess(s3)).offer().parts
    content = (buckets / "studio" / Path(*part.path)).read_bytes()
    assert b"".join(part.read(7)) == content[7:]
    assert b"".join(part.read(len(content))) == b""


def test_a_signature_that_is_checked(
    command: Command, locked_s3: str, tree: Tree, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = ("fetch", "s3://studio/published", "--endpoint", locked_s3, "--output", tmp_path / "out")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    assert "403 Forbidden (SignatureDoesNotMatch); credentials are read from" in command(*arguments).error
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "s3cret")
    assert command(*arguments).code == 0
    assert "maps/7/model.onnx" in tree(tmp_path / "out")


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_store_that_cannot_be_reached_is_named(command: Command, free_port: int, tmp_path: Path, scheme: str) -> None:
    endpoint = f"{scheme}://127.0.0.1:{free_port}"
    done = command("fetch", "s3://studio/models", "--endpoint", endpoint, "--output", tmp_path / "out", *ONCE)
    assert f"s3://studio/models: cannot be reached at {endpoint} (Connection refused)" in done.error


def test_a_store_whose_name_is_nobody_s_is_named(command: Command, tmp_path: Path) -> None:
    endpoint = "http://nobody.invalid:9000"
    done = command("fetch", "s3://studio/models", "--endpoint", endpoint, "--output", tmp_path / "out", *ONCE)
    assert f"s3://studio/models: cannot be reached at {endpoint} (failed to lookup address" in done.error


def test_a_store_of_plain_http_is_told_from_one_that_is_not_there(command: Command, s3: str, tmp_path: Path) -> None:
    endpoint = s3.replace("http:", "https:")
    done = command("fetch", "s3://studio/models", "--endpoint", endpoint, "--output", tmp_path / "out")
    assert f"{endpoint} does not speak TLS; is it plain HTTP?" in done.error
    assert done.code == 2


@pytest.mark.parametrize(
    ("url", "variable", "value", "message"),
    [
        ("s3://studio", "AWS_ENDPOINT_URL", "notaurl", "variable AWS_ENDPOINT_URL: expected http://HOST:PORT"),
        ("s3://studio", "AWS_REGION", "no where", "a setting of the store cannot be used"),
    ],
)
def test_a_variable_that_cannot_be_used_is_told(  # noqa: PLR0917 (what is parametrized)
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, url: str, variable: str, value: str, message: str
) -> None:
    monkeypatch.setenv(variable, value)
    arguments = [sys.executable, "-m", "service.delivery", "fetch", url, "--anonymous", "--output", str(tmp_path)]
    done = subprocess.run(arguments, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_a_store_that_says_nothing_can_be_left(tmp_path: Path, tree: Tree) -> None:
    arguments = ["fetch", "s3://studio/models", "--anonymous", "--output", str(tmp_path / "out")]
    with socket.create_server(("127.0.0.1", 0)) as silent:
        endpoint = f"http://127.0.0.1:{silent.getsockname()[1]}"
        command = [sys.executable, "-m", "service.delivery", *arguments, "--endpoint", endpoint]
        with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as running:
            connection, _ = silent.accept()
            running.send_signal(signal.SIGINT)
            said = running.communicate(timeout=30)[1]
            connection.close()
    assert (running.returncode, said) == (130, "lapis-models: interrupted; run the same command again\n")
    assert tree(tmp_path / "out") == {}
