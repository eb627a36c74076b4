"""`lapis-export`: a checkpoint becomes a proven model file; or model files are described, verified or compared."""

from __future__ import annotations

import signal
import sys
from typing import TYPE_CHECKING, Any

from lapis.command import run

from export.errors import ExportError, NotVerified
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
    elif settings.verify is not None:
        from export.verify import verify  # noqa: PLC0415

        (data,) = settings.paths
        options = _as_given(settings, "device", "direction", "max_difference", "as_json")
        try:
            print(verify(settings.verify, data, **options))
        except NotVerified as error:
            print(error.report)
            raise
    elif settings.compare is not None:
        from export.compare import compare  # noqa: PLC0415

        other, data = settings.paths
        print(
            compare(
                settings.compare,
                other,
                data,
                **_as_given(settings, "device", "direction", "output", "force", "as_json"),
            )
        )
    else:
        from export.exporter import export  # noqa: PLC0415

        export(settings, *settings.paths)
    return 0


def _as_given(settings: ExportSettings, *names: str) -> dict[str, Any]:
    return {name: getattr(settings, name) for name in names}


def _end(signum: int, _: FrameType | None) -> None:
    """Ends as Ctrl-C does, so that nothing half-written stays."""
    sys.exit(128 + signum)


if __name__ == "__main__":
    main()
