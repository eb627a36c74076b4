"""The settings of `lapis-translate`, and what follows from them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal, Self

import grpc
from pydantic import Field, PositiveFloat, PositiveInt, field_validator, model_validator
from pydantic_settings import CliPositionalArg, SettingsConfigDict

from lapis.client import DEFAULT_ADDRESS, Balancing, ConnectOptions, Fit, Priority, Size, TranslateOptions
from lapis.client.address import check_address
from lapis.client.messages import LARGEST_SEED, SMALLEST_SEED
from lapis.command import CommandSettings
from lapis.output import FORMATS, FileFormat, is_file_name
from lapis.seeds import parse_seeds


class Settings(CommandSettings):
    """Translate pictures with a Lapis server: files, and folders with all that is in them.

    Exit code 0: all translated; 1: some failed; 2: wrong usage or no server; 130: interrupted.
    """

    model_config = SettingsConfigDict(env_prefix="LAPIS_TRANSLATE_")

    inputs: CliPositionalArg[tuple[Path, ...]] = Field(
        (),
        description="pictures, and folders that are searched recursively for "
        ".png, .jpg, .jpeg and .webp; hidden files are left out",
    )
    list: Path | None = Field(
        None,
        description="file that names pictures and folders, one a line, as if they were named here; what follows a tab "
        "is the picture's name below --output; - is standard input",
    )
    root: Path | None = Field(
        None, description="folder relative to which pictures keep their names, instead of each input's own"
    )
    output: Path | None = Field(
        None,
        description="where the translations go: a file (named .png, .jpg, .jpeg or .webp) for one picture, "
        "else a folder, in which pictures keep their names relative to the folder they come from",
    )
    overwrite: bool = Field(False, description="replace outputs that exist; inputs are never replaced")
    resume: bool = Field(False, description="skip pictures whose outputs are there, whole, from an earlier run")
    failures: Path | None = Field(
        None, description="file that gets the pictures that failed, in the form that --list reads"
    )
    server: str = Field(
        DEFAULT_ADDRESS,
        description="the server's gRPC address, HOST:PORT, several with commas between, or a gRPC target such as "
        "dns:///HOST:PORT",
    )
    balancing: Balancing = Field(
        "round_robin",
        description="how pictures are spread over several servers; weighted_round_robin: the less to one the more "
        "loaded it says it is",
    )
    tls: bool = Field(False, description="encrypt, and check the server's certificate against the system's authorities")
    ca: Path | None = Field(None, description="file of the authorities (PEM) to check against instead; means --tls")
    certificate: Path | None = Field(
        None, description="file (PEM) of a certificate to show to servers that ask callers for one; means --tls"
    )
    key: Path | None = Field(None, description="file (PEM) with that certificate's key")
    token: str = Field(
        "", repr=False, description="sent as `authorization: Bearer TOKEN`; others can read flags, so set the variable"
    )
    models: bool = Field(False, description="list the server's models instead")
    model: str = Field("", description="the model; the server's default or only one where empty")
    model_version: str = Field(
        "", description="the model's version, or a label of it; the highest that is ready where empty"
    )
    fit: Fit | Literal["auto"] = Field(
        "auto",
        description="how a picture is brought to the model's size; tile: not at all, but cut into "
        "pieces of that size and put together again; none: it has a size that the model takes; auto: stretch, and none "
        "for a model that takes many sizes",
    )
    seed: int | None = Field(
        None,
        ge=SMALLEST_SEED,
        le=LARGEST_SEED,
        description="which of its many translations a model with noise makes; the server's 0 where not given",
    )
    seeds: str = Field(
        "",
        description="several translations of each picture, one for each seed, as in 0-7 or 1,5,10-19; the outputs are "
        "named NAME.seedN.png",
    )
    format: FileFormat | None = Field(None, description="format of the outputs; as the output file is named, else png")
    quality: int = Field(0, ge=0, le=100, description="quality of jpeg and webp, 1 to 100; the server's 90 where 0")
    size: Size = Field("model", description="size of the outputs: the model's, or that of the input picture")
    timeout: PositiveFloat = Field(60.0, description="seconds that a picture may take on the server, waiting included")
    priority: Priority | Literal["auto"] = Field(
        "auto", description="who goes first where requests wait; auto: normal for one picture, low for many"
    )
    connect_timeout: float = Field(10.0, ge=0, description="seconds to wait for a server that is not there yet")
    concurrency: PositiveInt = Field(32, description="pictures in hand at a time, from reading to writing")
    streams: PositiveInt | Literal["auto"] = Field(
        "auto", description="calls that carry the pictures; auto: as many as --server stands for addresses"
    )
    retry_max_time: float = Field(
        300.0, ge=0, description="seconds to wait in all, for each picture, while the server is full, loading or gone"
    )

    @field_validator("server")
    @classmethod
    def _is_an_address(cls, server: str) -> str:
        return check_address(server)

    @field_validator("seeds")
    @classmethod
    def _are_seeds(cls, seeds: str) -> str:
        if seeds:
            parse_seeds(seeds)
        return seeds

    @field_validator("ca", "certificate", "key")
    @classmethod
    def _can_be_read(cls, file: Path | None) -> Path | None:
        if file and not os.access(file, os.R_OK):
            raise ValueError("cannot be read")
        return file

    @model_validator(mode="after")
    def _certificate_and_key_come_together(self) -> Self:
        if (self.certificate is None) != (self.key is None):
            raise ValueError("--certificate and --key belong together: give both")
        return self

    @model_validator(mode="after")
    def _says_what_to_do(self) -> Self:
        if self.models:
            return self
        if not self.inputs and not self.list:
            raise ValueError("name at least one picture or folder (see lapis-translate --help)")
        if self.overwrite and self.resume:
            raise ValueError("--overwrite does again what --resume skips: give one of them")
        if self.output is None:
            raise ValueError("--output is required: a file for one picture, else a folder")
        if is_file_name(self.output) and self.file_format != FORMATS[self.output.suffix.lower()]:
            raise ValueError(f"--output {self.output} is not named as --format {self.format} would be")
        if self.quality and self.file_format == "png":
            raise ValueError("--quality is for jpeg and webp: png has none")
        if self.seed is not None and self.seeds:
            raise ValueError("--seed is for one translation of each picture, --seeds for several: give one of them")
        return self

    @property
    def file_format(self) -> FileFormat:
        """The format of the outputs."""
        named = self.output is not None and is_file_name(self.output) and FORMATS[self.output.suffix.lower()]
        return self.format or named or "png"

    @property
    def each_seed(self) -> tuple[int, ...]:
        """The seeds that each picture is translated with, where there are several."""
        return parse_seeds(self.seeds) if self.seeds else ()

    @property
    def options(self) -> TranslateOptions:
        """What is asked of the server for each picture."""
        options = TranslateOptions(
            model=self.model,
            version=self.model_version,
            format=self.file_format,
            quality=self.quality,
            size=self.size,
            seed=self.seed,
        )
        return options if self.fit == "auto" else {**options, "fit": self.fit}

    @property
    def connection(self) -> ConnectOptions:
        """How the servers are reached."""
        return ConnectOptions(balancing=self.balancing, credentials=self._credentials(), token=self.token)

    def _credentials(self) -> grpc.ChannelCredentials | None:
        if not (self.tls or self.ca or self.certificate):
            return None
        roots, key, chain = (path.read_bytes() if path else None for path in (self.ca, self.key, self.certificate))
        return grpc.ssl_channel_credentials(roots, key, chain)
