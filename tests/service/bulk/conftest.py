"""Shards, and the command over a folder without Ray."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, nullcontext
from pathlib import Path

import pytest

from service.bulk import interrupt
from service.bulk.__main__ import translate_all
from service.bulk.settings import BulkSettings
from service.bulk.units import Unit
from service.bulk.worker import Report, Worker


@pytest.fixture(scope="session")
def pack() -> Callable[..., bytes]:
    """Makes a shard of files by name; what a link leads to is given as text."""

    def packed(files: Mapping[str, bytes | str], mode: str = "w", *, link: bytes = tarfile.SYMTYPE) -> bytes:
        made = io.BytesIO()
        with tarfile.open(fileobj=made, mode=mode) as tar:
            for name, content in files.items():
                entry = tarfile.TarInfo(name)
                if isinstance(content, str):
                    entry.type, entry.linkname = link, content
                    tar.addfile(entry)
                else:
                    entry.size = len(content)
                    tar.addfile(entry, io.BytesIO(content))
        return made.getvalue()

    return packed


@pytest.fixture
def command(write_model: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    """Runs the command in this process, from `in` to `out` with a model that inverts; the seam is where Ray begins."""
    write_model(tmp_path / "models" / "invert" / "1" / "model.onnx")
    (tmp_path / "in").mkdir()

    def translate(
        settings: BulkSettings, units: list[Unit], description: dict[str, object] | None = None
    ) -> Iterator[Report]:
        with closing(Worker(settings, on_gpu=False, description=description)) as worker:
            yield from map(worker.work, units)

    monkeypatch.setattr("service.bulk.joining.joined", lambda _: nullcontext())
    monkeypatch.setattr("service.bulk.cluster.translate", translate)
    monkeypatch.setattr(interrupt, "listen", lambda: None)

    def run(**chosen: object) -> int:
        places = {"input": str(tmp_path / "in"), "output": str(tmp_path / "out"), "models": tmp_path / "models"}
        return translate_all(BulkSettings(**{**places, "failures": tmp_path / "failures.jsonl", "cpus": 1, **chosen}))

    return run
