from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from train.data.dataset import PairDataset, PairSampler, epoch_batches, to_picture, to_tensor
from train.data.layouts import find_pairs
from train.data.pictures import resize
from train.settings import TrainSettings


def dataset(settings: dict[str, Any], *, augment: bool) -> PairDataset:
    return PairDataset(find_pairs(settings["data"], "train").pairs, TrainSettings(**settings), augment=augment)


def test_a_pair_is_cropped_and_mirrored_alike(small: Callable[..., dict[str, Any]]) -> None:
    pairs = dataset(small(), augment=True)
    for epoch in range(8):
        real_A, real_B = pairs[epoch, 0]
        # B is A with colour inside the frame: the black frame stands at the same place in both.
        assert torch.equal(real_A.sum(0) < -2.9, real_B.sum(0) < -2.9)
        assert (real_A < -0.9).any()


def test_epochs_differ_and_the_same_epoch_repeats(small: Callable[..., dict[str, Any]]) -> None:
    pairs = dataset(small(), augment=True)
    crops = [pairs[epoch, 0][0] for epoch in range(6)]
    assert any(not torch.equal(crops[0], crop) for crop in crops[1:])
    assert torch.equal(pairs[3, 0][0], crops[3])


def test_direction_swaps_input_and_target(small: Callable[..., dict[str, Any]]) -> None:
    forward = dataset(small(), augment=False)[0, 1]
    backward = dataset(small(direction="BtoA"), augment=False)[0, 1]
    assert torch.equal(forward[0], backward[1])
    assert torch.equal(forward[1], backward[0])


def test_without_augmentation_the_whole_picture_is_seen(small: Callable[..., dict[str, Any]]) -> None:
    pairs = dataset(small(), augment=False)
    real_A, _ = pairs[0, 0]
    assert np.array_equal(to_picture(real_A), pairs.pictures(0)[0])


def test_an_epoch_shows_every_pair_once_and_resumes_where_it_stopped() -> None:
    whole = list(PairSampler(10, seed=3, epoch=2))
    assert sorted(index for _, index in whole) == list(range(10))
    assert list(PairSampler(10, seed=3, epoch=2, skip=4)) == whole[4:]
    assert list(PairSampler(10, seed=3, epoch=3)) != whole
    assert list(PairSampler(10, seed=4, epoch=2)) != whole


def test_worker_processes_change_nothing(small: Callable[..., dict[str, Any]]) -> None:
    batches = []
    for workers in (0, 2):
        settings = TrainSettings(**small(num_workers=workers, batch_size=2))
        pairs = PairDataset(find_pairs(settings.data, "train").pairs, settings, augment=True)
        batches.append(torch.cat([real_A for real_A, _ in epoch_batches(pairs, settings, epoch=1, skip=2)]))
    assert batches[0].shape == (4, 3, 128, 128)
    assert torch.equal(*batches)


@given(st.integers(0, 2**32 - 1))
def test_a_picture_survives_the_way_to_a_tensor_and_back(seed: int) -> None:
    picture = np.random.default_rng(seed).integers(0, 256, (5, 7, 3), dtype=np.uint8)
    assert np.array_equal(to_picture(to_tensor(picture)), picture)


def test_16_bits_reach_both_ends_of_the_range() -> None:
    tensor = to_tensor(np.array([[[0], [65535]]], np.uint16))
    assert tensor.flatten().tolist() == [-1, 1]


@given(
    st.integers(1, 37), st.sampled_from([(20, 30), (7, 9), (50, 40), (9, 60)]), st.sampled_from([np.uint8, np.uint16])
)
def test_pictures_of_any_number_of_channels_are_resized_channel_by_channel(
    channels: int, size: tuple[int, int], dtype: type[np.unsignedinteger[Any]]
) -> None:
    picture = np.random.default_rng(channels).integers(0, np.iinfo(dtype).max, (20, 30, channels)).astype(dtype)
    resized = resize(picture, *size)
    assert resized.shape == (*size, channels)
    for channel in {0, channels // 2, channels - 1}:
        # OpenCV rounds otherwise where it takes several channels at once.
        alone = resize(picture[..., [channel]], *size)[..., 0]
        np.testing.assert_allclose(resized[..., channel].astype(int), alone.astype(int), atol=1)
