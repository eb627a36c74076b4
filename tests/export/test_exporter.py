"""The command from end to end: real checkpoints, real pictures, real files."""

from __future__ import annotations

import hashlib
import json
import shutil
import signal
import subprocess
import sys
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from export.model_file import read
from export.statistics import freeze
from train.models import GeneratorConfig, build_generator

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray

    Pictures = NDArray[np.uint8]


def reference(checkpoint: Path, pictures: Pictures, *, one_by_one: bool) -> Pictures:
    """Translates as pix2pix does at test time, dropout off: written anew here, so that export does not judge itself.

    One by one, batch norms use each picture's own statistics; otherwise those gathered in training.
    """
    config = json.loads((checkpoint / "config.json").read_text())["generator"]
    generator = build_generator(GeneratorConfig(**config))
    generator.load_state_dict(load_file(checkpoint / "generator.safetensors"))
    generator.train(one_by_one)
    for module in generator.modules():
        if isinstance(module, torch.nn.Dropout):
            module.eval()
    scaled = pictures.astype(np.float64) / 255 * 2 - 1
    rows = []
    with torch.no_grad():
        for row in scaled:
            fake_B = generator(torch.from_numpy(row.transpose(2, 0, 1)[None]).float())[0].numpy()
            rows.append(np.rint((fake_B.transpose(1, 2, 0) + 1) / 2 * 255))
    return np.stack(rows).astype(np.uint8)


def translate(entry: Path, pictures: Pictures) -> Pictures:
    session = onnxruntime.InferenceSession(entry / "model.onnx", providers=["CPUExecutionProvider"])
    return session.run(["translation"], {"image": pictures})[0]


def levels_apart(a: Pictures, b: Pictures) -> int:
    assert a.shape == b.shape
    assert a.dtype == b.dtype == np.uint8
    return int(np.abs(a.astype(int) - b.astype(int)).max())


@pytest.fixture(scope="module")
def checkpoints(make_checkpoint: Callable[..., Path]) -> dict[str, Path]:
    return {"image": make_checkpoint(batch_size=1), "running": make_checkpoint(batch_size=8)}


@pytest.fixture(scope="module")
def entries(checkpoints: dict[str, Path], exported: Callable[..., Path]) -> dict[str, Path]:
    return {form: exported(checkpoint) for form, checkpoint in checkpoints.items()}


@pytest.fixture(scope="module")
def halves(checkpoints: dict[str, Path], exported: Callable[..., Path]) -> Path:
    return exported(checkpoints["image"], precision="fp16-weights", max_difference=64)


@pytest.mark.parametrize("form", ["image", "running"])
def test_pictures_equal_the_references_within_a_level(
    checkpoints: dict[str, Path], entries: dict[str, Path], drawn: Pictures, form: str
) -> None:
    expected = reference(checkpoints[form], drawn, one_by_one=form == "image")
    assert expected.std() > 10  # pictures, not an even grey
    assert levels_apart(translate(entries[form], drawn), expected) <= 1


@pytest.mark.parametrize("form", ["image", "running"])
@pytest.mark.parametrize("size", [2, 3, 4, 7, 8])
def test_picture_comes_out_the_same_whatever_its_batch(
    entries: dict[str, Path], drawn: Pictures, form: str, size: int
) -> None:
    noise = np.random.default_rng(size).integers(0, 256, (size, *drawn.shape[1:]), dtype=np.uint8)
    alone = translate(entries[form], drawn[:1])[0]
    for place in {0, size // 2, size - 1}:
        batch = noise.copy()
        batch[place] = drawn[0]
        np.testing.assert_array_equal(translate(entries[form], batch)[place], alone)


@pytest.mark.parametrize(
    "architecture",
    [
        {"norm": "instance"},
        {"norm": "none"},
        {"input_nc": 1, "output_nc": 3},
        {"input_nc": 3, "output_nc": 2, "use_dropout": False},
    ],
)
def test_other_architectures_come_out_equal_too(
    make_checkpoint: Callable[..., Path], exported: Callable[..., Path], drawn: Pictures, architecture: dict[str, Any]
) -> None:
    checkpoint = make_checkpoint(**architecture)
    given = drawn[..., : architecture.get("input_nc", 3)]
    expected = reference(checkpoint, given, one_by_one=True)
    assert levels_apart(translate(exported(checkpoint), given), expected) <= 1


def test_metadata_tells_where_the_model_comes_from(checkpoints: dict[str, Path], entries: dict[str, Path]) -> None:
    (entry,) = [entry for entry in onnx.load(entries["image"] / "model.onnx").metadata_props if entry.key == "lapis"]
    metadata = json.loads(entry.value)
    parity = metadata.pop("parity")
    assert metadata.pop("fingerprint")["max_difference"] == 2
    weights = (checkpoints["image"] / "generator.safetensors").read_bytes()
    sizes = {"height": 128, "width": 128, "multiple": 0, "smallest": 0}
    side = sizes | {"channels": 3, "colour": "rgb", "dtype": "uint8"}
    assert metadata.pop("generator") == asdict(GeneratorConfig(netG="unet_128", ngf=4))
    assert metadata == {
        "format": "lapis-model/1",
        "name": "cats",
        "version": "3",
        "input": side,
        "output": side,
        "scaling": "signed",
        "lab_colorization": False,
        "statistics": "image",
        "statistics_choice": {"reason": "trained at batch size 1", "image": None, "running": None},
        "noise": "off",
        "precision": "fp32",
        "graph": {"optimized_for": "cpu", "decoder": "transposed", "opset": 13},
        "direction": "AtoB",
        "weights": "generator",
        "source": {"checkpoint_sha256": hashlib.sha256(weights).hexdigest(), "step": 1200, "origin": "lapis"},
        "data": {
            "name": "openmoji",
            "licence": "CC BY-SA 4.0",
            "attribution": "All emojis designed by OpenMoji",
            "url": "https://openmoji.org",
            "train_pairs": 1892,
            "validation_pairs": 100,
        },
        "validation": {"l1": 0.0512, "psnr": 18.25, "ssim": 0.713, "pairs": 100},
        "baseline": {"l1": 0.1234, "psnr": 12.5, "ssim": 0.601, "pairs": 100},
        "batch_invariance": {"batch_sizes": [1, 2, 3, 8], "max_difference": 0},
        "lapis_version": "0.1.0",
    }
    assert parity["pictures"] == 4
    assert parity["max_difference"] <= 1
    assert parity["mean_difference"] < 0.02


def test_halves_take_half_the_room_and_say_how_far_off_they_are(
    checkpoints: dict[str, Path], entries: dict[str, Path], halves: Path, drawn: Pictures
) -> None:
    whole, half = ((entry / "model.onnx").stat().st_size for entry in (entries["image"], halves))
    assert half < 0.6 * whole
    metadata = read(halves / "model.onnx")
    expected = reference(checkpoints["image"], drawn, one_by_one=True)
    assert metadata.precision == "fp16-weights"
    assert abs(levels_apart(translate(halves, drawn), expected) - metadata.parity.max_difference) <= 1


def test_card_tells_data_licence_recipe_and_figures(
    make_checkpoint: Callable[..., Path], exported: Callable[..., Path], drawn: Pictures
) -> None:
    checkpoint = make_checkpoint()
    Image.fromarray(drawn[0]).save(checkpoint / "grid.png")
    entry = exported(checkpoint)
    card = (entry / "README.md").read_text()
    for said in (
        "# cats, version 3",
        "![Pictures that the model made: input, output, target](results.png)",
        "[openmoji](https://openmoji.org): 1,892 pairs to train, 100 held out",
        "CC BY-SA 4.0. All emojis designed by OpenMoji",
        "1,200 steps (10 epochs) at batch size 1 in 1 h 24 min",
        '"lambda_L1": 100.0',
        "| this model | 0.0512 | 18.25 dB | 0.713 |",
        "| the input itself, taken as the answer | 0.1234 | 12.50 dB | 0.601 |",
    ):
        assert said in card
    assert "/home/me" not in card
    assert (entry / "results.png").read_bytes() == (checkpoint / "grid.png").read_bytes()


def test_figures_of_other_weights_or_statistics_are_not_passed_off_as_the_models(
    make_checkpoint: Callable[..., Path], exported: Callable[..., Path], drawn: Pictures
) -> None:
    checkpoint = make_checkpoint(batch_size=8)
    Image.fromarray(drawn[0]).save(checkpoint / "grid.png")
    entry = exported(checkpoint, statistics="image")
    assert read(entry / "model.onnx").validation is None
    assert "None were measured for these weights and statistics" in (entry / "README.md").read_text()
    assert (entry / "results.png").read_bytes() != (checkpoint / "grid.png").read_bytes()


def test_command_tells_what_it_does_and_keeps_its_output_clean(
    checkpoints: dict[str, Path], lapis_export: Callable[..., Any], tmp_path: Path
) -> None:
    ended = lapis_export(checkpoints["running"], f"--output={tmp_path}/models/cats/1", "--weights=generator")
    assert (ended.code, ended.err) == (0, "")
    told = dict(line.split(maxsplit=1) for line in ended.out.splitlines())
    assert list(told) == ["checkpoint", "generator", "graph", "statistics", "parity", "batches", "wrote"]
    assert told["statistics"] == "running (trained at batch size 8)"
    assert told["generator"] == "unet_128, ngf 4, batch norm"
    written = ["1", "README.md", "model.onnx", "results.png"]
    assert sorted(path.name for path in (tmp_path / "models" / "cats").rglob("*")) == written


def test_run_is_exported_into_the_folder_one_stands_in(make_checkpoint: Callable[..., Path], tmp_path: Path) -> None:
    checkpoint = make_checkpoint()
    run, version = tmp_path / "run", tmp_path / "models" / "cats" / "3"
    shutil.copytree(checkpoint, run / "step-1")
    (run / "latest").symlink_to("step-1")
    version.mkdir(parents=True)
    command = [sys.executable, "-m", "export", str(run), "--output", "."]
    done = subprocess.run(command, cwd=version, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert "wrote       ./model.onnx" in done.stdout
    assert read(tmp_path / "models" / "cats" / "3" / "model.onnx").version == "3"


def test_pictures_of_any_size_can_be_named(
    checkpoints: dict[str, Path], exported: Callable[..., Path], drawn: Pictures, tmp_path: Path
) -> None:
    for index in range(2):
        Image.fromarray(drawn[index][:100, :70]).save(tmp_path / f"{index}.JPG")
    assert read(exported(checkpoints["running"], pictures=tmp_path) / "model.onnx").parity.pictures == 2


def everything(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob("*"))


def test_model_beyond_the_bound_is_not_written(
    checkpoints: dict[str, Path], lapis_export: Callable[..., Any], tmp_path: Path
) -> None:
    ended = lapis_export(
        checkpoints["image"], f"--output={tmp_path}/models/cats/1", "--precision=fp16-weights", "--max-difference=0"
    )
    assert ended.code == 2
    assert ended.err.startswith("lapis-export: error: the model differs from PyTorch by up to ")
    assert everything(tmp_path) == []


def test_model_whose_rows_mix_is_not_written(
    checkpoints: dict[str, Path],
    lapis_export: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    class WithItsNeighbours(torch.nn.Module):
        """Alone, a picture comes out as it should; beside others, their mean shows through."""

        def __init__(self, generator: torch.nn.Module) -> None:
            super().__init__()
            self.generator = freeze(generator, "image")

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            fake_B = self.generator(x)
            return 2 * fake_B - fake_B.mean(dim=0, keepdim=True)

    monkeypatch.setattr("export.statistics.freeze", lambda generator, _, **__: WithItsNeighbours(generator))
    ended = lapis_export(checkpoints["image"], f"--output={tmp_path}/models/cats/1")
    assert ended.code == 2
    assert "a picture's translation changes by up to" in ended.err
    assert everything(tmp_path) == []


def test_existing_version_is_replaced_only_by_force(
    checkpoints: dict[str, Path], lapis_export: Callable[..., Any], tmp_path: Path
) -> None:
    entry = tmp_path / "cats" / "1"
    entry.mkdir(parents=True)
    (entry / "model.onnx").write_text("old")
    refused = lapis_export(checkpoints["running"], f"--output={entry}")
    assert refused.code == 2
    assert "is there already" in refused.err
    assert (entry / "model.onnx").read_text() == "old"
    assert lapis_export(checkpoints["running"], f"--output={entry}", "--force").code == 0
    assert read(entry / "model.onnx").name == "cats"


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (None, "pictures: No such file or directory; name a folder of real pictures or a data set"),
        ({}, "holds no pictures"),
        ({"a.png": b"no picture"}, "a.png: not a picture, or damaged"),
        ({"notes.txt": b"words"}, "holds no pictures"),
    ],
)
def test_without_real_pictures_nothing_is_written(
    checkpoints: dict[str, Path],
    lapis_export: Callable[..., Any],
    tmp_path: Path,
    content: dict[str, bytes] | None,
    expected: str,
) -> None:
    folder = tmp_path / "pictures"
    if content is not None:
        folder.mkdir()
        for name, data in content.items():
            (folder / name).write_bytes(data)
    ended = lapis_export(checkpoints["image"], f"--output={tmp_path}/models/cats/1", f"--pictures={folder}")
    assert ended.code == 2
    assert len(ended.err.splitlines()) == 1
    assert expected in ended.err
    assert not (tmp_path / "models").exists()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("ending", "code", "said"),
    [(signal.SIGINT, 130, "lapis-export: interrupted, nothing was written\n"), (signal.SIGTERM, 143, "")],
)
def test_signal_leaves_nothing_behind(
    checkpoints: dict[str, Path], tmp_path: Path, ending: signal.Signals, code: int, said: str
) -> None:
    with subprocess.Popen(
        [sys.executable, "-m", "export", checkpoints["image"], f"--output={tmp_path}/models/cats/1"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as command:
        assert command.stdout is not None
        for line in command.stdout:
            if line.startswith("statistics"):  # what follows is the tracing, the longest part
                command.send_signal(ending)
        assert command.wait() == code
        assert command.stderr is not None
        assert command.stderr.read() == said
    assert everything(tmp_path) == []


@pytest.mark.parametrize(("ending", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_signal_ends_the_command_whatever_becomes_of_its_exception(
    lapis_export: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, ending: signal.Signals, code: int
) -> None:
    def library(_: object) -> int:
        try:
            signal.raise_signal(ending)
        except BaseException as error:
            raise RuntimeError("an import failed") from error
        return 0

    monkeypatch.setattr("export.__main__._command", library)
    assert lapis_export("checkpoint", "--output=cats/1").code == code


def test_figures_of_bytes_are_measured_and_not_the_training_s(
    checkpoints: dict[str, Path], exported: Callable[..., Path], drawn: Pictures, tmp_path: Path
) -> None:
    for name in ("A", "B"):
        (tmp_path / name).mkdir()
        for index, picture in enumerate(drawn):
            Image.fromarray(picture).save(tmp_path / name / f"{index}.png")
    in_bytes = {"precision": "int8", "calibrate": tmp_path, "max_difference": 255}
    assert read(exported(checkpoints["running"], **in_bytes) / "model.onnx").validation is None
    measured = read(exported(checkpoints["running"], validate_on=tmp_path, **in_bytes) / "model.onnx")
    assert measured.validation is not None
    assert measured.validation.pairs == len(drawn)
    assert measured.baseline is not None
    assert measured.baseline.l1 == 0  # the targets are the inputs
    assert measured.statistics_choice is not None
    assert (measured.statistics_choice.image is None) == (measured.statistics_choice.running is None) is False
