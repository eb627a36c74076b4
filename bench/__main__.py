"""The command `lapis-bench`."""

from __future__ import annotations

import os
from typing import NoReturn

# Read when gRPC is imported: its notes on connections are not for the reader of a command's output.
os.environ.setdefault("GRPC_VERBOSITY", "ERROR")

from lapis.command import run

from bench.errors import BenchError
from bench.settings import BenchSettings


def main() -> NoReturn:
    """Runs the command."""
    run("lapis-bench", BenchSettings, _bench, errors=(BenchError, OSError), extra="bench")


def _bench(settings: BenchSettings) -> int:
    # Not above: --help and wrong flags are answered where only the service is installed, too.
    from bench.command import bench  # noqa: PLC0415

    return bench(settings)


if __name__ == "__main__":
    main()
