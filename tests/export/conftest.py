"""Small checkpoints as lapis-train writes them, with real pictures beside them, and ways to export them."""

from __future__ import annotations

import json
import signal
import sys
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper
from PIL import Image
from safetensors.torch import save_file

from export import proof
from export.__main__ import main
from export.fingerprint import take
from export.metadata import Metadata, Parity, PictureSpec
from export.model_file import attach
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
        handlers = {signum: signal.getsignal(signum) for signum in (signal.SIGINT, signal.SIGTERM)}
        try:
            with pytest.raises(SystemExit) as exit_:
                main()
        finally:
            for signum, handler in handlers.items():
                signal.signal(signum, handler)
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


@pytest.fixture
def hand_made(tmp_path: Path) -> Callable[..., Path]:
    """Makes a model file without a network: it adds `by` levels and what the seed is beyond a multiple of 13.

    `rule` is a list of ONNX nodes from `brighter` to `ruled`, both float [N, H, W, C], for models with a mistake.
    """

    def make(
        name: str = "cats",
        given: PictureSpec | None = None,
        made: PictureSpec | None = None,
        *,
        by: float = 0,
        rule: list[onnx.NodeProto] | None = None,
        seeded: bool = False,
        **metadata: object,
    ) -> Path:
        given = given or PictureSpec.of(16, 16, 3)
        made = made or given
        model = _adding(by, rule or [helper.make_node("Identity", ["brighter"], ["ruled"])], given, made, seeded=seeded)
        attach(model, Metadata.model_validate(_hand_made_metadata(name, given, made, seeded=seeded) | metadata))
        path = tmp_path / f"{name}.onnx"
        onnx.save(model, path)
        return path

    return make


@pytest.fixture
def with_fingerprint() -> Callable[..., Path]:
    """Puts into a model file a picture and what the model makes of it."""

    def put(path: Path) -> Path:
        model = onnx.load(path)
        metadata = Metadata.model_validate_json(model.metadata_props[0].value)
        given = metadata.input
        random = np.random.default_rng(0)
        picture = random.integers(0, 200, (given.height, given.width, given.channels)).astype(given.dtype)
        translate = proof.translate_with(proof.open_session(path.read_bytes()))
        parity = Parity(pictures=1, max_difference=0, mean_difference=0, provider="CPUExecutionProvider")
        kept = take(translate, picture, parity, seeded=metadata.noise == "seeded")
        attach(model, metadata.model_copy(update={"fingerprint": kept}))
        onnx.save(model, path)
        return path

    return put


def _adding(
    by: float, rule: list[onnx.NodeProto], given: PictureSpec, made: PictureSpec, *, seeded: bool
) -> onnx.ModelProto:
    largest = float(np.iinfo(given.dtype).max)
    numbers = {"by": by * largest / 255, "low": 0.0, "high": largest}
    constants = [helper.make_tensor(key, TensorProto.FLOAT, [], [value]) for key, value in numbers.items()]
    constants += [helper.make_tensor("thirteen", TensorProto.INT64, [], [13])]
    constants += [helper.make_tensor("sides", TensorProto.INT64, [3], [1, 2, 3])]
    nodes = [helper.make_node("Cast", ["image"], ["levels"], to=TensorProto.FLOAT)]
    nodes += [helper.make_node("Add", ["levels", "by"], ["plain" if seeded else "brighter"])]
    if seeded:
        nodes += [
            helper.make_node("Mod", ["seed", "thirteen"], ["rest"]),
            helper.make_node("Cast", ["rest"], ["drawn"], to=TensorProto.FLOAT),
            helper.make_node("Unsqueeze", ["drawn", "sides"], ["noise"]),
            helper.make_node("Add", ["plain", "noise"], ["brighter"]),
        ]
    nodes += [*rule, helper.make_node("Clip", ["ruled", "low", "high"], ["clipped"])]
    nodes += [helper.make_node("Cast", ["clipped"], ["translation"], to=_KINDS[made.dtype])]
    inputs = [_value("image", given)]
    if seeded:
        inputs += [helper.make_tensor_value_info("seed", TensorProto.INT64, ["N"])]
    graph = helper.make_graph(nodes, "adding", inputs, [_value("translation", made)], constants)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)


_KINDS = {"uint8": TensorProto.UINT8, "uint16": TensorProto.UINT16}


def _value(name: str, spec: PictureSpec) -> onnx.ValueInfoProto:
    sides = ["H", "W"] if spec.any_size else [spec.height, spec.width]
    return helper.make_tensor_value_info(name, _KINDS[spec.dtype], ["N", *sides, spec.channels])


def _hand_made_metadata(name: str, given: PictureSpec, made: PictureSpec, *, seeded: bool) -> dict[str, Any]:
    return {
        "name": name,
        "version": "1",
        "input": given,
        "output": made,
        "statistics": "none",
        "noise": "seeded" if seeded else "off",
        "precision": "fp32",
        "weights": "generator",
        "generator": {"netG": "unet_128", "ngf": 4},
        "source": {"checkpoint_sha256": "ab" * 32, "step": None},
        "data": {},
        "validation": None,
        "baseline": None,
        "parity": {"pictures": 4, "max_difference": 0, "mean_difference": 0, "provider": "CPUExecutionProvider"},
        "batch_invariance": {"batch_sizes": [1, 2], "max_difference": 0},
        "lapis_version": "0.1.0",
    }
