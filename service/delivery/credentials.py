"""Who we are to a registry: named outright, or in the files that `docker login` and `podman login` write.

A Secret of the type `kubernetes.io/dockerconfigjson` holds such a file too.
"""

from __future__ import annotations

import base64
import json
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from service.delivery.errors import Refused

if TYPE_CHECKING:
    from collections.abc import Iterator

    from service.delivery.reference import Reference

# A helper answers with this name when its password is a token for the token server.
_TOKEN_USER = "<token>"  # noqa: S105


@dataclass(frozen=True)
class Credentials:
    """A user and a password, or a token that the token server exchanges for others; all "" for anybody."""

    user: str = ""
    password: str = ""
    identity_token: str = ""

    @property
    def basic(self) -> str:
        """Value of the header `Authorization`, "" for anybody."""
        if not self.user:
            return ""
        return "Basic " + base64.b64encode(f"{self.user}:{self.password}".encode()).decode()


def find(reference: Reference, config: Path | None) -> Credentials:
    """Return what the file says of the registry, or of the usual files the first that says anything."""
    for path in [config] if config else _usual_files():
        if config or path.is_file():
            found = _in_file(path, reference)
            if found:
                return found
    return Credentials()


def _usual_files() -> list[Path]:
    home = Path("~").expanduser() if "HOME" in os.environ else Path("/")
    named = os.environ.get("REGISTRY_AUTH_FILE")
    docker = Path(os.environ.get("DOCKER_CONFIG", home / ".docker"))
    podman = Path(os.environ.get("XDG_RUNTIME_DIR", f"/run/user/{os.getuid()}")) / "containers/auth.json"
    return [*([Path(named)] if named else []), docker / "config.json", podman, home / ".config/containers/auth.json"]


def _in_file(path: Path, reference: Reference) -> Credentials | None:
    try:
        contents = json.loads(path.read_bytes())
        entries, helpers = contents.get("auths") or {}, contents.get("credHelpers") or {}
        for name in _names(reference):
            helper = helpers.get(name)
            if helper:
                return _ask(helper, name)
            if entries.get(name):
                return _entry(entries[name])
        return _ask(contents["credsStore"], reference.host) if contents.get("credsStore") else None
    except OSError as error:
        raise Refused(f"{path}: {error.strerror}") from error
    except (ValueError, AttributeError, TypeError, KeyError) as error:
        raise Refused(f"{path}: expected what `docker login` writes, a JSON object with `auths`") from error


def _names(reference: Reference) -> Iterator[str]:
    """Yield the names that the registry may have in the file, the nearest first: with folders, bare, and old forms."""
    parts = reference.repository.split("/")
    for length in range(len(parts), 0, -1):
        yield f"{reference.host}/{'/'.join(parts[:length])}"
    yield reference.host
    yield f"https://{reference.host}"
    yield f"https://{reference.host}/v2/"
    yield f"https://{reference.host}/v1/"
    if reference.server != reference.host:
        yield "https://index.docker.io/v1/"


def _entry(entry: dict[str, Any]) -> Credentials | None:
    if entry.get("identitytoken"):
        return Credentials(identity_token=str(entry["identitytoken"]))
    if entry.get("auth"):
        user, _, password = base64.b64decode(entry["auth"]).decode().partition(":")
        return Credentials(user, password.rstrip("\0"))
    return Credentials(str(entry["username"]), str(entry["password"])) if entry.get("username") else None


def _ask(helper: str, name: str) -> Credentials | None:
    """Return what the credential helper knows of the registry, None where it knows nothing."""
    command = [f"docker-credential-{helper}", "get"]
    try:
        done = subprocess.run(command, input=name, capture_output=True, text=True, check=False, timeout=60)  # noqa: S603
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Refused(f"{command[0]}: {error}; the registry's credentials are kept with it") from error
    if done.returncode:
        return None
    answer = json.loads(done.stdout)
    if answer["Username"] == _TOKEN_USER:
        return Credentials(identity_token=answer["Secret"])
    return Credentials(answer["Username"], answer["Secret"])
