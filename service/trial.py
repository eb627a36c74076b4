"""Tries a running service as a caller would, as `helm test` does: `python -m service.trial --server HOST:PORT`.

Every model that is ready translates a picture drawn here, of the size and channels that it says it takes. What comes
back must have the size that it says it gives, show something, be the same each time, and depend on what was sent.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import grpc
import numpy as np
from lapis.client import AsyncClient, NotReady, TranslationError
from lapis.client.address import check_address
from lapis.command import CommandSettings, run
from lapis.retry import Retry, patiently
from pydantic import Field, NonNegativeFloat, PositiveFloat, field_validator, model_validator
from pydantic_settings import SettingsConfigDict

if TYPE_CHECKING:
    from lapis.client import ConnectOptions, Model, PictureSpec, TranslateOptions, Translation

    from service.engine.contract import Pixels

# What a GPU may make of the same picture twice, in levels of 255: the order of its sums depends on the batch.
_GPU_LEVELS = 8
_AS_PNG = frozenset({1, 3})


class TrialError(Exception):
    """The service does not do what it says; the message says what it did."""


class TrialSettings(CommandSettings):
    """Translates pictures with every model of a server, and checks what comes back."""

    model_config = SettingsConfigDict(env_prefix="LAPIS_TRIAL_")

    server: str = Field("127.0.0.1:50051", description="the server's gRPC address, HOST:PORT")
    authorities: str = Field(
        "",
        description="files (PEM), with commas between, of which one must vouch for the server's certificate or be it; "
        "those that are not there are passed over; means TLS",
    )
    client_certificate: Path | None = Field(None, description="file of the caller's own certificate (PEM)")
    client_key: Path | None = Field(None, description="file of its key (PEM)")
    tokens: Path | None = Field(None, description="file as lapis-serve --tokens takes it; its first token is sent")
    timeout: PositiveFloat = Field(60.0, description="seconds that a picture may take")
    patience: NonNegativeFloat = Field(60.0, description="seconds to wait for a server that is not ready, or is full")

    @field_validator("server")
    @classmethod
    def _server_is_an_address(cls, server: str) -> str:
        return check_address(server)

    @model_validator(mode="after")
    def _certificate_has_a_key(self) -> TrialSettings:
        if (self.client_certificate is None) != (self.client_key is None):
            raise ValueError("--client-certificate and --client-key go together")
        if self.client_certificate and not self.authorities:
            raise ValueError("--client-certificate is for TLS, which --authorities asks for")
        return self


def main() -> None:
    """Run the command."""
    run("lapis-trial", TrialSettings, trial, errors=(TrialError, TranslationError, OSError))


def trial(settings: TrialSettings) -> int:
    """Try every model and say of each what came back; return 0."""
    asyncio.run(_try_all(settings))
    return 0


async def _try_all(settings: TrialSettings) -> None:
    options: ConnectOptions = {"credentials": credentials(settings), "token": first_token(settings.tokens)}
    async with AsyncClient(settings.server, timeout=settings.timeout, **options) as client:
        retry = Retry(settings.patience)
        for model in await patiently(lambda: _loaded(client), retry):
            try:
                print(await _try(client, model, retry))
            except TranslationError as error:
                raise TrialError(f"{model.name} {model.version}: {error}") from error


async def _loaded(client: AsyncClient) -> list[Model]:
    """Return the models that are ready; raises NotReady while any is loading, and TrialError where there is none."""
    models = await client.list_models()
    states = ", ".join(f"{model.name} {model.version} is {model.state}" for model in models) or "it has none"
    if any(model.state == "loading" for model in models):
        raise NotReady(
            f"{client.address}: not all models are ready: {states}", grpc.StatusCode.UNAVAILABLE, "NOT_READY"
        )
    ready = [model for model in models if model.state == "ready"]
    if not ready:
        raise TrialError(f"{client.address}: no model is ready: {states}")
    return ready


async def _try(client: AsyncClient, model: Model, retry: Retry) -> str:
    """Return a line about what the model made; raises TrialError where it is not right."""

    async def answer(picture: Pixels, *, as_png: bool = False) -> Translation:
        options: TranslateOptions = {
            "model": model.name,
            "version": model.version,
            "format": "png" if as_png else "raw",
        }
        return await patiently(lambda: client.translate(picture, **options), retry)

    drawn = drawing(model.input)
    first = await answer(drawn)
    again = await answer(drawn, as_png=model.output.channels in _AS_PNG)
    other = await answer(drawn[:, ::-1])
    check(model, pixels(first), pixels(again), pixels(other))
    return (
        f"{model.name} {model.version}: {_size(model.input)} became {_size(model.output)} "
        f"in {first.timings.total * 1000:.1f} ms ({model.provider})"
    )


def check(model: Model, first: Pixels, again: Pixels, other: Pixels) -> None:
    """Raise TrialError unless the translations are what the model promises.

    `first` and `again` are of the same picture, `other` is of its mirror image.
    """
    name, given = f"{model.name} {model.version}", model.output
    if first.shape != (given.height, given.width, given.channels) or first.dtype != given.dtype:
        raise TrialError(f"{name}: gave a picture of {list(first.shape)} {first.dtype}, and says {_size(given)}")
    if first.min() == first.max():
        raise TrialError(f"{name}: gave a picture of one colour: nothing but {first.min()}")
    accepted = 0 if model.provider == "CPUExecutionProvider" else _GPU_LEVELS
    off = _levels_between(first, again)
    if off > accepted:
        raise TrialError(f"{name}: gave two pictures for the same one, up to {off:.4g} of 255 levels apart")
    if _levels_between(first, other) <= accepted:
        raise TrialError(f"{name}: gave the same picture for two that differ")


def drawing(spec: PictureSpec) -> Pixels:
    """Return a picture to translate, [H, W, C]: lines on white, which fit a model of drawings, beside a shaded patch.

    Its left and right differ, and so do its channels.
    """
    height, width = spec.height, spec.width
    grey = np.full((height, width), 255, np.uint8)
    thin = max(1, min(height, width) // 64)
    cv2.circle(grey, (width * 2 // 5, height // 2), min(height, width) // 4, 0, thin)
    cv2.line(grey, (0, 0), (width * 2 // 5, height // 2), 0, thin)
    top, left = height * 3 // 5, width * 3 // 5
    grey[top:, left:] = np.linspace(0, 255, width - left, dtype=np.uint8)
    steps = [255 - 24 * (channel % 4) for channel in range(spec.channels)]
    picture = np.stack([(grey.astype(np.uint16) * step // 255).astype(np.uint8) for step in steps], axis=-1)
    return picture.astype(np.uint16) * 257 if spec.dtype == "uint16" else picture


def pixels(translation: Translation) -> Pixels:
    """Return the picture [H, W, C], out of raw pixels or a PNG file; raises TrialError where there is none."""
    if translation.format == "raw":
        return np.asarray(translation)
    decoded = cv2.imdecode(np.frombuffer(translation.picture, np.uint8), cv2.IMREAD_UNCHANGED)
    if decoded is None:
        name = f"{translation.model} {translation.version}"
        raise TrialError(f"{name}: gave {len(translation.picture):,} bytes that are no {translation.format} file")
    made: Pixels = decoded.astype(np.uint8 if decoded.dtype == np.uint8 else np.uint16)
    return made[..., np.newaxis] if made.ndim == 2 else made[..., ::-1]


def credentials(settings: TrialSettings) -> grpc.ChannelCredentials | None:
    """Return what the connection is encrypted with, None where it is not; raises TrialError without any authority."""
    if not settings.authorities:
        return None
    files = [Path(name) for name in settings.authorities.split(",")]
    roots = b"\n".join(file.read_bytes() for file in files if file.is_file())
    if not roots.strip():
        raise TrialError(f"--authorities: no certificate in {settings.authorities}")
    key, certificate = settings.client_key, settings.client_certificate
    return grpc.ssl_channel_credentials(
        roots, key.read_bytes() if key else None, certificate.read_bytes() if certificate else None
    )


def first_token(path: Path | None) -> str:
    """Return the first token in a file of `NAME TOKEN` lines, "" without a file; raises TrialError for an empty one."""
    if path is None:
        return ""
    lines = path.read_text(encoding="utf-8").splitlines()
    tokens = [line.split()[-1] for line in lines if line.strip() and not line.lstrip().startswith("#")]
    if not tokens:
        raise TrialError(f"--tokens: no NAME TOKEN line in {path}")
    return tokens[0]


def _levels_between(one: Pixels, other: Pixels) -> float:
    """Return the largest difference in levels of 255, infinite between pictures of different sizes."""
    if one.shape != other.shape or one.dtype != other.dtype:
        return float("inf")
    difference = np.abs(one.astype(np.int32) - other.astype(np.int32)).max()
    return float(difference) / (np.iinfo(one.dtype).max / 255)


def _size(spec: PictureSpec) -> str:
    return f"{spec.width}x{spec.height}, {spec.channels} channel{'s' * (spec.channels > 1)} of {spec.dtype}"


if __name__ == "__main__":
    main()
