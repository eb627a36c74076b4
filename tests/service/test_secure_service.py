"""The command as a pod runs it: settings in a file, certificates and tokens in folders that are exchanged at once."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import sys
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import cv2
import httpx
import pytest
import yaml
from lapis.client import AsyncClient, Unauthenticated

from tests.service.certificates import Authority

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from tests.service.certificates import Pair
    from tests.service.conftest import LapisServe, Png, Repository

TOKEN = "0123456789abcdef"
STRANGER = "fedcba9876543210"


class Secret:
    """A folder as Kubernetes mounts a Secret: links to files in a folder that is exchanged in one step."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._times = 0
        folder.mkdir()

    def hold(self, **files: bytes) -> None:
        self._times += 1
        dated = self._folder / f"..{self._times}"
        dated.mkdir()
        for name, text in files.items():
            (dated / name).write_bytes(text)
            if self._times == 1:
                self.file(name).symlink_to(f"..data/{name}")
        link = self._folder / "..data_tmp"
        link.symlink_to(dated.name)
        os.replace(link, self._folder / "..data")  # noqa: PTH105 (of a link itself)

    def file(self, name: str) -> Path:
        return self._folder / name


class Pod:
    """What is mounted into it, and what its callers have."""

    def __init__(self, folder: Path, authority: Authority) -> None:
        self.authority = authority
        self.caller = authority.issue("caller@studio")
        self.tls, self.tokens, self.ca = (Secret(folder / name) for name in ("tls", "tokens", "ca"))
        self.show(authority.issue("localhost", "127.0.0.1"))
        self.tokens.hold(tokens=f"studio {TOKEN}\n".encode())
        self.ca.hold(crt=authority.certificate)
        self.config = folder / "lapis.yaml"

    def show(self, pair: Pair) -> None:
        self.tls.hold(crt=pair.certificate.read_bytes(), key=pair.key.read_bytes())

    def configure(self, **more: object) -> Path:
        secured = {
            "tls_certificate": self.tls.file("crt"),
            "tls_key": self.tls.file("key"),
            "tls_client_ca": self.ca.file("crt"),
            "tokens": self.tokens.file("tokens"),
        }
        settings = {name: str(path) for name, path in secured.items()} | {"caller_key": "token", **more}
        self.config.write_text(yaml.safe_dump(settings))
        return self.config

    @asynccontextmanager
    async def client(self, address: str, token: str = TOKEN) -> AsyncIterator[AsyncClient]:
        trusted = self.authority.credentials(self.caller)
        async with AsyncClient(address, credentials=trusted, token=token) as client:
            yield client


@pytest.fixture
def pod(tmp_path: Path, authority: Authority) -> Pod:
    (tmp_path / "pod").mkdir()
    return Pod(tmp_path / "pod", authority)


async def run_command(pod: Pod, address: str, folder: Path, *flags: str) -> tuple[int, str]:
    """Translates `in.png` to `out.png` with the command, and returns its exit code and what it said."""
    where = ("--server", address, "--connect-timeout", "1", "--ca", str(pod.authority.file), *flags)
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "lapis", str(folder / "in.png"), "--output", str(folder / "out.png"), *where),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        env={**os.environ, "LAPIS_TRANSLATE_TOKEN": TOKEN},
    )
    said, _ = await process.communicate()
    return process.returncode or 0, said.decode()


@pytest.mark.parametrize("workers", [1, 2])
async def test_pod_answers_its_callers_alone(
    lapis_serve: LapisServe, repository: Repository, png: Png, pod: Pod, tmp_path: Path, *, workers: int
) -> None:
    config = pod.configure(models=str(repository({"m/1": "invert"})), workers=workers)
    (tmp_path / "in.png").write_bytes(png(1))
    async with lapis_serve("--config", config) as process:
        serving = await process.event("serving")
        address = serving["grpc_address"]
        own = ("--certificate", str(pod.caller.certificate), "--key", str(pod.caller.key))
        code, said = await run_command(pod, address, tmp_path, *own)
        assert (code, cv2.imread(str(tmp_path / "out.png")).max()) == (0, 254), said
        code, said = await run_command(pod, address, tmp_path, "--overwrite")
        assert (code, said.count("\n")) == (2, 1), said
        async with pod.client(address, STRANGER) as stranger:
            with pytest.raises(Unauthenticated, match="the token is not one that this server knows"):
                await stranger.translate(png(1))
        async with httpx.AsyncClient() as plain:
            assert (await plain.get(f"http://{serving['http_address']}/startupz")).status_code == 200
        process.signal(signal.SIGTERM)
        assert (await process.event("stopped"))["finished"] is True
        assert await process.end() == 0
    assert TOKEN not in "".join(process.lines)
    assert STRANGER not in "".join(process.lines)


async def test_pod_follows_its_secrets(
    lapis_serve: LapisServe, repository: Repository, png: Png, pod: Pod, tmp_path: Path
) -> None:
    config = pod.configure(models=str(repository({"m/1": "invert"})))
    async with lapis_serve("--config", config) as process:
        address = (await process.event("serving"))["grpc_address"]
        async with pod.client(address) as connected:
            await connected.translate(png(1))
            successor = Authority(tmp_path / "successor")
            pod.ca.hold(crt=successor.certificate + pod.authority.certificate)
            pod.show(successor.issue("localhost", "127.0.0.1"))
            pod.tokens.hold(tokens=f"studio {STRANGER}\n".encode())
            with pytest.raises(Unauthenticated):
                await connected.translate(png(1))
        await process.event("tokens_renewed")
        pod.authority, pod.caller = successor, successor.issue("caller@studio")
        async with pod.client(address, STRANGER) as next_one:
            await next_one.translate(png(1))
        await process.event("tls_renewed")
        pod.tls.hold(crt=b"half a certif", key=b"")
        async with pod.client(address, STRANGER) as last_one:
            await last_one.translate(png(1))
        assert "are not a certificate and its key" in (await process.event("tls_failed"))["reason"]


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize(
    ("file", "complaint"),
    [
        ("tls", "--tls-certificate .* and --tls-key .* are not a certificate and its key, in PEM and not encrypted: "),
        ("tokens", "--tokens: .*, line 1: must be `NAME TOKEN`"),
    ],
)
async def test_secret_that_cannot_be_used_ends_the_start_with_one_line(
    lapis_serve: LapisServe, repository: Repository, pod: Pod, *, workers: int, file: str, complaint: str
) -> None:
    spoiled = {"tls": lambda: pod.tls.hold(crt=b"", key=b""), "tokens": lambda: pod.tokens.hold(tokens=b"studio\n")}
    spoiled[file]()
    config = pod.configure(models=str(repository({"m/1": "invert"})), workers=workers)
    async with lapis_serve("--config", config) as process:
        assert await process.end() == 2
    errors = [line for line in process.lines if not line.startswith("{")]
    assert len(errors) == 1
    assert re.match(f"lapis-serve: error: {complaint}", errors[0])


@pytest.mark.parametrize(("host", "warns"), [("0.0.0.0", True), ("127.0.0.1", False)])
async def test_tokens_that_anyone_may_overhear_are_warned_of_once(
    lapis_serve: LapisServe, repository: Repository, pod: Pod, host: str, warns: bool
) -> None:
    flags = ("--models", repository({"m/1": "invert"}), "--tokens", pod.tokens.file("tokens"), "--host", host)
    async with lapis_serve(*flags) as process:
        await process.event("serving")
    assert [json.loads(line)["event"] for line in process.lines].count("tokens_in_clear") == int(warns)


async def test_key_of_the_file_is_named_where_it_is_wrong(lapis_serve: LapisServe, pod: Pod) -> None:
    config = pod.configure(tls_certficate="x")
    async with lapis_serve("--config", config) as process:
        assert await process.end() == 2
    assert process.lines == ["lapis-serve: error: unknown setting --tls-certficate"]
