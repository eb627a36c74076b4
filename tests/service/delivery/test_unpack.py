"""Archives that mean no good."""

from __future__ import annotations

import gzip
import io
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from service.delivery.errors import Refused
from service.delivery.staging import Staging, staged
from service.delivery.unpack import unpack

if TYPE_CHECKING:
    from conftest import Command

MODEL = "facades/1/model.onnx"


def entry(
    name: str, content: bytes = b"", kind: bytes = tarfile.REGTYPE, link: str = ""
) -> tuple[tarfile.TarInfo, bytes]:
    info = tarfile.TarInfo(name)
    info.type, info.linkname, info.size = kind, link, len(content)
    return info, content


def tar(*entries: tuple[tarfile.TarInfo, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for info, content in entries:
            archive.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def unpacked(content: bytes, folder: Path, max_bytes: int = 1 << 20, form: str = "tar") -> dict[str, bytes]:
    with staged(folder, max_bytes) as staging:
        unpack(iter([content[:100], content[100:]]), form, staging, "models.tar")  # type: ignore[arg-type]
        return {"/".join(parts): staging.where(parts).read_bytes() for parts in staging.digests}


@pytest.mark.parametrize(
    "name", ["../facades/1/model.onnx", "/facades/1/model.onnx", "a/../../b/1/model.onnx", "a\\..\\b"]
)
def test_paths_that_lead_out_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(Refused, match=r"models\.tar: .* leads out of the folder"):
        unpacked(tar(entry(name, b"evil")), tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


@pytest.mark.parametrize(
    ("kind", "what"),
    [
        (tarfile.SYMTYPE, "link"),
        (tarfile.LNKTYPE, "link"),
        (tarfile.FIFOTYPE, "device"),
        (tarfile.CHRTYPE, "device"),
        (tarfile.BLKTYPE, "device"),
    ],
)
def test_a_model_is_a_regular_file(tmp_path: Path, kind: bytes, what: str) -> None:
    with pytest.raises(Refused, match=rf"facades/1/model\.onnx is a {what}"):
        unpacked(tar(entry(MODEL, kind=kind, link="/etc/passwd")), tmp_path)


def test_a_link_to_a_folder_leads_nowhere(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    evil = tar(entry("facades", kind=tarfile.SYMTYPE, link=str(outside)), entry(MODEL, b"model"))
    assert unpacked(evil, tmp_path / "out") == {MODEL: b"model"}
    assert list(outside.iterdir()) == []


def test_what_belongs_to_no_repository_is_not_written(tmp_path: Path) -> None:
    content = tar(
        entry("etc/passwd", b"root"), entry("bin/sh", kind=tarfile.LNKTYPE, link="busybox"), entry(MODEL, b"m")
    )
    assert unpacked(content, tmp_path) == {MODEL: b"m"}


@pytest.mark.parametrize("name", [MODEL, "elsewhere/zeros"])
def test_an_archive_that_unfolds_without_end_is_left_early(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    bomb = gzip.compress(tar(entry(name, bytes(64 << 20))), compresslevel=1)
    assert len(bomb) < 1 << 20
    monkeypatch.setattr("service.delivery.unpack._MOST_ENTRIES", 100)
    with pytest.raises(Refused, match="--max-bytes allows more"):
        unpacked(bomb, tmp_path, form="tar.gz")


def test_a_file_of_holes_counts_by_its_size(tmp_path: Path) -> None:
    info = tarfile.TarInfo(MODEL)
    info.pax_headers = {"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.realsize": str(1 << 40)}
    content = b"1\n0\n0\n".ljust(512, b"\0")
    info.size = len(content)
    with pytest.raises(Refused, match=r"--max-bytes allows more|damaged"):
        unpacked(tar((info, content)), tmp_path)


def test_a_huge_header_is_not_read(tmp_path: Path) -> None:
    header = tarfile.TarInfo("././@LongLink")
    header.type, header.size = tarfile.GNUTYPE_LONGNAME, 1 << 33
    with pytest.raises(Refused, match="a header of"):
        unpacked(header.tobuf(tarfile.GNU_FORMAT) + bytes(4096), tmp_path)


GOOD = tar(entry(MODEL, bytes(1000)), entry("n" * 120, bytes(600)), entry("facades/2/model.onnx", bytes(10)))
FIRST_ENDS = 3 * 512
SECOND_ENDS = FIRST_ENDS + 2 * 512 + 3 * 512  # its long name has a header and a block of its own
LAST_ENDS = SECOND_ENDS + 2 * 512


def test_an_archive_ends_where_its_entries_do(tmp_path: Path) -> None:
    assert set(unpacked(GOOD[: LAST_ENDS + 512], tmp_path)) == {MODEL, "facades/2/model.onnx"}


def spoilt(content: bytes, *where: int) -> bytes:
    spoiling = bytearray(content)
    for index in where:
        spoiling[index] ^= 1
    return bytes(spoiling)


@pytest.mark.parametrize("form", ["tar", "tar.gz"])
@pytest.mark.parametrize(
    ("content", "what"),
    [
        (GOOD[:FIRST_ENDS], "neither an entry nor an end marker at byte 1,536"),
        (GOOD[:SECOND_ENDS], "neither an entry nor an end marker at byte 4,096"),
        (GOOD[:LAST_ENDS], "neither an entry nor an end marker at byte 5,120"),
        (GOOD[: LAST_ENDS + 100], "neither an entry nor an end marker at byte 5,120"),
        (spoilt(GOOD, FIRST_ENDS + 5), "neither an entry nor an end marker at byte 1,536"),
        (GOOD.replace(b"130 path=", b"000 path="), "neither an entry nor an end marker at byte 1,536"),
        (spoilt(GOOD, SECOND_ENDS + 5), "neither an entry nor an end marker at byte 4,096"),
        (spoilt(GOOD, LAST_ENDS + 5), "neither an entry nor an end marker at byte 5,120"),
        (GOOD[:FIRST_ENDS] + bytes(512) + GOOD[FIRST_ENDS + 512 :], "something follows its end marker"),
        (GOOD + GOOD, "something follows its end marker"),
    ],
)
def test_an_archive_without_its_end_is_not_complete(tmp_path: Path, content: bytes, what: str, form: str) -> None:
    with pytest.raises(Refused, match=rf"models\.tar: the archive is damaged: {what}"):
        unpacked(gzip.compress(content) if form == "tar.gz" else content, tmp_path, form=form)


PACKED = gzip.compress(GOOD, mtime=0)


@pytest.mark.parametrize("content", [PACKED + bytes(200), gzip.compress(GOOD[:700]) + gzip.compress(GOOD[700:])])
def test_padding_and_pieces_are_as_good_as_any(tmp_path: Path, content: bytes) -> None:
    assert set(unpacked(content, tmp_path, form="tar.gz")) == {MODEL, "facades/2/model.onnx"}


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (spoilt(PACKED, len(PACKED) - 8), "CRC check failed"),
        (spoilt(PACKED, len(PACKED) - 1), "Incorrect length"),
        (PACKED[:-8], "Compressed file ended"),
        (PACKED[:-1], "Compressed file ended"),
        (PACKED + b"something else", "Not a gzipped file"),
    ],
)
def test_what_is_compressed_is_held_to_its_checksum(
    command: Command, tmp_path: Path, content: bytes, what: str
) -> None:
    path = tmp_path / "models.tar.gz"
    path.write_bytes(content)
    done = command("fetch", path.as_uri(), "--output", tmp_path / "out")
    assert f"{path.as_uri()}: the archive is damaged: {what}" in done.error
    assert not (tmp_path / "out/facades").exists()


def test_zeros_after_the_end_count_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("service.delivery.unpack._MOST_ENTRIES", 100)
    with pytest.raises(Refused, match="--max-bytes allows more"):
        unpacked(gzip.compress(GOOD + bytes(64 << 20), compresslevel=1), tmp_path, form="tar.gz")


def test_an_upper_layer_takes_away_what_a_lower_one_brought(tmp_path: Path) -> None:
    def layers(staging: Staging, *contents: bytes) -> set[str]:
        for content in contents:
            unpack(iter([content]), "tar", staging, "image")
        return {"/".join(parts) for parts in staging.digests}

    lower = tar(entry(MODEL, b"1"), entry("facades/2/model.onnx", b"2"), entry("maps/1/model.onnx", b"3"))
    with staged(tmp_path, 1 << 20) as staging:
        found = layers(staging, lower, tar(entry("facades/1/.wh.model.onnx")), tar(entry("maps/.wh..wh..opq")))
    assert found == {"facades/2/model.onnx"}


@pytest.mark.parametrize("damage", [lambda whole: whole[:300], lambda whole: b"x" + whole[1:], lambda _: b""])
@pytest.mark.parametrize("form", ["tar", "tar.gz"])
def test_damage_is_told(command: Command, tmp_path: Path, damage: Callable[[bytes], bytes], form: str) -> None:
    whole = tar(entry(MODEL, bytes(1000)))
    path = tmp_path / f"models.{form}"
    path.write_bytes(damage(gzip.compress(whole, mtime=0) + bytes(200) if form == "tar.gz" else whole))
    assert "models." in command("fetch", path.as_uri(), "--output", tmp_path / "out").error
    assert not (tmp_path / "out/facades").exists()
