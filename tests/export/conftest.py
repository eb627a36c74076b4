"""Small checkpoints as lapis-train writes them, with real pictures beside them, and ways to export them."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from export.__main__ import main
from export.settings import ExportSettings
from train.models import GeneratorConfig, build_generator, initialise
from train.pairs.openmoji import drawings, render

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray

SIZE = 128
PICTURES = 4
METRICS = {
    "step": 1200,
    "validation": {"l1": 0.0512, "psnr": 18.25, "ssim": 0.713, "pairs": 100},
    "baseline": {"l1": 0.1234, "psnr": 12.5, "ssim": 0.601, "pairs": 100},
    "history": [],
    "training_seconds": 5025.0,
}


class Ended(NamedTuple):
    """How a command ended, and what it printed."""

    code: int
    out: str
    err: str


@pytest.fixture(scope="session")
def drawn() -> NDArray[np.uint8]:
    """Four drawings of OpenMoji, uint8 [4, 128, 128, 3]."""
    some = drawings()[:: len(drawings()) // PICTURES][:PICTURES]
    return np.stack([render(drawing.svg, SIZE) for drawing in some])


@pytest.fixture(scope="session")
def make_generator() -> Callable[..., torch.nn.Module]:
    """Makes a generator whose norms have scales, shifts and running statistics like a trained one's: none is 0 or 1."""

    def make(seed: int = 0, **architecture: object) -> torch.nn.Module:
        torch.manual_seed(seed)
        generator = build_generator(GeneratorConfig(**_small(architecture)))
        initialise(generator)
        for module in generator.modules():
            if isinstance(module, torch.nn.Conv2d | torch.nn.ConvTranspose2d):
                module.weight.data.mul_(3)  # the first weights are so small that every picture comes out grey
            if isinstance(module, torch.nn.BatchNorm2d):
                module.bias.data.normal_(0, 0.3)
                module.running_mean.normal_(0, 0.3)
                module.running_var.uniform_(0.3, 2.0)
        return generator.eval()

    return make


@pytest.fixture(scope="session")
def make_checkpoint(
    tmp_path_factory: pytest.TempPathFactory,
    make_generator: Callable[..., torch.nn.Module],
    drawn: NDArray[np.uint8],
) -> Callable[..., Path]:
    """Makes a checkpoint directory; keyword arguments choose its batch size, averaged weights and architecture."""

    def make(*, batch_size: int = 1, ema: bool = False, **architecture: object) -> Path:
        folder = tmp_path_factory.mktemp("run") / "step-00001200"
        config = GeneratorConfig(**_small(architecture))
        folder.mkdir()
        save_file(make_generator(**architecture).state_dict(), folder / "generator.safetensors")
        if ema:
            save_file(make_generator(seed=1, **architecture).state_dict(), folder / "ema.safetensors")
        write_json(folder / "config.json", _config(config, batch_size, 0.999 if ema else 0.0))
        write_json(folder / "metrics.json", METRICS)
        _write_pictures(folder / "examples", drawn, {1: "L", 3: "RGB"}[config.input_nc])
        return folder

    return make


def _small(architecture: dict[str, Any]) -> dict[str, Any]:
    return {"netG": "unet_128", "ngf": 4, **architecture}


def _config(config: GeneratorConfig, batch_size: int, ema_decay: float) -> dict[str, Any]:
    return {
        "format": "lapis-checkpoint/1",
        "step": 1200,
        "epoch": 10,
        "generator": asdict(config),
        "discriminator": {},
        "data": {
            "name": "openmoji",
            "licence": "CC BY-SA 4.0",
            "attribution": "All emojis designed by OpenMoji",
            "url": "https://openmoji.org",
            "height": SIZE,
            "width": SIZE,
            "train_pairs": 1892,
            "validation_pairs": 100,
        },
        "training": {"batch_size": batch_size, "lambda_L1": 100.0, "ema_decay": ema_decay, "data": "/home/me/pairs"},
    }


def _write_pictures(folder: Path, pictures: NDArray[np.uint8], mode: str) -> None:
    folder.mkdir()
    for index, picture in enumerate(pictures):
        Image.fromarray(picture).convert(mode).save(folder / f"{index}.png")


def write_json(path: Path, content: object) -> None:
    path.write_text(json.dumps(content), encoding="utf-8")


@pytest.fixture(scope="session")
def change_json() -> Callable[..., None]:
    """Changes a JSON file: `change_json(path, **{"data.height": 100})`; None takes the key out."""

    def change(path: Path, **changes: object) -> None:
        content = json.loads(path.read_text(encoding="utf-8"))
        for key, value in changes.items():
            *parents, last = key.split(".")
            place = content
            for parent in parents:
                place = place[parent]
            place.pop(last) if value is None else place.update({last: value})
        write_json(path, content)

    return change


@pytest.fixture
def lapis_export(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Callable[..., Ended]:
    """Runs `lapis-export` with arguments and tells how it ended."""

    def run(*arguments: object) -> Ended:
        monkeypatch.setattr(sys, "argv", ["lapis-export", *map(str, arguments)])
        capfd.readouterr()
        with pytest.raises(SystemExit) as exit_:
            main()
        printed = capfd.readouterr()
        return Ended(int(exit_.value.code or 0), printed.out, printed.err)

    return run


@pytest.fixture(scope="session")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Exports a checkpoint with options and returns the entry's folder."""

    def run(checkpoint: Path, **options: object) -> Path:
        folder = tmp_path_factory.mktemp("models") / "cats" / "3"
        from export.exporter import export  # noqa: PLC0415

        settings = ExportSettings(paths=[checkpoint], output=folder, **options)  # type: ignore[arg-type]
        export(settings, checkpoint)
        return folder

    return run
