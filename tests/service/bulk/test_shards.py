"""A shard is read whole or not at all."""

from __future__ import annotations

import gzip
import tarfile
from collections.abc import Callable
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.bulk import shards
from service.bulk.shards import BrokenShard, Member

FILES = {"1.png": b"a" * 700, "1.json": b"{}", "2.png": b"b" * 100}
# Where each file begins: a block for its header, and blocks for what is in it.
SECOND, THIRD, END = 1536, 2560, 3584
LARGEST = 10**6


def test_files_come_with_their_names_and_in_their_order(pack: Callable[..., bytes]) -> None:
    assert shards.read(pack(FILES), LARGEST) == [Member(name, content) for name, content in FILES.items()]


@pytest.mark.parametrize("cut", [SECOND, THIRD, END, SECOND + 100, SECOND + 600])
def test_shard_that_is_cut_off_is_broken(pack: Callable[..., bytes], cut: int) -> None:
    with pytest.raises(BrokenShard, match=rf"at byte {cut:,}|damaged"):
        shards.read(pack(FILES)[:cut], LARGEST)


def test_shard_with_a_damaged_header_is_broken_and_says_where(pack: Callable[..., bytes]) -> None:
    content = bytearray(pack(FILES))
    content[THIRD + 150] ^= 0xFF
    with pytest.raises(BrokenShard, match="cut off or damaged at byte 2,560, after 2 entries"):
        shards.read(bytes(content), LARGEST)


def test_shard_with_a_hole_of_zeros_is_broken(pack: Callable[..., bytes]) -> None:
    content = bytearray(pack(FILES))
    content[SECOND:THIRD] = bytes(THIRD - SECOND)
    with pytest.raises(BrokenShard, match="at byte 1,536"):
        shards.read(bytes(content), LARGEST)


@pytest.mark.parametrize("mode", ["w:gz", "w:bz2", "w:xz"])
def test_compressed_shard_is_read_or_broken(pack: Callable[..., bytes], mode: str) -> None:
    content = pack({**FILES, "noise.bin": bytes(range(256)) * 40}, mode)
    assert [member.name for member in shards.read(content, LARGEST)] == [*FILES, "noise.bin"]
    middle = len(content) // 2
    for damaged in (content[:middle], content[:middle] + b"\xff" * 40 + content[middle + 40 :]):
        with pytest.raises(BrokenShard):
            shards.read(damaged, LARGEST)


def test_compressed_shard_that_was_cut_off_before_is_broken(pack: Callable[..., bytes]) -> None:
    with pytest.raises(BrokenShard, match="at byte 2,560"):
        shards.read(gzip.compress(pack(FILES)[:THIRD]), LARGEST)


@given(at=st.integers(0, END - 1), byte=st.integers(0, 255))
def test_no_damage_is_anything_but_a_broken_shard_or_other_content(
    pack: Callable[..., bytes], at: int, byte: int
) -> None:
    content = bytearray(pack(FILES))
    content[at] = byte
    with suppress(BrokenShard):
        assert len(shards.read(bytes(content), LARGEST)) <= len(FILES)


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE])
def test_link_has_the_content_that_it_leads_to(pack: Callable[..., bytes], kind: bytes) -> None:
    content = pack({"1.png": b"a", "2.png": "1.png"}, link=kind)
    assert shards.read(content, LARGEST) == [Member("1.png", b"a"), Member("2.png", b"a")]


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE])
def test_link_that_leads_nowhere_and_what_is_no_file_has_a_fault(pack: Callable[..., bytes], kind: bytes) -> None:
    content = pack({"1.png": b"a", "2.png": "3.png", "4.png": "4.png"}, link=kind)
    first, *others = shards.read(content, LARGEST)
    assert not first.fault
    assert [(one.name, one.content) for one in others] == [("2.png", b""), ("4.png", b"")]
    assert all(one.fault for one in others)


@pytest.mark.parametrize(("other", "refused"), [("1.jpg", True), ("1.png", True), ("x/1.png", False), ("1.txt", False)])
def test_translations_of_the_same_name_are_refused(other: str, *, refused: bool) -> None:
    members = [Member("1.png", b""), Member(other, b"")]
    if not refused:
        shards.check_names(members, ".webp")
        return
    with pytest.raises(BrokenShard, match=rf"the same name: 1.png and {other}"):
        shards.check_names(members, ".webp")


def test_same_members_make_the_same_shard() -> None:
    members = [Member("a.png", b"1"), Member("a.txt", b"2")]
    assert shards.write(members, {"a.png": b"3"}, ".png") == shards.write(members, {"a.png": b"3"}, ".png")


def test_prefix_of_names_stays_the_same_for_pictures_and_others() -> None:
    members = [Member("./a.png", b"1"), Member("./a.txt", b"2")]
    made = shards.read(shards.write(members, {"./a.png": b"3"}, ".webp"), LARGEST)
    assert [member.name for member in made] == ["./a.webp", "./a.txt"]
