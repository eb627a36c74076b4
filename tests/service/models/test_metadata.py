from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from service.errors import StartupError
from service.models.metadata import Batching, Description, read_description

SIDE = {"height": 4, "width": 6, "channels": 3}
LEAST = {"format": "lapis-model/1", "input": SIDE, "output": SIDE}


def read(contents: dict[str, Any]) -> Description:
    return read_description(Path("m.onnx"), {"lapis": json.dumps(contents)})


def test_file_without_a_description_says_nothing() -> None:
    assert read_description(Path("m.onnx"), {"author": "x"}) == Description()


def test_text_is_what_the_file_says_but_for_the_pictures() -> None:
    fingerprint = {"input": "aa==", "translation": "bb==", "max_difference": 3}
    description = read(LEAST | {"fingerprint": fingerprint, "licence": "CC BY"})
    assert json.loads(description.text) == LEAST | {"licence": "CC BY"}
    assert description.fingerprint
    assert description.fingerprint.model_dump() == fingerprint | {"every": 1}
    assert read(LEAST).text == json.dumps(LEAST)


def test_author_s_wishes_for_batches_are_read() -> None:
    assert read(LEAST).batching == Batching()
    wishes = {"max_batch_size": 16, "buckets": [1, 4, 16], "max_queue_delay": 0.005}
    batching = read(LEAST | {"batching": wishes}).batching
    assert (batching.max_batch_size, batching.buckets, batching.max_queue_delay) == (16, (1, 4, 16), 0.005)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"fingerprint": {"input": "aa=="}}, "fingerprint.translation: Field required"),
        ({"fingerprint": {"input": "a", "translation": "b", "max_difference": 256}}, "fingerprint.max_difference: "),
        ({"fingerprint": {"input": "a", "translation": "b", "max_difference": 1, "every": 0}}, "fingerprint.every: "),
        ({"batching": {"max_batch_size": -1}}, "batching.max_batch_size: "),
        (
            {"batching": {"buckets": [4, 1]}},
            "batching: Value error, buckets must be batch sizes from 1 in rising",
        ),
        (
            {"batching": {"buckets": [0, 1]}},
            "batching: Value error, buckets must be batch sizes from 1 in rising",
        ),
        ({"batching": {"buckets": [1, 4], "max_batch_size": 8}}, "the largest bucket is 4, but max_batch_size is 8"),
        ({"batching": {"buckets": [1, 5000]}}, "the largest batch is 4,096"),
        ({"batching": {"max_queue_delay": -0.1}}, "batching.max_queue_delay: "),
    ],
)
def test_description_that_cannot_be_is_refused(more: dict[str, Any], message: str) -> None:
    with pytest.raises(StartupError) as refused:
        read(LEAST | more)
    assert str(refused.value).startswith("m.onnx: metadata 'lapis': ")
    assert message in str(refused.value)
