"""What a registry holds: a container image, or an artifact of files, as a source of models."""

from __future__ import annotations

import platform
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from service.delivery.contents import Contents, Platform
from service.delivery.errors import Refused
from service.delivery.layout import safe_parts
from service.delivery.offer import Offer, Part
from service.delivery.registry import DOCKER_INDEX, INDEX

if TYPE_CHECKING:
    from collections.abc import Iterator

    from service.delivery.contents import Descriptor
    from service.delivery.offer import Form
    from service.delivery.registry import Manifest, Registry

# How artifacts say what a layer's file is called: ORAS and those that follow it, and the CNCF's model format.
_TITLES = ("org.opencontainers.image.title", "org.cncf.model.filepath")
_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}
_DIGEST = re.compile(r"sha256:([0-9a-f]{64})")


@dataclass
class Artifact:
    """An image or an artifact; of an image for several platforms, that for this one."""

    registry: Registry

    def offer(self) -> Offer:
        """Return its layers, in their order."""
        reference = self.registry.reference
        manifest = self.registry.manifest(reference.name)
        contents = self._image(manifest)
        parts = [part for layer in contents.layers or [] if (part := self._part(layer))]
        if not parts:
            raise Refused(f"{reference}: no layer with files in it")
        return Offer(manifest.sha256, parts, sha256=manifest.sha256)

    def _image(self, manifest: Manifest) -> Contents:
        contents = self._parse(manifest)
        if manifest.media_type not in {INDEX, DOCKER_INDEX} and contents.manifests is None:
            return contents
        chosen = _for_this_platform(contents.manifests or [])
        if chosen is None:
            raise Refused(f"{self.registry.reference}: holds nothing for linux/{_architecture()}")
        return self._parse(self.registry.manifest(f"sha256:{self._sha256(chosen)}"))

    def _parse(self, manifest: Manifest) -> Contents:
        return Contents.read(manifest.content, str(self.registry.reference))

    def _part(self, layer: Descriptor) -> Part | None:
        """Return what the layer holds, None where it is no file that has a name."""
        sha256 = self._sha256(layer)
        annotations = layer.annotations or {}
        title = next((annotations[key] for key in _TITLES if annotations.get(key)), "")
        form = self._form(layer.media_type)
        if form == "file" and not title:
            return None

        def read(offset: int) -> Iterator[bytes]:
            return self.registry.blob(sha256, offset)

        path = safe_parts(title, str(self.registry.reference)) if title else (f"sha256:{sha256[:12]}",)
        return Part(path, form, read, layer.size, sha256)

    def _form(self, media_type: str) -> Form:
        if media_type.endswith(("tar+gzip", "tar.gzip")):
            return "tar.gz"
        if media_type.endswith((".tar", "+tar")):
            return "tar"
        if media_type.endswith(("zstd", "encrypted")):
            raise Refused(
                f"{self.registry.reference}: cannot unpack a layer of type {media_type}; expected tar or tar+gzip"
            )
        return "file"

    def _sha256(self, descriptor: Descriptor) -> str:
        match = _DIGEST.fullmatch(descriptor.digest)
        if not match:
            raise Refused(f"{self.registry.reference}: expected a digest sha256:… ({descriptor.digest!r})")
        return match[1]


def _architecture() -> str:
    machine = platform.machine()
    return _ARCHITECTURES.get(machine, machine)


def _for_this_platform(manifests: list[Descriptor]) -> Descriptor | None:
    """Return the image for this machine, or the only one that is an image at all."""
    images = [(one.platform or Platform(), one) for one in manifests]
    images = [(platform, one) for platform, one in images if platform.os != "unknown"]
    ours = [one for platform, one in images if platform.architecture == _architecture()]
    chosen = ours or ([images[0][1]] if len(images) == 1 else [])
    return chosen[0] if chosen else None
