"""`lapis-export`: a checkpoint becomes a proven model file; or a model file is described."""

from __future__ import annotations

import signal
import sys
from typing import TYPE_CHECKING

from lapis.command import run

from export.errors import ExportError
from export.settings import ExportSettings

if TYPE_CHECKING:
    from types import FrameType

INTERRUPTED = 130


def main() -> None:
    """Runs the command."""
    signal.signal(signal.SIGTERM, _end)
    try:
        run("lapis-export", ExportSettings, _command, (ExportError,), extra="export")
    except KeyboardInterrupt:
        print("lapis-export: interrupted, nothing was written", file=sys.stderr)
        sys.exit(INTERRUPTED)


def _command(settings: ExportSettings) -> int:
    # Imported here, because torch takes seconds to load and the service's installation has neither torch nor onnx.
    if settings.describe is not None:
        from export.describe import describe  # noqa: PLC0415

        print(describe(settings.describe, as_json=settings.as_json))
    elif settings.checkpoint is not None:
        from export.exporter import export  # noqa: PLC0415

        export(settings, settings.checkpoint)
    return 0


def _end(signum: int, _: FrameType | None) -> None:
    """Ends as Ctrl-C does, so that nothing half-written stays."""
    sys.exit(128 + signum)


if __name__ == "__main__":
    main()
