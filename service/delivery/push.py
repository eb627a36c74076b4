"""`lapis-models push`: models of a folder as an image in a registry."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from service.delivery.errors import Refused
from service.delivery.folder import Folder, told
from service.delivery.image import image_of
from service.delivery.layer import Layer
from service.delivery.layout import select
from service.delivery.model_file import describe
from service.delivery.record import sha256_of
from service.models.labels import LABELS_FILE, LabelsError, read_labels
from service.models.repository import MODEL_FILE
from service.telemetry.logs import log

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from service.delivery.layout import Place
    from service.delivery.patience import Patience
    from service.delivery.registry import Registry

_MODELS = "lapis.models"


def push(folder: Path, registry: Registry, patience: Patience, place: Place | None = None) -> str:
    """Write the models to the registry, and return their reference by digest; raises Refused."""
    reference = registry.reference
    if not reference.tag or reference.sha256:
        raise Refused(f"{reference}: what is pushed needs a tag, and gets its digest by itself")
    files = _files(folder, place)
    layer = Layer.of(files)
    image = image_of(layer, _annotations(files))
    log.info("pushing", models=_names(files), reference=str(reference), bytes=layer.size)
    for document in image.configurations:
        _write(patience, registry.put_blob, document.sha256, lambda content=document.content: content)
    _write(patience, registry.put_blob, layer.sha256, layer.open)
    for document in image.manifests:
        _write(patience, registry.put_manifest, f"sha256:{document.sha256}", document.media_type, document.content)
    _write(patience, registry.put_manifest, reference.tag, image.index.media_type, image.index.content)
    log.info("pushed", reference=str(reference), digest=f"sha256:{image.index.sha256}")
    return reference.at(image.index.sha256)


def _write(patience: Patience, write: Callable[..., None], *arguments: object) -> None:
    patience.persist(lambda: write(*arguments))


def _files(folder: Path, place: Place | None) -> dict[tuple[str, ...], Path]:
    """Return the files by their paths in the repository, all seen to be sound; raises Refused."""
    with told():
        is_there = folder.is_dir()
    if not is_there:
        raise Refused(f"{folder}: no such folder; expected one with NAME/VERSION/{MODEL_FILE}")
    parts = [part.path for part in Folder(folder.resolve().as_uri()).offer().parts]
    files = {inner: _path(path) for path, inner in select(parts, str(folder), place).items()}
    for inner, path in files.items():
        if inner[-1] == LABELS_FILE:
            try:
                read_labels(path)
            except LabelsError as error:
                raise Refused(str(error)) from error
    return files


def _path(parts: tuple[str, ...]) -> Path:
    return Path("/", *parts)


def _names(files: Mapping[tuple[str, ...], Path]) -> list[str]:
    return sorted("/".join(inner[:-1]) for inner in files if inner[-1] == MODEL_FILE)


def _annotations(files: Mapping[tuple[str, ...], Path]) -> dict[str, str]:
    """Return what tools and people see without fetching: which models, and what each says about itself."""
    models = {"/".join(inner[:-1]): _summary(path) for inner, path in sorted(files.items()) if inner[-1] == MODEL_FILE}
    return {
        "org.opencontainers.image.title": ", ".join(models),
        "org.opencontainers.image.description": "Models for Lapis, as NAME/VERSION/model.onnx",
        _MODELS: json.dumps(models, sort_keys=True, separators=(",", ":")),
    }


def _summary(path: Path) -> dict[str, Any]:
    text = describe(path, str(path))
    about = _metadata(text, path) if text else {}
    kept = ("input", "output", "precision", "statistics", "noise", "validation", "data", "source")
    return {"sha256": sha256_of(path)} | {key: about[key] for key in kept if about.get(key)}


def _metadata(text: str, path: Path) -> dict[str, Any]:
    try:
        about = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise Refused(f"{path}: its metadata are no JSON: {error}") from error
    if not isinstance(about, dict):
        raise Refused(f"{path}: its metadata are JSON, but no object; expected what lapis-export writes")
    return about
