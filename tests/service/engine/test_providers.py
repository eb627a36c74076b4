from __future__ import annotations

from pathlib import Path

import pytest

from service.engine.contract import PictureShape
from service.engine.providers import Profile, providers, split_device, wanted_provider

PROFILE = Profile(PictureShape(256, 128, 3), (1, 4, 8))


@pytest.mark.parametrize(
    ("device", "parts", "provider"),
    [
        ("cpu", ("cpu", 0), "CPUExecutionProvider"),
        ("cuda:0", ("cuda", 0), "CUDAExecutionProvider"),
        ("cuda", ("cuda", 0), "CUDAExecutionProvider"),
        ("tensorrt:12", ("tensorrt", 12), "TensorrtExecutionProvider"),
    ],
)
def test_device_names_its_provider(device: str, parts: tuple[str, int], provider: str) -> None:
    assert split_device(device) == parts
    assert wanted_provider(device) == provider


@pytest.mark.parametrize(
    ("device", "profile", "names"),
    [
        ("cpu", None, ["CPU"]),
        ("cuda:1", None, ["CUDA", "CPU"]),
        ("tensorrt:1", PROFILE, ["Tensorrt", "CUDA", "CPU"]),
    ],
)
def test_wanted_provider_comes_first_and_the_cpu_last(device: str, profile: Profile | None, names: list[str]) -> None:
    asked = providers(device, profile=profile)
    assert [name.removesuffix("ExecutionProvider") for name, _ in asked] == names
    assert all(options["device_id"] == "1" for _, options in asked[:-1])
    assert asked[-1][1] == {}


@pytest.mark.parametrize("graphs", [False, True])
def test_cuda_plans_its_convolutions_thoroughly_and_records_graphs_where_told(*, graphs: bool) -> None:
    ((_, options), _) = providers("cuda:0", graphs=graphs)
    assert options["cudnn_conv_algo_search"] == "EXHAUSTIVE"
    assert options["cudnn_conv_use_max_workspace"] == "1"
    assert options["enable_cuda_graph"] == str(int(graphs))


def test_tensorrt_is_given_the_shapes_that_will_come() -> None:
    options = providers("tensorrt:0", profile=PROFILE)[0][1]
    assert options["trt_profile_min_shapes"] == "image:1x256x128x3"
    assert options["trt_profile_opt_shapes"] == options["trt_profile_max_shapes"] == "image:8x256x128x3"
    assert options["trt_fp16_enable"] == "0"
    assert not any("cache" in name for name in options)


def test_where_sizes_vary_no_time_is_spent_on_one() -> None:
    assert providers("cuda:0", sizes_vary=True)[0][1]["cudnn_conv_algo_search"] == "HEURISTIC"


def test_tensorrt_is_ready_for_the_sizes_of_a_model_that_takes_many_and_for_seeds() -> None:
    picture = PictureShape(256, 128, 3, multiple=4, smallest=64)
    options = providers("tensorrt:0", profile=Profile(picture, (2, 8), takes_seed=True, longest=2048))[0][1]
    assert options["trt_profile_min_shapes"] == "image:1x64x64x3,seed:1"
    assert options["trt_profile_opt_shapes"] == "image:8x256x128x3,seed:8"
    assert options["trt_profile_max_shapes"] == "image:8x2048x2048x3,seed:8"


def test_tensorrt_keeps_what_it_built_where_told() -> None:
    options = providers("tensorrt:0", profile=Profile(PictureShape(8, 8, 3), (1,), fp16=True, cache=Path("/c")))[0][1]
    assert options["trt_fp16_enable"] == "1"
    assert options["trt_engine_cache_path"] == options["trt_timing_cache_path"] == "/c"
    assert options["trt_engine_cache_enable"] == options["trt_timing_cache_enable"] == "1"
