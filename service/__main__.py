"""The command `lapis-serve`."""

from __future__ import annotations

from typing import NoReturn

from lapis.command import run

from service.errors import StartupError
from service.settings import ServeSettings


def main() -> NoReturn:
    """Run the command."""
    run("lapis-serve", ServeSettings, _serve_or_ask, errors=(StartupError,))


def _serve_or_ask(settings: ServeSettings) -> int:
    # Imported when it is known which: a probe is run every few seconds, and is over before a server's libraries, ONNX
    # Runtime's among them, are loaded.
    if settings.probe:
        from service.probe import probe  # noqa: PLC0415

        return probe(settings)
    from service.serving import serve  # noqa: PLC0415

    return serve(settings)


if __name__ == "__main__":
    main()
