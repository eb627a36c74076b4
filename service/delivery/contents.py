"""What a manifest or an index of a registry says, as far as it matters here.

Whoever fills a registry writes them, so they are taken to be hostile: other types than the OCI specifies are refused.
"""

from __future__ import annotations

from typing import Self

from pydantic import BaseModel, ConfigDict, Field, NonNegativeInt, ValidationError

from service.delivery.errors import Refused


class _Document(BaseModel):
    model_config = ConfigDict(strict=True, frozen=True)


class Platform(_Document):
    """The machine that an image is for; "" where it does not say."""

    os: str = ""
    architecture: str = ""


class Descriptor(_Document):
    """Refers to a layer or to a manifest."""

    digest: str = ""
    media_type: str = Field("", alias="mediaType")
    size: NonNegativeInt | None = None
    annotations: dict[str, str] | None = None
    platform: Platform | None = None


class Contents(_Document):
    """Of a manifest the layers, of an index the manifests; None for what it has not."""

    layers: list[Descriptor] | None = None
    manifests: list[Descriptor] | None = None

    @classmethod
    def read(cls, content: bytes, where: str) -> Self:
        """Return what the JSON document says; raises Refused, which names `where` and the field."""
        try:
            return cls.model_validate_json(content)
        except ValidationError as error:
            wrong = error.errors(include_url=False)[0]
            field = ".".join(map(str, wrong["loc"]))
            reason = f"{field} in its manifest: {wrong['msg']}" if field else "its manifest is no JSON object"
            raise Refused(f"{where}: {reason}") from error
