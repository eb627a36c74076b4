"""What a model file says about itself: `metadata_props["lapis"]`, JSON, format `lapis-model/1`."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

KEY = "lapis"
Precision = Literal["fp32", "fp16-weights", "fp16", "int8"]
Statistics = Literal["image", "running", "none"]
Noise = Literal["off", "seeded"]
Weights = Literal["ema", "generator"]
Colour = Literal["grey", "rgb", "channels"]
Samples = Literal["uint8", "uint16"]
Scaling = Literal["signed", "unit"]
Target = Literal["cpu", "cuda"]
Direction = Literal["AtoB", "BtoA"]
Decoder = Literal["transposed", "subpixel", "phases"]
Origin = Literal["lapis", "pytorch-CycleGAN-and-pix2pix", "pix2pix-tensorflow", "pix2pixHD"]


class _Record(BaseModel):
    # Files of later versions carry more: what is not known here is let through.
    model_config = ConfigDict(frozen=True, extra="ignore")


class PictureSpec(_Record):
    """One side of the graph: [N, height, width, channels]; colour "channels" where it is neither grey nor RGB.

    Where `multiple` is 0 that is the only size. Otherwise height and width may be any multiples of it that are not
    below `smallest`, and `height` and `width` say which size the model was made for.
    """

    height: int
    width: int
    channels: int
    colour: Colour
    dtype: Samples = "uint8"
    multiple: int = 0
    smallest: int = 0

    @classmethod
    def of(
        cls, height: int, width: int, channels: int, *, dtype: Samples = "uint8", multiple: int = 0, smallest: int = 0
    ) -> PictureSpec:
        """Returns the side with the colour that its channels mean."""
        colours: dict[int, Colour] = {1: "grey", 3: "rgb"}
        return cls(
            height=height,
            width=width,
            channels=channels,
            colour=colours.get(channels, "channels"),
            dtype=dtype,
            multiple=multiple,
            smallest=smallest,
        )

    @property
    def any_size(self) -> bool:
        """Whether the graph's height and width are free."""
        return self.multiple > 0


class Source(_Record):
    """The checkpoint: SHA-256 of the weights file that was read, whose format it is, and the step if known."""

    checkpoint_sha256: str
    step: int | None
    origin: Origin = "lapis"


class Data(_Record):
    """The data set, and what its licence asks to be said of it; "" and None where nobody said."""

    name: str = ""
    licence: str = ""
    attribution: str = ""
    url: str = ""
    train_pairs: int | None = None
    validation_pairs: int | None = None


class Figures(_Record):
    """Means over held-out pairs: L1 and SSIM on a scale of 0 to 1, PSNR in dB (None: infinite)."""

    l1: float
    psnr: float | None
    ssim: float
    pairs: int


class StatisticsChoice(_Record):
    """Why these statistics, and the figures of both where they were measured on held-out pairs."""

    reason: str
    image: Figures | None = None
    running: Figures | None = None


class Graph(_Record):
    """How the graph was built: for which hardware, with which form of the transposed convolution, for which opset."""

    optimized_for: Target
    decoder: Decoder
    opset: int


class Parity(_Record):
    """ONNX Runtime against PyTorch's fp32 on real pictures: absolute differences in levels of 255, PSNR in dB.

    PSNR is None where it is infinite, and in files of earlier versions.
    """

    pictures: int
    max_difference: float
    mean_difference: float
    psnr: float | None = None
    provider: str


class BatchInvariance(_Record):
    """The same pictures in batches of these sizes, at several places: the largest difference in levels of 255."""

    batch_sizes: tuple[int, ...]
    max_difference: float


class Fingerprint(_Record):
    """A picture and its translation by the exported graph on the CPU, PNG files in base64; see `export.fingerprint`.

    Every `every`-th row and column is kept. `max_difference`, in levels of 255, is what a server may be off on a CPU.
    The picture has the size that the model was made for, and a model with noise was given the seed 0.
    """

    input: str
    translation: str
    every: int
    max_difference: float


class Metadata(_Record):
    """Everything a server or a person may want to know of a model file without asking anyone else.

    Every picture's samples are scaled to [-1, 1] before the network sees them, with `scaling` "unit" to [0, 1]. With
    `lab_colorization` the network itself takes L and gives a and b; the conversion from RGB and back is in the graph.
    `direction` tells which side of a pair it takes.
    """

    format: Literal["lapis-model/1"] = "lapis-model/1"
    name: str
    version: str
    input: PictureSpec
    output: PictureSpec
    scaling: Scaling = "signed"
    lab_colorization: bool = False
    direction: Direction = "AtoB"
    statistics: Statistics
    statistics_choice: StatisticsChoice | None = None
    noise: Noise = "off"
    precision: Precision
    graph: Graph | None = None
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
