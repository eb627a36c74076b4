"""The settings of `lapis-bulk`."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from lapis.command import CommandSettings
from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt, model_validator
from pydantic_settings import CliPositionalArg, SettingsConfigDict


class BulkSettings(CommandSettings):
    """Translates all pictures of a folder, of a bucket or of WebDataset shards on a Ray cluster.

    The same command started again goes on where it ended. Exit code 0: all translated; 1: some failed; 2: wrong usage,
    or it could not go on; 130: interrupted; 143: terminated.
    """

    model_config = SettingsConfigDict(env_prefix="LAPIS_BULK_")

    input: CliPositionalArg[str] = Field(
        description="where the pictures are: a folder, or s3://, gs:// or az:// with a prefix; searched recursively "
        "for .png, .jpg, .jpeg and .webp, or for .tar shards that hold such files"
    )
    output: str = Field(
        description="where the translations go, likewise; they keep their names but for the extension, and a shard "
        "becomes a shard of the same name"
    )
    failures: Path = Field(
        Path("failures.jsonl"),
        description="file that gets the name of each picture that failed, and why, one a line; those that failed in a "
        "shard of an earlier run among them",
    )
    tolerate_failures: bool = Field(
        False, description="exit with 0 where pictures failed, too, for job systems that begin a failed job anew"
    )

    models: Path = Field(
        Path("models"), description="model repository, at the same path on every node: in the image, or on a volume"
    )
    model: str = Field("", description="the model; not needed where there is one only")
    model_version: str = Field("", description="the model's version, or a label of it; the highest where empty")
    fit: Literal["auto", "stretch", "pad", "crop", "tile", "none"] = Field(
        "auto",
        description="how a picture is brought to the model's size; auto: stretch, and none for a model of any size",
    )
    size: Literal["model", "input"] = Field("model", description="size of the outputs: the model's, or the input's")
    format: Literal["png", "jpeg", "webp"] = Field("png", description="format of the outputs")
    quality: NonNegativeInt = Field(0, le=100, description="quality of jpeg and webp, 1 to 100; 0: 90")
    seed: int | None = Field(None, description="which translation a model with noise makes; 0 where not given")

    ray: str = Field(
        "auto",
        description="address of the Ray cluster; auto: the one of this node if there is one; local: one of its own",
    )
    devices: Literal["auto", "cpu", "cuda", "tensorrt"] = Field(
        "auto", description="where models run; auto: CUDA where the cluster has GPUs, else the CPU"
    )
    actors: NonNegativeInt = Field(
        0, description="actors at most; 0: as many as the cluster has GPUs, or cores by the number of --cpus"
    )
    cpus: PositiveFloat = Field(
        2.0,
        description="cores of an actor: where models run on the CPU so many pictures at once, else for decoding and "
        "encoding",
    )
    gpus: PositiveFloat = Field(
        1.0, description="GPUs of an actor, where models run on them; below 1, several actors share one"
    )
    max_batch_size: PositiveInt | Literal["auto"] = Field("auto", description="most pictures in a run of the engine")
    unit: PositiveInt = Field(
        256, description="pictures that an actor takes at a time, and repeats when it dies; a shard is one"
    )
    window: PositiveInt = Field(64, description="pictures that an actor has in hand at a time, from reading to writing")
    max_picture_bytes: PositiveInt = Field(32 * 2**20, description="largest picture file accepted, in bytes")
    max_picture_pixels: PositiveInt = Field(33_554_432, description="most pixels of a picture accepted")
    report_every: NonNegativeFloat = Field(10.0, description="seconds between lines of progress; 0: none")

    @model_validator(mode="after")
    def _places_are_named(self) -> BulkSettings:
        if not self.input.strip():
            raise ValueError("the input is empty; name a folder, or a URL such as s3://bucket/prefix")
        if not self.output.strip():
            raise ValueError("--output is empty; name a folder, or a URL such as s3://bucket/prefix")
        return self

    @model_validator(mode="after")
    def _quality_is_of_a_format_that_has_one(self) -> BulkSettings:
        if self.quality and self.format == "png":
            raise ValueError("--quality: png has none; leave it out, or ask for --format jpeg or webp")
        return self
