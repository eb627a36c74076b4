"""Puts the description into a model file, and reads it out."""

from __future__ import annotations

from typing import TYPE_CHECKING

import onnx
from google.protobuf.message import DecodeError
from pydantic import ValidationError

from export.errors import ModelFileError
from export.metadata import KEY, Metadata

if TYPE_CHECKING:
    from pathlib import Path


def attach(model: onnx.ModelProto, metadata: Metadata) -> None:
    """Writes the description into the model, in place of one it may have."""
    kept = [entry for entry in model.metadata_props if entry.key != KEY]
    del model.metadata_props[:]
    model.metadata_props.extend(kept)
    model.metadata_props.add(key=KEY, value=metadata.model_dump_json())


def read(path: Path) -> Metadata:
    """Reads the description out of a model file; raises ModelFileError where there is none."""
    try:
        model = onnx.load(path, load_external_data=False)
    except OSError as error:
        raise ModelFileError(f"{path}: {error.strerror}") from error
    except DecodeError as error:
        raise ModelFileError(f"{path} is not an ONNX file") from error
    for entry in model.metadata_props:
        if entry.key == KEY:
            return _parse(path, entry.value)
    raise ModelFileError(f"{path} carries no {KEY!r} metadata; lapis-export writes it")


def _parse(path: Path, text: str) -> Metadata:
    try:
        return Metadata.model_validate_json(text)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or KEY
        raise ModelFileError(f"{path}: metadata {where}: {first['msg']}") from error
