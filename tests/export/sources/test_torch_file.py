from __future__ import annotations

import io
import os
import pickle
import zipfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file
from torch import Tensor

from export.errors import CheckpointError
from export.sources import torch_file


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "latest_net_G.pth"


def weights() -> dict[str, Tensor]:
    return {"model.0.weight": torch.arange(6.0).view(2, 3), "model.0.bias": torch.tensor([0.5, -1.0])}


def saved(content: object, **options: object) -> bytes:
    stream = io.BytesIO()
    torch.save(content, stream, **options)  # type: ignore[arg-type]
    return stream.getvalue()


def refused(file: Path, content: bytes) -> str:
    file.write_bytes(content)
    with pytest.raises(CheckpointError) as caught:
        torch_file.read(file)
    assert "\n" not in str(caught.value)
    assert str(file) in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("legacy", [False, True], ids=["zip", "before 1.6"])
@pytest.mark.parametrize(
    "wrap",
    [
        lambda state: state,
        lambda state: {"epoch": 3, "state_dict": state},
        lambda state: {"model": {"state_dict": state}, "optimizer": {"state": {}, "param_groups": []}},
        lambda state: {"netD": {"x": torch.zeros(1)}, "netG": state},
        lambda state: {f"module.{name}": tensor for name, tensor in state.items()},
        lambda state: {f"_orig_mod.module.{name}": tensor for name, tensor in state.items()},
        lambda state: {"state_dict": {f"generator.{name}": t for name, t in state.items()} | {"netD.x": torch.ones(1)}},
        lambda state: {name: torch.nn.Parameter(tensor) for name, tensor in state.items()},
        lambda state: {name: tensor.half() for name, tensor in state.items()},
        lambda state: {name: tensor.bfloat16() for name, tensor in state.items()},
        lambda state: {name: tensor.double() for name, tensor in state.items()},
        lambda state: {name: tensor.repeat_interleave(2, -1)[..., ::2] for name, tensor in state.items()},
    ],
)
def test_weights_are_found_however_they_were_saved(file: Path, wrap: Callable[[object], object], legacy: bool) -> None:
    file.write_bytes(saved(wrap(weights()), _use_new_zipfile_serialization=not legacy))
    found = torch_file.read(file)
    assert found.keys() == weights().keys()
    for name, tensor in weights().items():
        assert found[name].dtype == torch.float32
        assert not found[name].requires_grad
        assert torch.equal(found[name], tensor)


def test_safetensors_are_read_whatever_the_suffix(file: Path) -> None:
    save_file(weights(), file)
    assert torch.equal(torch_file.read(file)["model.0.bias"], weights()["model.0.bias"])
    assert "damaged or cut short" in refused(file, file.read_bytes()[:-3])


def test_weights_saved_on_a_gpu_are_read_without_one(file: Path) -> None:
    content = saved(weights(), _use_new_zipfile_serialization=False)
    # The place is a string with its length before it; the older format has no checksums.
    file.write_bytes(content.replace(b"X\x03\x00\x00\x00cpu", b"X\x06\x00\x00\x00cuda:0"))
    assert torch_file.read(file)["model.0.weight"].device.type == "cpu"


class Exploit:
    def __reduce__(self) -> tuple[object, ...]:
        return os.system, ("touch /tmp/lapis-was-run",)


@pytest.mark.parametrize("legacy", [False, True], ids=["zip", "before 1.6"])
@pytest.mark.parametrize(
    ("content", "named"),
    [
        (Exploit, "posix.system"),
        (lambda: {"model.0.weight": torch.zeros(1), "more": Exploit()}, "posix.system"),
        (lambda: torch.nn.Sequential(torch.nn.Conv2d(1, 1, 1)), "torch.nn.modules.container.Sequential"),
        (lambda: {"state_dict": weights(), "best": np.float64(3)}, "numpy"),
    ],
)
def test_a_pickle_that_wants_more_is_refused_by_name_and_not_run(
    file: Path, content: Callable[[], object], named: str, legacy: bool
) -> None:
    said = refused(file, saved(content(), _use_new_zipfile_serialization=not legacy))
    assert f"wants {named}" in said or f", {named}" in said
    assert "state_dict()" in said
    assert not Path("/tmp/lapis-was-run").exists()


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", "is empty"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "Git LFS pointer"),
        (b"<!DOCTYPE html><html>404</html>", "web page"),
        (b"just some words\n", "is a text"),
        (b"\x89PNG\r\n\x1a\n" + bytes(50), "PNG picture"),
        (b"\x1f\x8b\x08" + bytes(50), "gzip"),
        (b"\x08\x08\x12\x07pytorch" + bytes(9), "an ONNX model"),
        (bytes(300), "damaged"),
        (pickle.dumps({"a": 1}, 4), "damaged"),
        (saved(torch.zeros(3)), "single tensor"),
        (saved([1, 2]), "holds a list"),
        (saved({}), "holds nothing"),
        (saved({"loss": 1.5, "epoch": 3}), "holds only 'loss', 'epoch'"),
        (saved({"state": {0: {"exp_avg": torch.zeros(1)}}, "param_groups": []}), "state of an optimizer"),
        (saved({"a": torch.zeros(2, 2).to_sparse()}), "no plain tensor"),
        (saved({"a": torch.zeros(2, device="meta")}), "no plain tensor"),
    ],
)
def test_a_wrong_file_is_called_what_it_is(file: Path, content: bytes, expected: str) -> None:
    assert expected in refused(file, content)


def test_a_program_of_torchscript_is_told(file: Path) -> None:
    torch.jit.trace(torch.nn.Linear(2, 2), torch.zeros(1, 2)).save(str(file))
    assert "TorchScript" in refused(file, file.read_bytes())


def test_files_that_cannot_be_opened_are_told(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="No such file"):
        torch_file.read(tmp_path / "nowhere.pth")
    with pytest.raises(CheckpointError, match="Is a directory"):
        torch_file.read(tmp_path)


def rezipped(content: bytes, compression: int = zipfile.ZIP_STORED, **changes: bytes) -> bytes:
    """Packs a file of torch.save anew, with other contents for the entries of these names."""
    stream = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as old, zipfile.ZipFile(stream, "w", compression) as new:
        for name in old.namelist():
            kept = changes.get(name.rpartition("/")[2].removesuffix(".pkl"), old.read(name))
            new.writestr(name, kept)
    return stream.getvalue()


def test_a_zip_bomb_is_refused_before_it_is_unpacked(file: Path) -> None:
    bomb = rezipped(saved({"a": torch.zeros(5_000_000)}), zipfile.ZIP_DEFLATED)
    assert len(bomb) < 1_000_000
    assert "is compressed, 20,0" in refused(file, bomb)


def test_entries_that_overlap_are_refused(file: Path) -> None:
    content = bytearray(saved({"a": torch.zeros(1000)}))
    at = content.rindex(b"PK\x01\x02", 0, content.index(b"data/0", content.index(b"PK\x01\x02")))
    content[at + 20 : at + 28] = (1_000_000).to_bytes(4, "little") * 2  # compressed and uncompressed size
    assert "overlap" in refused(file, bytes(content))


def test_a_zip_of_something_else_is_told(file: Path) -> None:
    stream = io.BytesIO()
    np.savez(stream, a=np.zeros(3))
    assert "none that torch.save wrote" in refused(file, stream.getvalue())


def test_a_tensor_larger_than_what_is_stored_is_refused(file: Path) -> None:
    content = saved({"a": torch.zeros(7)})
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        program = archive.read("archive/data.pkl")
    huge = program.replace(b"K\x07", b"J\x00\x00\x00\x70")
    assert huge != program
    assert "damaged" in refused(file, rezipped(content, data=huge))
    assert "damaged" in refused(
        file,
        saved({"a": torch.zeros(7)}, _use_new_zipfile_serialization=False).replace(b"K\x07", b"J\x00\x00\x00\x70"),
    )


def test_a_tensor_that_repeats_what_is_stored_is_refused(file: Path) -> None:
    one = torch.zeros(1)
    assert "4 bytes are stored" in refused(file, saved({"a": one.half().float().expand(10**6, 10**6)}))
    whole = torch.zeros(100_000)
    assert "claim" in refused(file, saved({str(i): whole for i in range(9)}))


@pytest.mark.parametrize("legacy", [False, True], ids=["zip", "before 1.6"])
def test_a_file_cut_short_anywhere_is_told(file: Path, legacy: bool) -> None:
    whole = saved(weights(), _use_new_zipfile_serialization=not legacy)
    for length in {*range(1, len(whole), 37), len(whole) - 1}:
        refused(file, whole[:length])


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data(), legacy=st.booleans())
def test_damage_is_told_or_does_no_harm(file: Path, data: st.DataObject, legacy: bool) -> None:
    content = bytearray(saved(weights(), _use_new_zipfile_serialization=not legacy))
    for _ in range(data.draw(st.integers(1, 4))):
        # Files of before 1.6 name tensors by addresses: how long they are is not the same each time.
        content[data.draw(st.integers(0, 2**20)) % len(content)] = data.draw(st.integers(0, 255))
    file.write_bytes(bytes(content))
    with suppress(CheckpointError):
        read = torch_file.read(file)
        assert all(isinstance(name, str) and isinstance(tensor, torch.Tensor) for name, tensor in read.items())
