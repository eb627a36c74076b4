from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image
from torch import nn

from export import card
from export.errors import CheckpointError
from export.metadata import Data, Figures, Metadata, PictureSpec, StatisticsChoice
from export.sources.source import Source
from train.models import GeneratorConfig

if TYPE_CHECKING:
    from collections.abc import Callable

FIGURES = Figures(l1=0.0512, psnr=18.25, ssim=0.713, pairs=100)


@pytest.fixture
def foreign() -> Source:
    """A checkpoint of which nothing is known but its tensors."""
    return Source(
        place=Path("latest_net_G.pth"),
        origin="pytorch-CycleGAN-and-pix2pix",
        architecture=GeneratorConfig(),
        generator=nn.Identity(),
        sha256="ab" * 32,
        recognised="unet_256 of pytorch-CycleGAN-and-pix2pix, ngf 64, batch norm",
        height=256,
        width=256,
        gathered=True,
    )


@pytest.fixture
def metadata(hand_made: Callable[..., Path]) -> Metadata:
    from export.model_file import read  # noqa: PLC0415

    return read(hand_made())


def written(folder: Path, source: Source, metadata: Metadata, **options: object) -> str:
    card.write(folder, source, metadata, **options)  # type: ignore[arg-type]
    return (folder / "README.md").read_text(encoding="utf-8")


def test_what_nobody_knows_is_told_with_the_way_to_state_it(
    tmp_path: Path, foreign: Source, metadata: Metadata
) -> None:
    page = written(tmp_path, foreign, metadata)
    assert "Generator: unet_256 of pytorch-CycleGAN-and-pix2pix, ngf 64, batch norm." in page
    assert "How it was trained is unknown." in page
    assert "`--dataset NAME --url URL --licence LICENCE --attribution WHO`" in page
    assert "Licence: unknown." in page
    assert "None" not in page.replace("None were measured", "")
    assert "results.png" not in page


def test_what_the_user_states_is_told(tmp_path: Path, foreign: Source, metadata: Metadata) -> None:
    data = Data(name="cats", licence="CC BY 4.0", attribution="Drawn by someone", url="https://cats.example")
    page = written(tmp_path, foreign, metadata.model_copy(update={"data": data}))
    assert "[cats](https://cats.example)." in page
    assert "Licence: CC BY 4.0. Drawn by someone" in page


def test_recipe_tells_what_the_source_knows(tmp_path: Path, foreign: Source, metadata: Metadata) -> None:
    ours = replace(
        foreign,
        step=1200,
        epoch=10,
        batch_size=1,
        training_seconds=5025.0,
        training={"lambda_L1": 100.0, "data": "/home/me/pairs"},
    )
    page = written(tmp_path, ours, metadata)
    assert "Trained for 1,200 steps (10 epochs) at batch size 1 in 1 h 24 min." in page
    assert '"lambda_L1": 100.0' in page
    assert "/home/me" not in page


def test_both_statistics_stand_beside_the_choice(tmp_path: Path, foreign: Source, metadata: Metadata) -> None:
    choice = StatisticsChoice(reason="better on the held-out pairs", image=FIGURES, running=FIGURES)
    page = written(tmp_path, foreign, metadata.model_copy(update={"statistics_choice": choice}))
    assert "(better on the held-out pairs)" in page
    assert "| each picture's statistics | 0.0512 | 18.25 dB | 0.713 |" in page
    assert "| running statistics | 0.0512 | 18.25 dB | 0.713 |" in page


def test_sizes_and_seeds_are_explained(tmp_path: Path, foreign: Source, hand_made: Callable[..., Path]) -> None:
    from export.model_file import read  # noqa: PLC0415

    spec = PictureSpec.of(256, 256, 3, multiple=256, smallest=256)
    page = written(tmp_path, foreign, read(hand_made(given=spec, seeded=True)))
    assert "uint8 `[N, H, W, 3]` (rgb), and `seed`, int64 `[N]`, and gives `translation`" in page
    assert "N, H and W are free" in page
    assert "any multiples of 256 from 256; made for 256 x 256" in page
    assert "each `seed` chooses one of many translations" in page


def test_parity_is_told_with_the_precision(tmp_path: Path, foreign: Source, metadata: Metadata) -> None:
    parity = metadata.parity.model_copy(update={"max_difference": 9.0, "mean_difference": 0.21, "psnr": 46.1})
    page = written(tmp_path, foreign, metadata.model_copy(update={"precision": "int8", "parity": parity}))
    assert "| int8 | 4 | 9 of 255 levels | 0.21 | 46.10 dB | CPUExecutionProvider |" in page


def test_figures_are_told_with_the_baseline(tmp_path: Path, foreign: Source, metadata: Metadata) -> None:
    page = written(tmp_path, foreign, metadata.model_copy(update={"validation": FIGURES, "baseline": FIGURES}))
    assert "Over 100 pairs that the training never saw" in page
    assert "| the input itself, taken as the answer | 0.0512 | 18.25 dB | 0.713 |" in page


def test_own_grid_is_shown_where_it_is_of_this_model(tmp_path: Path, foreign: Source, metadata: Metadata) -> None:
    Image.new("RGB", (3, 3)).save(tmp_path / "grid.png")
    ours = replace(foreign, grid=tmp_path / "grid.png")
    drawn = Image.new("RGB", (5, 5))
    assert "target](results.png)" in written(tmp_path, ours, metadata, show_grid=True, grid=drawn)
    assert (tmp_path / "results.png").read_bytes() == (tmp_path / "grid.png").read_bytes()
    assert "output](results.png)" in written(tmp_path, ours, metadata, show_grid=False, grid=drawn)
    with Image.open(tmp_path / "results.png") as shown:
        assert shown.size == (5, 5)


def test_grid_that_cannot_be_read_is_told(tmp_path: Path, foreign: Source, metadata: Metadata) -> None:
    with pytest.raises(CheckpointError, match=r"grid\.png: No such file"):
        card.write(tmp_path, replace(foreign, grid=tmp_path / "grid.png"), metadata, show_grid=True)


@pytest.mark.parametrize("count", [1, 2, 3, 20])
def test_grid_made_here_shows_inputs_and_outputs(count: int) -> None:
    inputs = np.full((count, 16, 16, 1), 40, np.uint8)
    outputs = np.full((count, 16, 16, 3), (200, 100, 50), np.uint8)
    shown = set(map(tuple, np.asarray(card.draw(inputs, outputs)).reshape(-1, 3).tolist()))
    assert {(40, 40, 40), (200, 100, 50)} <= shown
