"""`lapis-export`: a checkpoint becomes a proven model file; or model files are described, verified or compared."""

from __future__ import annotations

from typing import Any

from lapis.command import run
from lapis.ending import unwinding

from export.errors import ExportError, NotVerified
from export.settings import ExportSettings


def main() -> None:
    """Runs the command."""
    with unwinding("lapis-export", ", nothing was written"):
        run("lapis-export", ExportSettings, _command, (ExportError,), extra="export")


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


if __name__ == "__main__":
    main()
