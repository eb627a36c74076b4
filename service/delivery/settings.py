"""The settings of `lapis-models`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from lapis.command import CommandSettings
from pydantic import BaseModel, Field, NonNegativeFloat, PositiveInt, SecretStr, field_validator, model_validator
from pydantic_settings import CliPositionalArg, CliSubCommand, SettingsConfigDict

from service.delivery.endpoint import EXPECTED, is_endpoint
from service.delivery.layout import Place

GIB = 1 << 30

Sha256 = Annotated[str, Field(pattern=r"^(sha256:)?[0-9a-fA-F]{64}$|^$")]


class _Delivery(BaseModel):
    """What both directions share."""

    place: str = Field(
        "", alias="as", description="NAME/VERSION of a single model that does not lie in folders of that name"
    )
    plain_http: bool = Field(False, description="speak to the registry without TLS")
    registry_config: Path | None = Field(
        None,
        description="file with registries' credentials, as docker login writes it; the usual ones if none is named",
    )
    registry_user: str = Field("", description="user at the registry, in place of what such a file says")
    registry_password: SecretStr = Field(
        SecretStr(""), description="the user's password or token; better given by the environment than as a flag"
    )
    ca_certificate: Path | None = Field(
        None, description="file (PEM) with the authorities that the other side's certificate may come from"
    )
    patience: NonNegativeFloat = Field(
        120.0, description="seconds of pauses between tries, without any progress, before it gives up"
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="least severe log lines written"
    )
    log_format: Literal["auto", "json", "console"] = Field(
        "auto", description="form of log lines, on stderr; auto: console on a terminal, else json"
    )

    @field_validator("place")
    @classmethod
    def _place_is_one(cls, place: str) -> str:
        if place:
            Place.parse(place)
        return place

    @field_validator("ca_certificate", "registry_config")
    @classmethod
    def _file_is_there(cls, path: Path | None) -> Path | None:
        if path and not path.is_file():
            raise ValueError("no such file")
        return path

    @model_validator(mode="after")
    def _password_has_a_user(self) -> _Delivery:
        if bool(self.registry_user) != bool(self.registry_password.get_secret_value()):
            raise ValueError("--registry-user and --registry-password go together")
        return self

    @property
    def wanted_place(self) -> Place | None:
        """The place, None where the model's folders tell it."""
        return Place.parse(self.place) if self.place else None


class Fetch(_Delivery):
    """Brings models into a folder, whole and checked; does nothing where they are there already."""

    url: CliPositionalArg[str] = Field(
        description="s3://, gs:// or az:// BUCKET/FOLDER, https://…/model.onnx or .tar.gz, "
        "oci://REGISTRY/REPOSITORY:TAG, file:///FOLDER"
    )
    output: Path = Field(description="folder to put them in, as NAME/VERSION/model.onnx")
    sha256: Sha256 = Field(
        "",
        description="what must come: the SHA-256 of the file, of the image's manifest, or of a folder's SHA256SUMS",
    )
    max_bytes: PositiveInt = Field(4 * GIB, description="most bytes that are taken, unpacked")
    endpoint: str = Field(
        "", description="address of an object store that is not the cloud's own, as http://minio:9000"
    )
    anonymous: bool = Field(False, description="ask the object store as nobody")
    authorization: SecretStr = Field(
        SecretStr(""),
        description="value of the header of that name for https://, as in 'Bearer …'; better by environment",
    )

    @field_validator("sha256")
    @classmethod
    def _bare(cls, sha256: str) -> str:
        return sha256.removeprefix("sha256:").lower()

    @field_validator("endpoint")
    @classmethod
    def _is_an_address(cls, endpoint: str) -> str:
        if endpoint and not is_endpoint(endpoint):
            raise ValueError(f"must be {EXPECTED}")
        return endpoint


class Push(_Delivery):
    """Makes an image of a folder's models, pushes it, and prints its reference by digest."""

    folder: CliPositionalArg[Path] = Field(description="folder with NAME/VERSION/model.onnx")
    reference: CliPositionalArg[str] = Field(description="oci://REGISTRY/REPOSITORY:TAG")


class ModelsSettings(CommandSettings):
    """Brings models from stores, web servers and registries to where they are served, and to registries."""

    model_config = SettingsConfigDict(env_prefix="LAPIS_MODELS_", env_nested_delimiter="__")

    fetch: CliSubCommand[Fetch] = Field(description="bring models into a folder")
    push: CliSubCommand[Push] = Field(description="push a folder's models to a registry, as an image")
