"""The command `python -m bench.proof`."""

from __future__ import annotations

import os
from typing import NoReturn

# Read when gRPC is imported: its notes on connections are not for the reader of a command's output.
os.environ.setdefault("GRPC_VERBOSITY", "ERROR")

from lapis.command import run

from bench.errors import BenchError
from bench.proof.settings import ProofSettings


def main() -> NoReturn:
    """Runs the command."""
    run("bench.proof", ProofSettings, _prove, errors=(BenchError, OSError), extra="dev")


def _prove(settings: ProofSettings) -> int:
    # Not above: --help is answered where only the service is installed, too.
    from bench.proof.command import prove  # noqa: PLC0415

    return prove(settings)


if __name__ == "__main__":
    main()
