"""Graphs of small networks as the export makes them, and ways to run them and look inside."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from numpy.typing import NDArray

from export import forms, graph, noise, optimize, statistics
from export.metadata import PictureSpec
from export.translator import Translator

Run = Callable[..., NDArray[np.uint8]]


@pytest.fixture(scope="session")
def make_graph(make_generator: Callable[..., torch.nn.Module]) -> Callable[..., onnx.ModelProto]:
    """Makes the fp32 graph of a random generator: `make_graph("phases", "image", netG=…)`."""

    @cache  # tracing takes seconds, and no test changes the graph that it is given
    def make(
        decoder: str,
        kind: str = "running",
        *,
        dtype: str = "uint8",
        multiple: int = 0,
        seeded: bool = False,
        lab: bool = False,
        **architecture: object,
    ) -> onnx.ModelProto:
        frozen = statistics.freeze(make_generator(**architecture), kind)
        frozen = forms.rewrite(noise.seed_dropout(frozen) if seeded else frozen, decoder)
        side = PictureSpec.of(128, 128, 3, dtype=dtype, multiple=multiple, smallest=multiple)
        translator = Translator(frozen, given=side, made=side, seeded=seeded, lab=lab)
        return optimize.clean(graph.to_onnx(translator))

    return make


@pytest.fixture(scope="session")
def run_graph() -> Run:
    """Runs a graph over pictures, `rows` at a time, with the seeds where there are some."""

    def run(
        model: onnx.ModelProto, pictures: NDArray[np.uint8], rows: int = 1, seeds: NDArray[np.int64] | None = None
    ) -> NDArray[np.uint8]:
        session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
        found = []
        for start in range(0, len(pictures), rows):
            seed = {} if seeds is None else {"seed": seeds[start : start + rows]}
            found.append(session.run(None, {"image": pictures[start : start + rows], **seed})[0])
        return np.concatenate(found)

    return run


@pytest.fixture
def optimised(tmp_path: Path) -> Callable[[onnx.ModelProto], onnx.GraphProto]:
    """Returns what ONNX Runtime really runs of a graph on this machine's CPU."""

    def look(model: onnx.ModelProto) -> onnx.GraphProto:
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        options.optimized_model_filepath = str(tmp_path / "optimised.onnx")
        onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
        return onnx.load(tmp_path / "optimised.onnx").graph

    return look
