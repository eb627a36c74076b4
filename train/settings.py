"""The settings of `lapis-train`."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from lapis.command import CommandSettings
from pydantic import Field, model_validator
from pydantic_settings import CliPositionalArg, SettingsConfigDict

NetG = Literal[
    "unet_256",
    "unet_128",
    "unet_32",
    "unet_64",
    "unet_512",
    "unet_1024",
    "resnet_9blocks",
    "resnet_6blocks",
    "global",
]


class TrainSettings(CommandSettings):
    """Trains a pix2pix model on pairs of pictures. The defaults are the recipe of the paper (arXiv 1611.07004)."""

    model_config = SettingsConfigDict(env_prefix="LAPIS_TRAIN_")

    data: CliPositionalArg[Path | None] = Field(
        None, description="folder of the data set: side-by-side pictures, or A and B"
    )
    output: Path | None = Field(None, description="folder of the run: checkpoints, picture grids, TensorBoard logs")
    resume: Path | None = Field(
        None,
        description="run or checkpoint to go on with; its settings hold, flags given now win over them; auto: the run "
        "in --output, begun where there is none yet and left alone where it is finished",
    )

    direction: Literal["AtoB", "BtoA"] = Field("AtoB", description="which of the two is the input")
    input_nc: int = Field(3, ge=1, le=4, description="channels of the input: 1 grey, 3 RGB")
    output_nc: int = Field(3, ge=1, le=4, description="channels of the output")
    load_size: int = Field(286, ge=1, description="pixels a side that pictures are resized to before the random crop")
    crop_size: int = Field(256, ge=1, description="pixels a side that the network sees")
    flip: bool = Field(True, description="mirror half of the pairs")
    skip_bad: bool = Field(False, description="leave bad pairs out instead of stopping; says how many")
    num_workers: int = Field(1, ge=0, description="processes that prepare pictures; 0: the training process does it")

    netG: NetG = Field("unet_256", description="generator; global is that of pix2pixHD")
    n_downsample_global: int = Field(4, ge=1, le=6, description="how often --netG global halves height and width")
    n_blocks_global: int = Field(9, ge=1, description="residual blocks of --netG global")
    ngf: int = Field(64, ge=1, description="filters of the generator's first layer")
    ndf: int = Field(64, ge=1, description="filters of the discriminator's first layer")
    n_layers_D: int = Field(3, ge=1, le=5, description="layers of the PatchGAN; 3 judges patches of 70x70 pixels")
    norm: Literal["batch", "instance", "none"] = Field("batch", description="normalisation")
    dropout: bool | None = Field(
        None,
        description="dropout in the generator's decoder or residual blocks; default: on, but off for --netG global",
    )

    gan_mode: Literal["vanilla", "lsgan"] = Field("vanilla", description="adversarial loss: cross-entropy or squares")
    lambda_L1: float = Field(100.0, ge=0, description="weight of the L1 loss")
    batch_size: int = Field(
        1,
        ge=1,
        description="pairs a step, in each process of torchrun; more than 1 means running statistics at test time",
    )
    sync_batchnorm: bool = Field(
        False,
        description="let batch norms see the pairs of all processes of torchrun together, which takes GPUs; means "
        "running statistics at test time",
    )
    lr: float = Field(2e-4, gt=0, description="Adam's learning rate")
    beta1: float = Field(0.5, ge=0, lt=1, description="Adam's first beta; the second is 0.999")
    n_epochs: int = Field(100, ge=0, description="epochs at the full learning rate")
    n_epochs_decay: int = Field(100, ge=0, description="epochs over which it then falls to 0")
    max_steps: int | None = Field(None, ge=1, description="stop after so many steps in all")
    ema_decay: float = Field(0.999, ge=0, lt=1, description="decay of the averaged generator weights; 0: keep none")
    seed: int = Field(0, ge=0, description="seeds first weights, order, crops, flips and dropout")

    device: Literal["auto", "cpu", "cuda"] = Field("auto", description="auto: CUDA where there is a GPU")
    precision: Literal["auto", "fp32", "bf16"] = Field(
        "auto", description="auto: bf16 autocast where the hardware computes in it"
    )
    channels_last: bool = Field(True, description="keep tensors in channels-last order, which is faster")

    print_every: int = Field(100, ge=1, description="steps between lines of losses in TensorBoard and in plain logs")
    save_every: int = Field(1, ge=1, description="epochs between checkpoints, validations and grids")
    keep: int = Field(1, ge=1, description="checkpoints to keep; older ones are removed")

    @model_validator(mode="after")
    def _consistent(self) -> TrainSettings:
        if self.load_size < self.crop_size:
            raise ValueError(f"--load-size {self.load_size} is smaller than --crop-size {self.crop_size}")
        if self.n_epochs + self.n_epochs_decay < 1:
            raise ValueError("--n-epochs and --n-epochs-decay are both 0: there is nothing to train")
        if self.resumes_by_itself and self.output is None:
            raise ValueError("--resume auto needs --output: the folder of the run")
        return self

    @property
    def resumes_by_itself(self) -> bool:
        """Whether the same command is to begin a run, go on with it, or leave it alone, as it stands."""
        return self.resume == Path("auto")

    @property
    def normalises_singly(self) -> bool:
        """Whether batch norms see one picture at a time, as in the references, and so must when the model is used."""
        return self.batch_size == 1 and not self.sync_batchnorm

    @property
    def drops(self) -> bool:
        """Whether there is dropout: where nothing is said, as the reference trains this generator."""
        return self.netG != "global" if self.dropout is None else self.dropout

    @property
    def epochs(self) -> int:
        """The number of epochs in all."""
        return self.n_epochs + self.n_epochs_decay
