"""A model's version is replaced by the next, again and again, and no call fails."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc
from lapis.v1 import translation_pb2 as pb
from lapis.v1 import translation_pb2_grpc as pb_grpc

from bench import report
from bench.beside import beside
from bench.errors import BenchError
from bench.load import Measured, measure
from bench.plot import plot
from bench.proof.claim import Claim, Proof
from bench.proof.loads import capacity, settings_for, tell
from bench.proof.server import copy_model, lapis_serve

if TYPE_CHECKING:
    from bench.proof.server import ServerProcess
    from bench.proof.settings import ProofSettings

SHARE = 0.5
PAUSE = 2.0
FLAGS = "--devices cpu --instances 1 --cpu-mode throughput --repository-poll 0.5"


def prove(settings: ProofSettings) -> Proof:
    """Loads one server while versions come into its repository and old ones go."""
    source = _first_version(settings.models)
    with tempfile.TemporaryDirectory() as folder:
        model = Path(folder) / source.parent.name
        copy_model(source, model / "1")
        with lapis_serve(Path(folder), settings.flags(FLAGS)) as server:
            able = capacity(server, settings.callers, 5)
            measured = asyncio.run(_loaded(settings, server, source, model, SHARE * able))
    tell("versions", measured)
    claims = [
        Claim.at_most("failed calls", measured.tally.count("failed", "unsent"), 0),
        Claim.at_least("versions that answered", len(measured.tally.models), 3),
    ]
    figures = {"capacity": able, "answered_by": dict(measured.tally.models), "load": report.figures(measured)}
    return Proof(claims, figures, draw=lambda path: plot(measured, path))


def _first_version(models: Path) -> Path:
    """Returns the folder of the repository's first model and version."""
    for path in sorted(models.glob("*/*/model.onnx")):
        return path.parent
    raise BenchError(f"--models {models}: no NAME/VERSION/model.onnx in it")


async def _loaded(settings: ProofSettings, server: ServerProcess, source: Path, model: Path, rate: float) -> Measured:
    bench = settings_for(server, load="poisson", rate=rate, seconds=settings.load_seconds(30), deadline="10")
    async with beside(_replacing(server.address, source, model)):
        return await measure(bench, asyncio.Event())


async def _replacing(address: str, source: Path, model: Path) -> None:
    """Adds the next version, waits until it is ready, and takes out the one before, until cancelled."""
    async with grpc.aio.insecure_channel(address) as channel:
        stub: Any = pb_grpc.TranslationServiceStub(channel)
        for number in count(2):
            await asyncio.sleep(PAUSE)
            copy_model(source, model / str(number))
            while not await _is_ready(stub, number):  # noqa: ASYNC110 (another process makes it so)
                await asyncio.sleep(0.2)
            await asyncio.to_thread(shutil.rmtree, model / str(number - 1))


async def _is_ready(stub: Any, number: int) -> bool:  # noqa: ANN401 (types-grpcio knows no asyncio stubs)
    found = (await stub.ListModels(pb.ListModelsRequest())).models
    return any(one.version == str(number) and one.state == pb.MODEL_STATE_READY for one in found)
