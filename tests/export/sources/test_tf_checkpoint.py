"""Checkpoints are written by TensorFlow itself where it is there; what needs none of it is tested everywhere."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from export.errors import CheckpointError
from export.sources import tf_checkpoint
from export.sources.source import Wishes
from export.statistics import freeze
from tests.export import reference_tensorflow as reference

ANYTHING = Wishes()
needs_tensorflow = pytest.mark.skipif(
    importlib.util.find_spec("tensorflow") is None,
    reason="TensorFlow is not installed: pip install tensorflow-cpu to test its checkpoints",
)


@pytest.fixture
def save(tmp_path: Path) -> Callable[..., Path]:
    """Writes a checkpoint as the reference does, step 5000, and returns its prefix."""

    def write(*, version: int = 2, **more: np.ndarray) -> Path:
        import tensorflow as tf  # noqa: PLC0415

        v1 = tf.compat.v1
        prefix = tmp_path / "model-5000"
        drawn = {**reference.variables(depth=5), **more, "global_step": np.int64(5000)}
        drawn["discriminator/layer_1/conv2d/kernel"] = np.ones(3, np.float32)
        drawn["generator_train/generator/encoder_1/conv2d/kernel/Adam"] = np.ones(3, np.float32)
        with tf.Graph().as_default(), v1.Session() as session:
            for name, value in drawn.items():
                v1.get_variable(name, initializer=value, use_resource=False)
            session.run(v1.global_variables_initializer())
            saver = v1.train.Saver(write_version=version)
            saver.save(session, str(tmp_path / "model"), global_step=5000)
        options = {"batch_size": 4, "which_direction": "BtoA", "ngf": 4, "lab_colorization": False}
        (tmp_path / "options.json").write_text(json.dumps(options))
        return prefix

    return write


@needs_tensorflow
@pytest.mark.parametrize("version", [1, 2])
@torch.no_grad()
def test_checkpoint_translates_as_the_reference(save: Callable[..., Path], version: int) -> None:
    source = tf_checkpoint.load(save(version=version), ANYTHING)
    picture = np.random.default_rng(1).uniform(-1, 1, (1, 32, 32, 3)).astype(np.float32)
    made = freeze(source.generator, "image")(torch.from_numpy(picture).permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
    np.testing.assert_allclose(made, reference.translate(reference.variables(depth=5), picture), atol=1e-4)
    assert (source.architecture.netG, source.architecture.ngf) == ("unet_32", 4)
    assert (source.step, source.batch_size, source.direction, source.gathered) == (5000, 4, "BtoA", False)


@needs_tensorflow
@pytest.mark.parametrize("name", ["", "checkpoint", "model-5000", "model-5000.index", "model-5000.data-00000-of-00001"])
def test_folder_prefix_and_files_all_stand_for_the_checkpoint(save: Callable[..., Path], name: str) -> None:
    place = save().parent / name
    assert tf_checkpoint.is_checkpoint(place)
    assert tf_checkpoint.load(place, ANYTHING).step == 5000


@needs_tensorflow
def test_folder_that_moved_since_the_training_is_found_whole(save: Callable[..., Path]) -> None:
    folder = save().parent
    (folder / "checkpoint").write_text('model_checkpoint_path: "/mnt/run/model-5000"\n')
    assert tf_checkpoint.load(folder, ANYTHING).step == 5000
    (folder / "checkpoint").unlink()
    assert tf_checkpoint.load(folder, ANYTHING).step == 5000


@needs_tensorflow
def test_variables_that_do_not_fit_are_listed_by_name(save: Callable[..., Path]) -> None:
    beta = np.full(16, np.nan, np.float32)
    prefix = save(**{"generator/encoder_3/batch_normalization/beta": beta, "generator/gate": np.ones(3, np.float32)})
    with pytest.raises(CheckpointError) as caught:
        tf_checkpoint.load(prefix, ANYTHING)
    assert "generator/encoder_3/batch_normalization/beta holds NaN or infinity" in str(caught.value)
    assert "unexpected generator/gate" in str(caught.value)


@needs_tensorflow
@pytest.mark.parametrize("name", ["model-5000.index", "model-5000.data-00000-of-00001"])
@pytest.mark.parametrize("kept", [0, 10, 500, -1])
def test_file_cut_short_is_told_in_one_line(save: Callable[..., Path], name: str, kept: int) -> None:
    file = save().parent / name
    file.write_bytes(file.read_bytes()[:kept])
    with pytest.raises(CheckpointError, match="model-5000") as caught:
        tf_checkpoint.load(file.parent, ANYTHING)
    assert str(caught.value).isprintable()


@needs_tensorflow
def test_nothing_of_tensorflows_log_reaches_the_terminal(
    save: Callable[..., Path], capfd: pytest.CaptureFixture[str]
) -> None:
    prefix = save()
    capfd.readouterr()
    tf_checkpoint.load(prefix, ANYTHING)
    assert capfd.readouterr() == ("", "")


def make(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).write_bytes(b"\0" * 100)


def test_without_tensorflow_a_sentence_says_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make(tmp_path, "model-5.index", "model-5.data-00000-of-00001")
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "tensorflow" else find_spec(name))
    with pytest.raises(CheckpointError, match=r"pip install tensorflow-cpu, or write a \.pict file"):
        tf_checkpoint.load(tmp_path, ANYTHING)


def test_half_a_checkpoint_is_told_by_what_is_missing(tmp_path: Path) -> None:
    make(tmp_path, "model-5.index")
    with pytest.raises(CheckpointError, match=r"model-5\.data-00000-of-00001 is missing"):
        tf_checkpoint.load(tmp_path / "model-5", ANYTHING)
    (tmp_path / "model-5.index").rename(tmp_path / "model-5.meta")
    with pytest.raises(CheckpointError, match=r"model-5\.index is missing"):
        tf_checkpoint.load(tmp_path / "model-5.meta", ANYTHING)


def test_folder_of_several_checkpoints_without_a_list_asks_for_one(tmp_path: Path) -> None:
    make(tmp_path, "model-5.index", "model-7.index")
    with pytest.raises(CheckpointError, match=r"give the prefix of one \(there: model-5, model-7\)"):
        tf_checkpoint.load(tmp_path, ANYTHING)


def test_other_files_and_folders_are_no_checkpoint(tmp_path: Path) -> None:
    make(tmp_path, "latest_net_G.pth", "cats.pict")
    for place in (tmp_path, tmp_path / "latest_net_G.pth", tmp_path / "cats.pict", tmp_path / "nowhere.index"):
        assert not tf_checkpoint.is_checkpoint(place)
