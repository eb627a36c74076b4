"""Who we are to a registry, as the files of other tools say it."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import pytest

from service.delivery.credentials import Credentials, find
from service.delivery.errors import Refused
from service.delivery.reference import Reference

REFERENCE = Reference.parse("oci://registry.example.com:5000/studio/models:1")
STUDIO = {"auth": base64.b64encode(b"studio:s3:cret").decode()}


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path / "docker"))
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "run"))
    monkeypatch.delenv("REGISTRY_AUTH_FILE", raising=False)
    path = tmp_path / "docker/config.json"
    path.parent.mkdir()
    return path


@pytest.mark.parametrize(
    "name",
    [
        "registry.example.com:5000",
        "https://registry.example.com:5000",
        "https://registry.example.com:5000/v2/",
        "registry.example.com:5000/studio",
        "registry.example.com:5000/studio/models",
    ],
)
def test_a_registry_is_found_by_any_of_its_names(config: Path, name: str) -> None:
    config.write_text(json.dumps({"auths": {"other.example.com": {"auth": "eDp5"}, name: STUDIO}}))
    assert find(REFERENCE, None) == Credentials("studio", "s3:cret")


def test_the_nearest_name_wins(config: Path) -> None:
    near = {"username": "near", "password": "p"}
    config.write_text(
        json.dumps({"auths": {"registry.example.com:5000": STUDIO, "registry.example.com:5000/studio": near}})
    )
    assert find(REFERENCE, None).user == "near"


def test_docker_hub_is_known_by_its_old_name(config: Path) -> None:
    config.write_text(json.dumps({"auths": {"https://index.docker.io/v1/": STUDIO}}))
    reference = Reference.parse("oci://docker.io/studio/models:1")
    assert find(reference, None).user == "studio"
    assert reference.server == "registry-1.docker.io"


def test_nobody_is_nobody(config: Path) -> None:
    assert find(REFERENCE, None) == Credentials()
    config.write_text(json.dumps({"auths": {"other.example.com": STUDIO}}))
    assert find(REFERENCE, None).basic == ""


def test_a_token_for_the_token_server(config: Path) -> None:
    config.write_text(json.dumps({"auths": {"registry.example.com:5000": {"identitytoken": "t0ken"}}}))
    assert find(REFERENCE, None) == Credentials(identity_token="t0ken")


@pytest.mark.parametrize("setting", [{"credsStore": "lapis"}, {"credHelpers": {"registry.example.com:5000": "lapis"}}])
def test_a_helper_is_asked(
    config: Path, setting: dict[str, object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    helper = tmp_path / "docker-credential-lapis"
    helper.write_text('#!/bin/sh\nread host\necho "{\\"Username\\": \\"$host\\", \\"Secret\\": \\"s3cret\\"}"\n')
    helper.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    config.write_text(json.dumps(setting))
    assert find(REFERENCE, None) == Credentials("registry.example.com:5000", "s3cret")


@pytest.mark.parametrize("content", ["{", "[]", '{"auths": {"registry.example.com:5000": {"auth": "no base64!"}}}'])
def test_a_file_that_says_nothing_is_named(tmp_path: Path, content: str) -> None:
    path = tmp_path / "config.json"
    path.write_text(content)
    with pytest.raises(Refused, match=r"config\.json: expected what `docker login` writes"):
        find(REFERENCE, path)
