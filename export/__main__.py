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


class _Ending:
    """Ends the command on SIGINT or SIGTERM so that nothing half-written stays, and remembers which it was.

    What is interrupted may swallow the exception, or make an error of its own out of it, as torch does in the midst of
    an import. KeyboardInterrupt is not raised: some of these imports then have Python end by the signal itself.
    """

    def __init__(self) -> None:
        self.code = 0
        for signum in (signal.SIGINT, signal.SIGTERM):
            if signal.getsignal(signum) is not signal.SIG_IGN:  # as a shell has it for what runs in the background
                signal.signal(signum, self)

    def __call__(self, signum: int, _: FrameType | None) -> None:
        self.code = 128 + signum
        sys.exit(self.code)

    @property
    def by_user(self) -> bool:
        """Whether someone pressed Ctrl-C."""
        return self.code == 128 + signal.SIGINT


def main() -> None:
    """Runs the command."""
    ending = _Ending()
    try:
        run("lapis-export", ExportSettings, _command, (ExportError,), extra="export")
    except BaseException as error:
        done = isinstance(error, SystemExit) and not error.code
        if done or not ending.code:
            raise
        if ending.by_user:
            print("lapis-export: interrupted, nothing was written", file=sys.stderr)
        sys.exit(ending.code)


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
