from __future__ import annotations

import pytest
from pydantic import ValidationError

from service.engine.options import EngineOptions
from service.settings import ServeSettings


def test_what_is_not_set_is_left_to_model_and_device() -> None:
    assert ServeSettings().engine_options == EngineOptions()


def test_what_is_set_is_taken() -> None:
    settings = ServeSettings(devices="cuda:0,cuda:1", instances=3, buckets="8,1,4,4", max_batch_size=8, codec_threads=7)
    assert settings.engine_options == EngineOptions(("cuda:0", "cuda:1"), 3, buckets=(1, 4, 8), max_batch_size=8)
    assert settings.codec_workers == 7


def test_buckets_end_at_the_largest_batch() -> None:
    with pytest.raises(ValidationError, match="--buckets: the largest is 8, but --max-batch-size is 4"):
        ServeSettings(buckets="1,8", max_batch_size=4)


@pytest.mark.parametrize("devices", ["auto", "cpu", "cuda", "cuda:1", "tensorrt:0,cuda:1"])
def test_devices_are_known(devices: str) -> None:
    assert ServeSettings(devices=devices).engine_options.devices == tuple(devices.split(","))


@pytest.mark.parametrize(
    ("given", "complaint"),
    [
        ({"tls_certificate": "a"}, "--tls-certificate needs --tls-key with it"),
        ({"tls_key": "a"}, "--tls-key needs --tls-certificate with it"),
        ({"tls_client_ca": "a"}, "--tls-client-ca needs --tls-certificate and --tls-key"),
    ],
)
def test_parts_of_tls_come_together(given: dict[str, str], complaint: str) -> None:
    with pytest.raises(ValidationError, match=complaint):
        ServeSettings(**given)


@pytest.mark.parametrize("flag", ["max_queue_bytes", "max_total_queue_bytes"])
def test_queue_must_take_the_largest_picture(flag: str) -> None:
    with pytest.raises(ValidationError, match=f"--{flag.replace('_', '-')}: 1,000 is less than the largest request"):
        ServeSettings(**{flag: 1000})


@pytest.mark.parametrize(
    "wrong",
    [
        {"instances": 0},
        {"buckets": "1,,2"},
        {"buckets": "0"},
        {"cpu_mode": "fast"},
        {"max_batch_size": -1},
        {"codec_threads": "many"},
        {"max_queue": 0},
        {"port": 65536},
        {"devices": "gpu"},
        {"devices": "cpu,cuda"},
        {"devices": "cuda:0,cuda:0"},
        {"caller_limit": -1},
        {"trace_ratio": 1.5},
        {"grace_period": -1},
        {"log_level": "loud"},
        {"modles": "x"},
    ],
)
def test_wrong_values_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        ServeSettings(**wrong)
