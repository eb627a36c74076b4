"""The main job through all rooms, with the commands that a user types."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from service.demo import server

ROOT = Path(__file__).parents[1]


def run(*arguments: object, cwd: Path) -> str:
    command = [sys.executable, "-m", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=cwd)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow
def test_drawings_become_a_model_that_translates_drawings(tmp_path: Path) -> None:
    run("train.pairs", "openmoji", "--output", "moji", "--size", 128, "--limit", 24, "--test", 3, cwd=tmp_path)
    run(
        "train", "moji", "--output", "run", "--netG", "unet_128", "--ngf", 4, "--ndf", 4, "--load-size", 132,
        "--crop-size", 128, "--batch-size", 2, "--max-steps", 6, "--num-workers", 0, cwd=tmp_path,
    )  # fmt: skip
    run("export", "run/latest", "--output", "models/emoji/1", "--precision", "fp16-weights", cwd=tmp_path)
    described = json.loads(run("export", "--describe", "models/emoji/1/model.onnx", "--json", cwd=tmp_path))
    metrics = json.loads((tmp_path / "run" / "latest" / "metrics.json").read_text())
    assert described["validation"]["l1"] == pytest.approx(metrics["validation"]["l1"])
    assert described["data"]["licence"] == "CC BY-SA 4.0"

    with server(tmp_path / "models") as addresses:
        run("lapis", "moji/test/A", "--server", addresses.grpc, "--output", "made", cwd=tmp_path)
    run("train.pairs", "grid", "moji/test", "--translations", "made", "--output", "grid.png", cwd=tmp_path)

    drawings = sorted(path.name for path in (tmp_path / "moji" / "test" / "A").iterdir())
    assert sorted(path.name for path in (tmp_path / "made").iterdir()) == drawings
    assert len(drawings) >= 3
    grid = cv2.imread(str(tmp_path / "grid.png"))
    assert grid is not None
    assert grid.shape[1] == 3 * 132


@pytest.mark.slow
def test_the_demo_shows_drawings_and_what_became_of_them(tmp_path: Path) -> None:
    said = run("service.demo", "--once", "--picture", tmp_path / "picture.png", cwd=ROOT)
    assert re.search(r"gRPC +127\.0\.0\.1:\d+\nmetrics +http://127\.0\.0\.1:\d+/metrics\n", said)
    picture = cv2.imread(str(tmp_path / "picture.png"))
    assert picture is not None
    drawings, translations = np.split(picture.astype(int), 2)
    assert saturation(drawings) == 0
    assert saturation(translations) > 20
    # The lines are kept: where the drawing is black, its translation is dark.
    assert translations[drawings.max(axis=2) < 20].mean() < 60


def saturation(picture: np.ndarray) -> float:
    return float((picture.max(axis=2) - picture.min(axis=2)).mean())


def test_the_demo_without_drawings_says_so(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "service.demo", "--examples", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr == f"lapis-demo: error: {tmp_path}: no .png here to translate\n"


def test_the_demo_tells_why_the_server_ended(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "service.demo", "--models", str(tmp_path / "missing")]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.returncode == 2
    assert str(tmp_path / "missing") in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_the_readme_shows_the_pipelines_own_commands() -> None:
    makefile = (ROOT / "Makefile").read_text()
    recipe = re.search(r"^pipeline:.*\n((?:\t.*\n)+)", makefile, re.MULTILINE)
    assert recipe
    lines = re.sub(r" *\\\n\t *", " ", recipe[1]).replace("$(RUN)", "work/pipeline")
    readme = re.sub(r" *\\\n *", " ", (ROOT / "README.md").read_text())
    commands = re.findall(r"lapis-\w+ [^&;\n]*[^&;\s]", lines)
    assert len(commands) == 6
    assert [command for command in commands if command not in readme] == []
