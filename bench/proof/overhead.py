"""What the service costs beyond a bare gRPC server: calls per second with a model that does nothing."""

from __future__ import annotations

import statistics
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench import report
from bench.proof.claim import Claim, Proof
from bench.proof.identity import write_identity
from bench.proof.loads import brief, load
from bench.proof.server import ServerProcess, lapis_serve

if TYPE_CHECKING:
    from bench.load import Measured
    from bench.proof.settings import ProofSettings

SIDE = 256
WORKERS = (1, 2)
FLAGS = "--devices cpu --instances 1 --cpu-mode throughput"
# As many connections as callers, so that a port's workers all get some.
CONNECTIONS = 16


def prove(settings: ProofSettings) -> Proof:
    """Lets the service and the echo, with one and two workers each, take turns."""
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        write_identity(Path(folder) / "identity" / "1" / "model.onnx", SIDE)
        servers = {name: stack.enter_context(server) for name, server in _servers(settings, Path(folder)).items()}
        taken: dict[str, list[Measured]] = {name: [] for name in servers}
        for _ in range(settings.turns()):
            for name, server in servers.items():
                taken[name].append(_turn(name, server, settings.load_seconds()))
    figures = {name: _figures(turns) for name, turns in taken.items()}
    ratios = {workers: _over(figures, workers) for workers in WORKERS}
    claims = [
        Claim.told(f"calls/s of the service over the echo's, processes of each: {workers}", ratio)
        for workers, ratio in ratios.items()
    ]
    return Proof(claims, {"message_bytes": SIDE * SIDE * 3, **figures})


def _servers(settings: ProofSettings, models: Path) -> dict[str, ServerProcess]:
    echo = [sys.executable, "-m", "bench.proof.echo", "--side", str(SIDE), "--workers"]
    flags = settings.flags(FLAGS)
    return {
        f"{kind}_{workers}": ServerProcess([*echo, str(workers)])
        if kind == "echo"
        else lapis_serve(models, [*flags, "--workers", str(workers)])
        for workers in WORKERS
        for kind in ("echo", "service")
    }


def _turn(name: str, server: ServerProcess, seconds: float) -> Measured:
    return load(
        name,
        server,
        concurrency=CONNECTIONS,
        connections=CONNECTIONS,
        pictures=f"raw:{SIDE}",
        answer="raw",
        seconds=seconds,
        warmup=1,
    )


def _figures(turns: list[Measured]) -> dict[str, Any]:
    rates = [report.figures(one)["rates"]["goodput"] for one in turns]
    return {"calls_per_second": statistics.median(rates), "by_turn": rates, "last": brief(turns[-1])}


def _over(figures: dict[str, Any], workers: int) -> float:
    """Returns the median of the ratios, turn by turn: what else the machine did weighed on both."""
    pairs = zip(figures[f"service_{workers}"]["by_turn"], figures[f"echo_{workers}"]["by_turn"], strict=True)
    return float(statistics.median(ours / theirs for ours, theirs in pairs))
