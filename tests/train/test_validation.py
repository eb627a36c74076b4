from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from typing import Any

import numpy as np
import pytest
import torch
from skimage.metrics import structural_similarity

from train.data.dataset import PairDataset
from train.data.layouts import find_pairs
from train.data.rows import GAP, spread
from train.ema import update_average
from train.grids import grid
from train.losses import gan_loss
from train.settings import TrainSettings
from train.state import State, new_state
from train.validation import inference, validate

Small = Callable[..., dict[str, Any]]


def made(settings: TrainSettings) -> tuple[State, PairDataset]:
    assert settings.data is not None
    return new_state(settings), PairDataset(find_pairs(settings.data, "val").pairs, settings, augment=False)


def test_the_baseline_is_the_input_taken_as_the_answer(small: Small) -> None:
    settings = TrainSettings(**small())
    state, pairs = made(settings)
    figures = validate(state, pairs, settings)["baseline"]
    A, B = (
        np.stack(pictures).astype(np.float64) / 255
        for pictures in zip(pairs.pictures(0), pairs.pictures(1), strict=True)
    )
    assert figures["l1"] == pytest.approx(np.abs(A - B).mean(), rel=1e-4)
    assert figures["psnr"] == pytest.approx(-10 * np.log10(((A - B) ** 2).mean()), rel=1e-4)
    expected = [
        structural_similarity(a, b, data_range=1, channel_axis=2, gaussian_weights=True, use_sample_covariance=False)
        for a, b in zip(A, B, strict=True)
    ]
    assert figures["ssim"] == pytest.approx(np.mean(expected), abs=0.01)


def test_there_is_no_baseline_where_the_channels_differ(small: Small) -> None:
    settings = TrainSettings(**small(input_nc=1))
    assert validate(*made(settings), settings).keys() == {"validation"}


@pytest.mark.parametrize("batch_size", [1, 4])
def test_pictures_are_made_with_the_statistics_of_training(small: Small, batch_size: int) -> None:
    settings = TrainSettings(**small(batch_size=batch_size, dropout=False))
    generator = new_state(settings).generator
    picture = torch.randn(1, 3, 128, 128)
    with torch.no_grad():
        per_image = deepcopy(generator).train()(picture)
        running = deepcopy(generator).eval()(picture)
        before = {key: value.clone() for key, value in generator.state_dict().items()}
        with inference(generator, settings) as network:
            answer = network(picture)
    assert torch.equal(answer, per_image if batch_size == 1 else running)
    assert not torch.equal(per_image, running)
    assert all(torch.equal(value, before[key]) for key, value in generator.state_dict().items())
    assert generator.training


def test_dropout_is_off_when_pictures_are_made(small: Small) -> None:
    settings = TrainSettings(**small(batch_size=1))
    picture = torch.randn(1, 3, 128, 128)
    with torch.no_grad(), inference(new_state(settings).generator, settings) as generator:
        assert torch.equal(generator(picture), generator(picture))


def test_the_average_forgets_the_first_weights_and_follows_slowly() -> None:
    network, average = torch.nn.BatchNorm2d(1), torch.nn.BatchNorm2d(1)
    torch.nn.init.constant_(average.weight, 100.0)
    for step in range(1, 200):
        update_average(average, network, 0.9, step)
    assert float(average.weight) == pytest.approx(1, abs=1e-3)
    torch.nn.init.constant_(network.weight, 2.0)
    network.running_mean += 5
    update_average(average, network, 0.9, 1000)
    assert float(average.weight) == pytest.approx(1.1, abs=1e-3)
    assert float(average.running_mean) == pytest.approx(0.5, abs=1e-3)


def test_gan_losses_are_lowest_where_the_logits_are_right() -> None:
    for mode in ("vanilla", "lsgan"):
        for real, right, wrong in ((True, 1.0, -1.0), (False, 0.0, 1.0)):
            logits = torch.full((1, 1, 2, 2), 4 * right - 2 if mode == "vanilla" else right)
            other = torch.full((1, 1, 2, 2), 4 * wrong - 2 if mode == "vanilla" else wrong)
            assert gan_loss(logits, real=real, gan_mode=mode) < gan_loss(other, real=real, gan_mode=mode)
    assert float(gan_loss(torch.zeros(1, 1, 3, 3), real=True, gan_mode="vanilla")) == pytest.approx(np.log(2))


def test_the_grid_shows_input_output_and_target_of_each_pair(small: Small) -> None:
    settings = TrainSettings(**small())
    state, pairs = made(settings)
    picture = grid(state, pairs, settings)
    side = settings.crop_size + GAP
    assert picture.shape == (2 * side, 3 * side, 3)
    A, B = pairs.pictures(1)
    assert np.array_equal(picture[side : side + settings.crop_size, : settings.crop_size], A)
    assert np.array_equal(picture[side : side + settings.crop_size, 2 * side : 2 * side + settings.crop_size], B)


def test_examples_are_spread_over_the_set_without_repeats() -> None:
    assert spread(1) == [0]
    assert spread(3) == [0, 1, 2]
    assert spread(120) == [0, 17, 34, 51, 68, 85, 102, 119]
