"""What a model file says about itself: `metadata_props["lapis"]`, JSON, format `lapis-model/1`."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

KEY = "lapis"
Precision = Literal["fp32", "fp16-weights"]
Statistics = Literal["image", "running", "none"]
Weights = Literal["ema", "generator"]
Colour = Literal["grey", "rgb", "channels"]


class _Record(BaseModel):
    # Files of later versions carry more: what is not known here is let through.
    model_config = ConfigDict(frozen=True, extra="ignore")


class PictureSpec(_Record):
    """One side of the graph: [N, height, width, channels]; colour "channels" where it is neither grey nor RGB."""

    height: int
    width: int
    channels: int
    colour: Colour
    dtype: Literal["uint8"] = "uint8"

    @classmethod
    def of(cls, height: int, width: int, channels: int) -> PictureSpec:
        """Returns the side with the colour that its channels mean."""
        colours: dict[int, Colour] = {1: "grey", 3: "rgb"}
        return cls(height=height, width=width, channels=channels, colour=colours.get(channels, "channels"))


class Source(_Record):
    """The checkpoint: SHA-256 of the weights file that was read, and the training step it was written at."""

    checkpoint_sha256: str
    step: int


class Data(_Record):
    """The data set, and what its licence asks to be said of it."""

    name: str
    licence: str
    attribution: str
    url: str
    train_pairs: int
    validation_pairs: int


class Figures(_Record):
    """Means over held-out pairs: L1 and SSIM on a scale of 0 to 1, PSNR in dB (None: infinite)."""

    l1: float
    psnr: float | None
    ssim: float
    pairs: int


class Parity(_Record):
    """ONNX Runtime against PyTorch on real pictures: absolute differences in levels of 255."""

    pictures: int
    max_difference: int
    mean_difference: float
    provider: str


class BatchInvariance(_Record):
    """The same pictures in batches of these sizes, at several places: the largest difference in levels of 255."""

    batch_sizes: tuple[int, ...]
    max_difference: int


class Fingerprint(_Record):
    """A picture and its translation by the exported graph on the CPU, PNG files in base64; see `export.fingerprint`.

    Every `every`-th row and column is kept. `max_difference`, in levels of 255, is what a server may be off on a CPU.
    """

    input: str
    translation: str
    every: int
    max_difference: int


class Metadata(_Record):
    """Everything a server or a person may want to know of a model file without asking anyone else."""

    format: Literal["lapis-model/1"] = "lapis-model/1"
    name: str
    version: str
    input: PictureSpec
    output: PictureSpec
    statistics: Statistics
    noise: Literal["off"] = "off"
    precision: Precision
    weights: Weights
    generator: dict[str, Any]
    source: Source
    data: Data
    validation: Figures | None
    baseline: Figures | None
    parity: Parity
    batch_invariance: BatchInvariance
    fingerprint: Fingerprint | None = None  # files of earlier versions have none
    lapis_version: str
