"""What follows an answer as trailing metadata: where the time went, how loaded the server is, which trace it was."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from service.edge.load_report import KEY
from service.telemetry import tracing

if TYPE_CHECKING:
    from service.edge.call import Call
    from service.edge.load_report import LoadReport

    Metadata = tuple[tuple[str, str | bytes], ...]

TIMING_KEY = "server-timing"


def trailers(call: Call, load: LoadReport | None) -> Metadata:
    """Return the trailing metadata of a call that is done; `load` is None where it is not to be told."""
    traced = tuple(tracing.headers_of(call.span).items())
    return ((TIMING_KEY, server_timing(call)), *load_trailers(load), *traced)


def load_trailers(load: LoadReport | None) -> Metadata:
    """Return what tells of the load."""
    return ((KEY, load.current()),) if load else ()


def server_timing(call: Call) -> str:
    """Return where the time went, in milliseconds, in the syntax of HTTP's Server-Timing header (W3C)."""
    total = f"total;dur={(time.monotonic() - call.started) * 1e3:.3f}"
    if call.made is None:
        return total
    took = call.made.timings
    return (
        f"decode;dur={took.decode * 1e3:.3f}, queue;dur={took.queue * 1e3:.3f}, infer;dur={took.infer * 1e3:.3f}, "
        f"encode;dur={took.encode * 1e3:.3f}, {total}"
    )
