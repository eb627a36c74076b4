"""The table of a server's models."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from lapis.client import Model, PictureSpec

_HEAD = ("MODEL", "VERSION", "STATE", "INPUT", "OUTPUT", "PROVIDER", "MAX BATCH", "LABELS", "SAMPLES", "SEED")


def table(models: Iterable[Model]) -> list[str]:
    """Returns the lines of the table, headed."""
    rows = [_HEAD, *map(_row, models)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]


def _row(model: Model) -> tuple[str, ...]:
    return (
        model.name,
        model.version,
        model.state,
        _size(model.input),
        _size(model.output),
        model.provider or "-",
        str(model.max_batch_size),
        ",".join(model.labels) or "-",
        " to ".join(dict.fromkeys([model.input.dtype, model.output.dtype])) if model.provider else "-",
        ("yes" if model.takes_seed else "no") if model.provider else "-",
    )


def _size(spec: PictureSpec) -> str:
    """Writes width x height x channels, or which sizes there are."""
    if spec.multiple:
        return f"any multiple of {spec.multiple} from {spec.smallest}, x{spec.channels}"
    return f"{spec.width}x{spec.height}x{spec.channels}"
