from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from service.models.labels import LabelsError, move, read_labels

if TYPE_CHECKING:
    from pathlib import Path


def written(folder: Path, text: str | bytes) -> Path:
    path = folder / "labels.json"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def test_labels_are_read(tmp_path: Path) -> None:
    assert read_labels(written(tmp_path, '{"stable": 3, "canary-2": 4}')) == {"stable": 3, "canary-2": 4}
    assert read_labels(written(tmp_path, "{}")) == {}


def test_no_file_is_no_labels(tmp_path: Path) -> None:
    assert read_labels(tmp_path / "labels.json") is None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "not JSON: Expecting value: line 1 column 1 (char 0)"),
        ('{"stable": 3', "not JSON: Expecting ',' delimiter: line 1 column 13 (char 12)"),
        (b'{"\xff": 1}', "not JSON: 'utf-8' codec can't decode byte 0xff in position 2: invalid start byte"),
        ("[3]", 'expected versions by label, as in {"stable": 3, "canary": 4}'),
        ('{"stable": "3"}', "label 'stable': '3' is no version; expected a whole number from 1"),
        ('{"stable": true}', "label 'stable': True is no version; expected a whole number from 1"),
        ('{"stable": 0}', "label 'stable': 0 is no version; expected a whole number from 1"),
        ('{"stable": {"x": 1}}', "label 'stable': {'x': 1} is no version; expected a whole number from 1"),
        ('{"latest": 3}', "label 'latest' is always the highest version that is ready; leave it out"),
        ('{"Stable": 3}', "label 'Stable': expected small letters, digits and '-', a letter first"),
        ('{"3": 3}', "label '3': expected small letters, digits and '-', a letter first"),
        ('{"": 3}', "label '': expected small letters, digits and '-', a letter first"),
        ('{"a": 3, "a": 4}', "label 'a' stands there twice"),
        ("[" * 60_000, "nested too deeply"),
        (" " * 70_000, "larger than 65,536 bytes"),
    ],
)
def test_file_that_says_nothing_of_use_is_named(tmp_path: Path, text: str | bytes, message: str) -> None:
    path = written(tmp_path, text)
    with pytest.raises(LabelsError) as broken:
        read_labels(path)
    assert str(broken.value) == f"{path}: {message}"


def test_folder_in_place_of_the_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "labels.json").mkdir()
    with pytest.raises(LabelsError, match=r"labels.json: Is a directory"):
        read_labels(tmp_path / "labels.json")


@pytest.mark.parametrize(
    ("now", "wanted", "ready", "expected"),
    [
        ({}, {"stable": 3}, {3}, {"stable": 3}),
        ({}, {"stable": 3}, set(), {"stable": 3}),
        ({"stable": 3}, {"stable": 4}, {3}, {"stable": 3}),
        ({"stable": 3}, {"stable": 4}, {3, 4}, {"stable": 4}),
        ({"stable": 3}, {"stable": 4}, set(), {"stable": 4}),
        ({"stable": 3, "canary": 4}, {"canary": 4}, {3, 4}, {"canary": 4}),
        ({"stable": 3}, {"stable": 4, "canary": 5}, {3, 5}, {"stable": 3, "canary": 5}),
    ],
)
def test_label_goes_over_when_the_version_is_ready(
    now: dict[str, int], wanted: dict[str, int], ready: set[int], expected: dict[str, int]
) -> None:
    assert move(now, wanted, ready) == expected
