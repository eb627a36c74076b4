"""The table of a server's models."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from lapis.client import Model, PictureSpec

_HEAD = ("MODEL", "VERSION", "STATE", "INPUT", "OUTPUT", "PROVIDER", "MAX BATCH", "LABELS")


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
    )


def _size(spec: PictureSpec) -> str:
    """Writes width x height x channels, with `any` for a free one."""
    return "x".join("any" if number == -1 else str(number) for number in (spec.width, spec.height, spec.channels))
