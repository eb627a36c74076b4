from __future__ import annotations

import pytest
from pydantic import ValidationError

from service.cores import available_cores
from service.scheduler.policy import Capacity
from service.settings import ServeSettings


def test_cpu_runs_one_picture_per_core() -> None:
    settings = ServeSettings()
    assert settings.capacity(on_gpu=False) == Capacity(slots=available_cores(), max_batch_size=1)
    assert settings.threads_per_run == 1


def test_gpu_runs_one_batch_at_a_time() -> None:
    assert ServeSettings().capacity(on_gpu=True) == Capacity(slots=1, max_batch_size=8)


@pytest.mark.parametrize("on_gpu", [False, True])
def test_what_is_set_is_taken(on_gpu: bool) -> None:
    settings = ServeSettings(concurrency=3, max_batch_size=5, codec_threads=7)
    assert settings.capacity(on_gpu=on_gpu) == Capacity(slots=3, max_batch_size=5)
    assert settings.codec_workers == 7


def test_fewer_runs_share_all_cores() -> None:
    assert ServeSettings(concurrency=1).threads_per_run == available_cores()
    assert ServeSettings(concurrency=1000).threads_per_run == 1


def test_queue_must_take_the_largest_picture() -> None:
    with pytest.raises(ValidationError, match="--max-queue-bytes: 1,000 is less than the largest request"):
        ServeSettings(max_queue_bytes=1000)


@pytest.mark.parametrize(
    "wrong",
    [
        {"concurrency": 0},
        {"max_batch_size": -1},
        {"codec_threads": "many"},
        {"max_queue": 0},
        {"port": 65536},
        {"device": "gpu"},
        {"grace_period": -1},
        {"log_level": "loud"},
        {"modles": "x"},
    ],
)
def test_wrong_values_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        ServeSettings(**wrong)
