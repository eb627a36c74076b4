from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from train.data.pictures import write_png

TRAINING = Path(__file__).parents[3] / "deploy" / "training"
SIZE = 32

Manifest = dict[str, Any]


class Manifests:
    """Reads the folders of deploy/training."""

    folder = TRAINING

    def all(self, folder: str) -> list[Manifest]:
        """The objects of a folder: those in its files, or what kustomize makes where it lays one over another."""
        return self.built(folder) if folder.endswith("-bucket") else self.written(folder)

    def written(self, folder: str) -> list[Manifest]:
        files = sorted(set((TRAINING / folder).glob("*.yaml")) - {TRAINING / folder / "kustomization.yaml"})
        return [manifest for file in files for manifest in yaml.safe_load_all(file.read_text())]

    def built(self, folder: str) -> list[Manifest]:
        kubectl = shutil.which("kubectl")
        if kubectl is None:
            pytest.skip("kubectl is not installed")
        done = subprocess.run([kubectl, "kustomize", TRAINING / folder], capture_output=True, text=True, check=True)
        return list(yaml.safe_load_all(done.stdout))

    def one(self, folder: str, kind: str) -> Manifest:
        (found,) = [manifest for manifest in self.all(folder) if manifest["kind"] == kind]
        return found

    def pods(self, folder: str) -> list[Manifest]:
        """The pod specs of a folder."""
        jobs = [manifest["spec"] for manifest in self.all(folder) if manifest["kind"] == "Job"]
        for runtime in (manifest for manifest in self.all(folder) if manifest["kind"] == "TrainingRuntime"):
            jobs += [job["template"]["spec"] for job in runtime["spec"]["template"]["spec"]["replicatedJobs"]]
        return [job["template"]["spec"] for job in jobs]

    def containers(self, folder: str) -> list[Manifest]:
        return [entry for pod in self.pods(folder) for entry in [*pod.get("initContainers", []), *pod["containers"]]]

    def command(self, folder: str) -> list[str]:
        """The command line of a folder's last container, with what a TrainJob adds to it."""
        last = self.containers(folder)[-1]
        added = [job["spec"]["trainer"]["args"] for job in self.all(folder) if job["kind"] == "TrainJob"]
        return [*last["command"], *last.get("args", []), *(flag for flags in added for flag in flags)]


@pytest.fixture(scope="session")
def manifests() -> Manifests:
    return Manifests()


@pytest.fixture(autouse=True)
def _no_settings_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith(("LAPIS_", "PET_"))]:
        monkeypatch.delenv(name)


@pytest.fixture
def pairs(tmp_path: Path) -> Path:
    """A data set of side-by-side pictures: 8 to learn from and 2 held out."""
    folder = tmp_path / "data"
    rng = np.random.default_rng(0)
    for split, count in (("train", 8), ("val", 2)):
        (folder / split).mkdir(parents=True)
        for index in range(count):
            write_png(folder / split / f"{index}.png", rng.integers(0, 255, (SIZE, 2 * SIZE, 3), np.uint8))
    return folder
