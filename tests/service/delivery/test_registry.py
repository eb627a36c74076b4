"""Pushing to and fetching from a real registry."""

from __future__ import annotations

import base64
import hashlib
import http.server
import json
import os
import shutil
import subprocess
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

import pytest
import requests

if TYPE_CHECKING:
    from conftest import Command, Tree

    StartRegistry = Callable[[Path, dict[str, Any]], AbstractContextManager[str]]
    Serve = Callable[[Callable[..., Any]], AbstractContextManager[str]]

# What `htpasswd -nbB studio s3cret` writes.
HTPASSWD = "studio:$2y$05$abcdefghijklmnopqrstuuLK7U1u6pVRmL7L1BBM2aS35PSZnDXlK"


def test_what_is_pushed_is_what_is_fetched(
    command: Command, registry: str, repository: Path, arrived: Callable[[Path], bool], tmp_path: Path
) -> None:
    pushed = command("push", repository, f"oci://{registry}/studio/models:1", "--plain-http")
    name, _, digest = pushed.output.strip().partition("@sha256:")
    assert name == f"{registry}/studio/models"
    for url in (f"oci://{registry}/studio/models:1", f"oci://{pushed.output.strip()}"):
        out = tmp_path / hashlib.sha256(url.encode()).hexdigest()
        arguments = ("fetch", url, "--plain-http", "--output", out, "--sha256", digest)
        assert command(*arguments).code == 0
        assert arrived(out)
        assert command(*arguments).events == ["already_there"]


def test_the_same_models_have_the_same_digest(
    command: Command, registry: str, repository: Path, tmp_path: Path
) -> None:
    first = command("push", repository, f"oci://{registry}/models:1", "--plain-http").output
    copy = shutil.copytree(repository, tmp_path / "copy", copy_function=shutil.copyfile)
    for path in copy.rglob("*"):
        os.utime(path, (1, 1))
        path.chmod(0o700)
    assert command("push", copy, f"oci://{registry}/models:2", "--plain-http").output == first


def test_a_tag_that_moved_is_followed(
    command: Command, registry: str, repository: Path, tree: Tree, tmp_path: Path
) -> None:
    url = f"oci://{registry}/models:latest"
    command("push", repository / "maps", url, "--plain-http")
    command("fetch", url, "--plain-http", "--output", tmp_path / "out")
    command("push", repository / "facades", url, "--plain-http")
    command("fetch", url, "--plain-http", "--output", tmp_path / "out")
    assert {"maps/7/model.onnx", "facades/2/model.onnx"} <= set(tree(tmp_path / "out"))


def test_it_is_an_image_for_every_node_and_says_what_is_in_it(
    command: Command, registry: str, tmp_path: Path, write_model: Callable[..., Path]
) -> None:
    about = {"format": "lapis-model/1", "precision": "int8", "data": {"licence": "CC BY-SA 4.0"}}
    write_model(tmp_path / "facades/3/model.onnx", metadata=about)
    command("push", tmp_path, f"oci://{registry}/models:1", "--plain-http")
    base = f"http://{registry}/v2/models"
    index = _get(f"{base}/manifests/1")
    assert {entry["platform"]["architecture"] for entry in index["manifests"]} == {"amd64", "arm64"}
    told = json.loads(index["annotations"]["lapis.models"])["facades/3"]
    assert (told["precision"], told["data"]["licence"]) == ("int8", "CC BY-SA 4.0")
    for entry in index["manifests"]:
        manifest = _get(f"{base}/manifests/{entry['digest']}")
        configuration = _get(f"{base}/blobs/{manifest['config']['digest']}")
        (layer,) = manifest["layers"]
        assert configuration["rootfs"]["diff_ids"] == [layer["digest"]]
        assert configuration["architecture"] == entry["platform"]["architecture"]


def _get(url: str) -> dict[str, Any]:
    types = "application/vnd.oci.image.index.v1+json, application/vnd.oci.image.manifest.v1+json"
    answer = requests.get(url, headers={"Accept": types}, timeout=10)
    answer.raise_for_status()
    return answer.json()  # type: ignore[no-any-return]


def test_other_tools_take_the_image(command: Command, registry: str, repository: Path, tmp_path: Path) -> None:
    if shutil.which("skopeo") is None:
        pytest.skip("no skopeo here (Debian: apt install skopeo)")
    command("push", repository, f"oci://{registry}/models:1", "--plain-http")
    source, target = f"docker://{registry}/models:1", f"oci:{tmp_path}/layout:1"
    subprocess.run(["skopeo", "copy", "--src-tls-verify=false", source, target], check=True, capture_output=True)
    assert (tmp_path / "layout/index.json").is_file()


def upload(registry: str, layers: list[tuple[bytes, str, dict[str, str]]], tag: str) -> None:
    """Writes an artifact as other tools would."""
    described = []
    for content, media_type, named in [(b"{}", "application/vnd.oci.empty.v1+json", {}), *layers]:
        digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
        begun = requests.post(f"http://{registry}/v2/theirs/blobs/uploads/", timeout=10)
        sent = requests.put(f"{begun.headers['Location']}&digest={digest}", data=content, timeout=10)
        sent.raise_for_status()
        described.append({"mediaType": media_type, "digest": digest, "size": len(content), "annotations": named})
    manifest = "application/vnd.oci.image.manifest.v1+json"
    content = {"schemaVersion": 2, "mediaType": manifest, "config": described[0], "layers": described[1:]}
    url, headers = f"http://{registry}/v2/theirs/manifests/{tag}", {"Content-Type": manifest}
    requests.put(url, json=content, headers=headers, timeout=10).raise_for_status()


def test_artifacts_of_files_are_taken_too(
    command: Command, registry: str, repository: Path, tree: Tree, tmp_path: Path
) -> None:
    model = (repository / "maps/7/model.onnx").read_bytes()
    title = "org.opencontainers.image.title"
    upload(registry, [(model, "application/onnx", {title: "model.onnx"})], "loose")
    upload(registry, [(model, "application/onnx", {"org.cncf.model.filepath": "night/2/model.onnx"})], "named")
    base = ("--plain-http", "--output", tmp_path / "out")
    command("fetch", f"oci://{registry}/theirs:loose", *base, "--as", "maps/9")
    command("fetch", f"oci://{registry}/theirs:named", *base)
    assert tree(tmp_path / "out") == {"maps/9/model.onnx": model, "night/2/model.onnx": model}


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        ((b"()", "application/vnd.oci.image.layer.v1.tar+zstd", {}), "cannot unpack a layer of type"),
        ((b"()", "application/vnd.oci.image.layer.v1.tar+gzip", {}), "the archive is damaged"),
        ((b"()", "application/onnx", {"org.opencontainers.image.title": "../model.onnx"}), "leads out of the folder"),
        ((b"()", "text/plain", {}), "no layer with files in it"),
        ((b"()", "text/plain", {"org.opencontainers.image.title": "notes.txt"}), "no model in it"),
    ],
)
def test_what_holds_no_model_is_explained(
    command: Command, registry: str, tmp_path: Path, layer: tuple[bytes, str, dict[str, str]], message: str
) -> None:
    upload(registry, [layer], "1")
    done = command("fetch", f"oci://{registry}/theirs:1", "--plain-http", "--output", tmp_path / "out")
    assert message in done.error


def test_a_wrong_digest_is_told_with_the_right_one(
    command: Command, registry: str, repository: Path, tmp_path: Path
) -> None:
    url, wrong = f"oci://{registry}/models:1", "0" * 64
    digest = command("push", repository, url, "--plain-http").output.strip().rpartition(":")[2]
    done = command("fetch", url, "--plain-http", "--output", tmp_path / "out", "--sha256", wrong)
    assert f"the SHA-256 is {digest}; expected {wrong}" in done.error


def test_a_layer_that_was_spoilt_in_the_registry_is_refused(
    command: Command, registry: str, repository: Path, tmp_path: Path
) -> None:
    url = f"oci://{registry}/models:1"
    command("push", repository, url, "--plain-http")
    blob = max((tmp_path / "registry").rglob("data"), key=lambda path: path.stat().st_size)
    blob.write_bytes(blob.read_bytes().replace(b"# Facades", b"# facades"))  # which no tar archive minds
    done = command("fetch", url, "--plain-http", "--output", tmp_path / "out")
    assert "its manifest says" in done.error


def test_what_is_not_there_and_who_does_not_speak_tls_are_named(
    command: Command, registry: str, repository: Path, tmp_path: Path
) -> None:
    url = f"oci://{registry}/models:2"
    assert (
        f"there is no {registry}/models:2" in command("fetch", url, "--plain-http", "--output", tmp_path / "out").error
    )
    assert "--plain-http" in command("push", repository, url, "--patience", 0).error


def test_a_push_needs_a_tag_and_models(command: Command, repository: Path, tmp_path: Path) -> None:
    digest = "sha256:" + "0" * 64
    assert "needs a tag" in command("push", repository, f"oci://127.0.0.1:1/models@{digest}", "--plain-http").error
    assert "no such folder" in command("push", tmp_path / "no", "oci://127.0.0.1:1/models:1").error
    (tmp_path / "empty").mkdir()
    assert "no model in it" in command("push", tmp_path / "empty", "oci://127.0.0.1:1/models:1").error
    (repository / "maps/7/model.onnx").write_bytes(b"<html>")
    assert "a web page" in command("push", repository, "oci://127.0.0.1:1/models:1").error


@pytest.mark.parametrize("metadata", ["[]", "5", "null", "[" * 100_000, "{"])
def test_metadata_that_are_no_object_are_told(
    command: Command, tmp_path: Path, write_model: Callable[..., Path], metadata: str
) -> None:
    path = write_model(tmp_path / "facades/3/model.onnx", metadata=metadata)
    done = command("push", tmp_path, "oci://127.0.0.1:1/models:1")
    assert done.error.startswith(f"lapis-models: error: {path}: its metadata are ")


def test_a_registry_with_passwords(
    command: Command, start_registry: StartRegistry, repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "htpasswd").write_text(HTPASSWD + "\n")
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    auth = {"htpasswd": {"realm": "studio", "path": str(tmp_path / "htpasswd")}}
    with start_registry(tmp_path, auth) as host:
        url = f"oci://{host}/models:1"
        assert "no credentials for it were found" in command("push", repository, url, "--plain-http").error
        wrong = command(
            "push", repository, url, "--plain-http", "--registry-user", "studio", "--registry-password", "x"
        )
        assert "does not accept our credentials" in wrong.error
        login = base64.b64encode(b"studio:s3cret").decode()
        (tmp_path / "config.json").write_text(json.dumps({"auths": {host: {"auth": login}}}))
        assert command("push", repository, url, "--plain-http").code == 0
        assert command("fetch", url, "--plain-http", "--output", tmp_path / "out").code == 0
        (tmp_path / "config.json").unlink()
        monkeypatch.setenv("LAPIS_MODELS_FETCH__REGISTRY_USER", "studio")
        monkeypatch.setenv("LAPIS_MODELS_FETCH__REGISTRY_PASSWORD", "s3cret")
        assert command("fetch", url, "--plain-http", "--output", tmp_path / "other").code == 0


class Guard(http.server.BaseHTTPRequestHandler):
    """Stands before a registry: lets nobody in without a token, and gives tokens to those it knows."""

    registry = ""
    uploads_at = ""
    scopes: list[str] = []  # noqa: RUF012
    elsewhere: list[str] = []  # noqa: RUF012

    def _answer(self) -> None:
        me = f"http://{self.headers['Host']}"
        authorization = self.headers.get("Authorization", "")
        length = int(self.headers.get("Content-Length", 0))
        content = self.rfile.read(length)
        if self.path.startswith("/token"):
            known = authorization == "Basic " + base64.b64encode(b"studio:s3cret").decode()
            self.scopes.append(parse_qs(urlsplit(self.path).query).get("scope", [""])[0])
            return self._say(200 if known else 401, b'{"token": "t0ken"}', {})
        if self.headers["Host"].startswith("localhost"):
            self.elsewhere.append(authorization)
        elif authorization != "Bearer t0ken":
            asks = f'Bearer realm="{me}/token",service="studio",scope="repository:models:pull,push"'
            return self._say(401, b"{}", {"WWW-Authenticate": asks})
        passed = {name: self.headers[name] for name in ("Accept", "Content-Type", "Range") if self.headers[name]}
        answer = requests.request(
            self.command, f"http://{self.registry}{self.path}", data=content, headers=passed, timeout=10
        )
        kept = ("Content-Type", "Location", "Docker-Content-Digest")
        headers = {
            name: answer.headers[name].replace(f"http://{self.registry}", me) for name in kept if name in answer.headers
        }
        if self.uploads_at and "Location" in headers:
            headers["Location"] = headers["Location"].replace("127.0.0.1", self.uploads_at)
        return self._say(answer.status_code, answer.content, headers)

    def _say(self, status: int, content: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(content))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content if self.command != "HEAD" else b"")

    do_GET = do_HEAD = do_POST = do_PUT = _answer

    def log_message(self, *_: object) -> None:
        pass


def test_a_registry_with_a_token_server(  # noqa: PLR0917 (fixtures)
    command: Command,
    registry: str,
    serve: Serve,
    repository: Path,
    arrived: Callable[[Path], bool],
    tmp_path: Path,
) -> None:
    guard: Any = type("Guarded", (Guard,), {"registry": registry, "scopes": []})
    with serve(guard) as address:
        host = address.removeprefix("http://")
        who = ("--plain-http", "--registry-user", "studio", "--registry-password", "s3cret")
        pushed = command("push", repository, f"oci://{host}/models:1", *who)
        assert pushed.code == 0, pushed.log
        assert guard.scopes == ["repository:models:pull,push"]
        command("fetch", f"oci://{host}/models:1", *who, "--output", tmp_path / "out")
        assert arrived(tmp_path / "out")
        who = ("--plain-http", "--registry-user", "studio", "--registry-password", "wrong")
        refused = command("fetch", f"oci://{host}/models:1", *who, "--output", tmp_path / "other")
        assert "token server does not accept our credentials" in refused.error


def test_our_name_is_not_sent_where_uploads_are_sent_to(
    command: Command, registry: str, serve: Serve, repository: Path
) -> None:
    guard: Any = type("Sending", (Guard,), {"registry": registry, "uploads_at": "localhost", "elsewhere": []})
    with serve(guard) as address:
        who = ("--plain-http", "--registry-user", "studio", "--registry-password", "s3cret")
        pushed = command("push", repository, f"oci://{address.removeprefix('http://')}/models:1", *who)
        assert pushed.code == 0, pushed.log
    assert set(guard.elsewhere) == {""}
