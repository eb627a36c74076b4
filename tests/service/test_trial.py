"""What `helm test` runs: it is content with any model that works, and says in a line what is wrong with others."""

from __future__ import annotations

import asyncio
import dataclasses
import shutil
import subprocess
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from lapis.client import Model, PictureSpec, TranslationError
from onnx import TensorProto
from pydantic import ValidationError

from service.trial import TrialError, TrialSettings, check, drawing, first_token, trial

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from lapis.client import Samples
    from numpy.typing import NDArray

SIDE = 8
MODEL = Model("m", "1", "ready", PictureSpec(4, 6, 3), PictureSpec(4, 6, 3), "CPUExecutionProvider", 1, {})
GRADIENT: NDArray[np.uint8] = np.arange(4 * 6 * 3, dtype=np.uint8).reshape(4, 6, 3)


def settings(port: int) -> TrialSettings:
    return TrialSettings(server=f"127.0.0.1:{port}", patience=0.0, timeout=30.0)


async def test_models_of_every_form_are_tried(
    lapis_serve: Callable[..., Any],
    write_model: Callable[..., Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    sides = {"input": {"height": 16, "width": 24, "channels": 3, "multiple": 2, "smallest": 2}}
    free = {"format": "lapis-model/1", **sides, "output": sides["input"], "noise": "off"}
    seeded = {"height": SIDE, "width": SIDE, "channels": 3}
    noisy = {"format": "lapis-model/1", "input": seeded, "output": seeded, "noise": "seeded"}
    write_model(tmp_path / "models/plain/1/model.onnx")
    write_model(tmp_path / "models/grey/1/model.onnx", input_shape=("N", 16, SIDE, 1))
    write_model(tmp_path / "models/five/1/model.onnx", input_shape=("N", SIDE, SIDE, 5))
    write_model(tmp_path / "models/deep/2/model.onnx", "identity", element=TensorProto.UINT16)
    write_model(tmp_path / "models/free/1/model.onnx", "soften", input_shape=("N", "H", "W", 3), metadata=free)
    write_model(tmp_path / "models/noisy/1/model.onnx", "tint", metadata=noisy)

    async with lapis_serve("--models", tmp_path / "models") as server:
        port = (await server.event("serving"))["grpc_port"]
        assert await asyncio.to_thread(trial, settings(port)) == 0

    lines = capsys.readouterr().out.splitlines()
    assert [line.split(":")[0] for line in lines] == ["deep 2", "five 1", "free 1", "grey 1", "noisy 1", "plain 1"]
    assert "24x16, 3 channels of uint8" in lines[2]


async def test_a_model_that_fails_is_an_error(
    lapis_serve: Callable[..., Any], write_model: Callable[..., Path], tmp_path: Path
) -> None:
    write_model(tmp_path / "models/picky/1/model.onnx", "picky")  # which fails on white, as drawings are

    async with lapis_serve("--models", tmp_path / "models") as server:
        port = (await server.event("serving"))["grpc_port"]
        with pytest.raises(TrialError, match="picky 1: "):
            await asyncio.to_thread(trial, settings(port))


def test_a_right_answer_is_taken() -> None:
    check(MODEL, GRADIENT, GRADIENT, GRADIENT[:, ::-1])


@pytest.mark.parametrize(
    ("first", "again", "other", "message"),
    [
        (GRADIENT[:2], GRADIENT, GRADIENT[::-1], r"gave a picture of \[2, 6, 3\] uint8, and says 6x4, 3 channels"),
        (GRADIENT.astype(np.uint16), GRADIENT, GRADIENT[::-1], "uint16"),
        (np.full_like(GRADIENT, 7), GRADIENT, GRADIENT[::-1], "one colour: nothing but 7"),
        (GRADIENT, GRADIENT + 1, GRADIENT[::-1], "two pictures for the same one, up to 1 of 255"),
        (GRADIENT, GRADIENT[:2], GRADIENT[::-1], "two pictures for the same one"),
        (GRADIENT, GRADIENT, GRADIENT, "the same picture for two that differ"),
    ],
)
def test_a_wrong_answer_is_told(
    first: NDArray[np.uint8], again: NDArray[np.uint8], other: NDArray[np.uint8], message: str
) -> None:
    with pytest.raises(TrialError, match=message):
        check(MODEL, first, again, other)


def test_a_gpu_may_differ_from_itself_by_a_little() -> None:
    model = dataclasses.replace(MODEL, provider="CUDAExecutionProvider")

    check(model, GRADIENT, GRADIENT + 2, GRADIENT[::-1])
    with pytest.raises(TrialError, match="two pictures for the same one"):
        check(model, GRADIENT, GRADIENT + 9, GRADIENT[::-1])


@pytest.mark.parametrize("height", [4, 9, 64, 257])
@pytest.mark.parametrize("channels", [1, 2, 3, 7])
@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_a_drawing_has_the_form_that_the_model_takes(height: int, channels: int, dtype: Samples) -> None:
    drawn = drawing(PictureSpec(height, 2 * height, channels, dtype=dtype))

    assert drawn.shape == (height, 2 * height, channels)
    assert drawn.dtype == dtype
    assert drawn.min() < drawn.max() == np.iinfo(dtype).max
    assert (drawn != drawn[:, ::-1]).any()


def test_the_first_token_is_sent(tmp_path: Path) -> None:
    tokens = tmp_path / "tokens"
    tokens.write_text("# who may call\n\nstudio s3cret\nshop other\n")

    assert first_token(tokens) == "s3cret"
    assert first_token(None) == ""


def test_a_file_without_tokens_is_refused(tmp_path: Path) -> None:
    tokens = tmp_path / "tokens"
    tokens.write_text("# nobody\n")

    with pytest.raises(TrialError, match="no NAME TOKEN line"):
        first_token(tokens)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"server": "nowhere"}, "server"),
        ({"client_certificate": "/c", "authorities": "/a"}, "go together"),
        ({"client_certificate": "/c", "client_key": "/k"}, "--authorities"),
    ],
)
def test_settings_that_cannot_be_are_refused(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        TrialSettings(**wrong)


@pytest.fixture
def certificate(tmp_path: Path) -> tuple[Path, Path]:
    """Makes a certificate for this machine that nobody vouches for, and its key."""
    if not shutil.which("openssl"):
        pytest.skip("no openssl here")
    made, key = tmp_path / "tls.crt", tmp_path / "tls.key"
    subject = ("-subj", "/CN=lapis", "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", key, "-out", made)
    command = ("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", *subject)
    subprocess.run(command, check=True, capture_output=True)
    return made, key


async def test_a_server_with_tls_and_tokens_is_tried(
    lapis_serve: Callable[..., Any],
    write_model: Callable[..., Path],
    certificate: tuple[Path, Path],
    tmp_path: Path,
) -> None:
    write_model(tmp_path / "models/plain/1/model.onnx")
    made, key = certificate
    tokens = tmp_path / "tokens"
    tokens.write_text("helm s3cret\n")
    flags = ("--tls-certificate", made, "--tls-key", key, "--tokens", tokens)

    async with lapis_serve("--models", tmp_path / "models", *flags) as server:
        there = settings((await server.event("serving"))["grpc_port"])
        # As in a Secret that names no authority beside the certificate.
        trusted = there.model_copy(update={"authorities": f"{tmp_path / 'ca.crt'},{made}"})

        assert await asyncio.to_thread(trial, trusted.model_copy(update={"tokens": tokens})) == 0
        with pytest.raises(TranslationError, match="token"):
            await asyncio.to_thread(trial, trusted)
        with pytest.raises(TranslationError):
            await asyncio.to_thread(trial, there)


def test_tls_without_any_authority_is_told(tmp_path: Path) -> None:
    with pytest.raises(TrialError, match="no certificate"):
        trial(TrialSettings(authorities=str(tmp_path / "none.crt")))
