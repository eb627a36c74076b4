"""The image that models are pushed as: one layer, under an index that offers it to every kind of node.

It is an image and not a bare artifact because every container runtime can mount images as volumes. Its contents suit
any processor, so an index names it for each: some runtimes refuse images that were made for another.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from service.delivery.registry import INDEX, MANIFEST

if TYPE_CHECKING:
    from collections.abc import Mapping

    from service.delivery.layer import Layer

ARCHITECTURES = ("amd64", "arm64")

_LAYER = "application/vnd.oci.image.layer.v1.tar"
_CONFIG = "application/vnd.oci.image.config.v1+json"


@dataclass(frozen=True)
class Document:
    """A JSON document that a registry keeps."""

    media_type: str
    content: bytes

    @property
    def sha256(self) -> str:
        """SHA-256 of its bytes."""
        return hashlib.sha256(self.content).hexdigest()

    def described(self, **more: object) -> dict[str, Any]:
        """Return how others refer to it."""
        return _descriptor(self.media_type, self.sha256, len(self.content)) | more


@dataclass(frozen=True)
class Image:
    """All that is to be written besides the layer: configurations, manifests by architecture, and the index."""

    configurations: tuple[Document, ...]
    manifests: tuple[Document, ...]
    index: Document


def image_of(layer: Layer, annotations: Mapping[str, str]) -> Image:
    """Return the image with that one layer."""
    configurations = tuple(_configuration(layer, architecture) for architecture in ARCHITECTURES)
    manifests = tuple(_manifest(configuration, layer, annotations) for configuration in configurations)
    described = [
        manifest.described(platform={"architecture": architecture, "os": "linux"})
        for architecture, manifest in zip(ARCHITECTURES, manifests, strict=True)
    ]
    contents = {"schemaVersion": 2, "mediaType": INDEX, "manifests": described, "annotations": dict(annotations)}
    return Image(configurations, manifests, _document(INDEX, contents))


def _configuration(layer: Layer, architecture: str) -> Document:
    diff = {"type": "layers", "diff_ids": [f"sha256:{layer.sha256}"]}
    return _document(_CONFIG, {"architecture": architecture, "os": "linux", "config": {}, "rootfs": diff})


def _manifest(configuration: Document, layer: Layer, annotations: Mapping[str, str]) -> Document:
    contents = {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": configuration.described(),
        "layers": [_descriptor(_LAYER, layer.sha256, layer.size)],
        "annotations": dict(annotations),
    }
    return _document(MANIFEST, contents)


def _document(media_type: str, contents: object) -> Document:
    return Document(media_type, json.dumps(contents, sort_keys=True, separators=(",", ":")).encode())


def _descriptor(media_type: str, sha256: str, size: int) -> dict[str, Any]:
    return {"mediaType": media_type, "digest": f"sha256:{sha256}", "size": size}
