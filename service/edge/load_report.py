"""How loaded the server is, told to callers with each answer (ORCA), so that they prefer the server that is less so.

The report is gRPC's own, `xds.data.orca.v3.OrcaLoadReport`. Its class is built here, with the fields that are told, and
known to nobody else: the packages that bring it overwrite other packages' files.
"""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING, Any

import grpc
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

if TYPE_CHECKING:
    from collections.abc import Callable

    from google.protobuf.message import Message

KEY = "endpoint-load-metrics-bin"

# Seconds for which a report is told again, and over which rates are averaged.
_FRESH = 0.1
_MEMORY = 2.0
# Callers take a utilization of 0 for one that is not known.
_LEAST = 0.01
# What callers send in vain because of the server; their own mistakes make it no worse than others.
_FAILURES = {
    grpc.StatusCode.UNKNOWN,
    grpc.StatusCode.DEADLINE_EXCEEDED,
    grpc.StatusCode.RESOURCE_EXHAUSTED,
    grpc.StatusCode.INTERNAL,
    grpc.StatusCode.UNAVAILABLE,
}


class LoadReport:
    """The load as of a moment ago.

    `busy` tells the share of the engines' lanes that are busy, `crowding` the share of places in the queue that are
    taken. Their sum is the utilization: about 1 when the engines have all that they can do, more when requests wait,
    and 2 when no more are let in.
    """

    def __init__(
        self, busy: Callable[[], float], crowding: Callable[[], float], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._busy = busy
        self._crowding = crowding
        self._clock = clock
        self._requests = self._failures = 0
        self._rps = self._eps = 0.0
        self._taken = clock()
        self._report = self._written()

    def count(self, code: grpc.StatusCode) -> None:
        """Count in a request that ended."""
        self._requests += 1
        if code in _FAILURES:
            self._failures += 1

    def current(self) -> bytes:
        """Return the report, for the trailing metadata of a call under KEY."""
        elapsed = self._clock() - self._taken
        if elapsed >= _FRESH:
            self._learn(elapsed)
            self._report = self._written()
        return self._report

    def _learn(self, elapsed: float) -> None:
        weight = 1 - math.exp(-elapsed / _MEMORY)
        self._rps += weight * (self._requests / elapsed - self._rps)
        self._eps += weight * (self._failures / elapsed - self._eps)
        self._requests = self._failures = 0
        self._taken += elapsed

    def _written(self) -> bytes:
        busy, crowding = self._busy(), self._crowding()
        report: Any = _OrcaLoadReport(
            application_utilization=max(_LEAST, busy + crowding), rps_fractional=self._rps, eps=self._eps
        )
        report.named_metrics.update({"busy": busy, "crowding": crowding})
        return bytes(report.SerializeToString())


def parse(report: bytes) -> Any:  # noqa: ANN401 (the class is built at run time)
    """Return a report as a message."""
    return _OrcaLoadReport.FromString(report)


def _report_class() -> type[Message]:
    file = descriptor_pb2.FileDescriptorProto(
        name="xds/data/orca/v3/orca_load_report.proto", package="xds.data.orca.v3", syntax="proto3"
    )
    report = file.message_type.add(name="OrcaLoadReport")
    field = descriptor_pb2.FieldDescriptorProto
    for name, number in (("rps_fractional", 6), ("eps", 7), ("application_utilization", 9)):
        report.field.add(name=name, number=number, type=field.TYPE_DOUBLE, label=field.LABEL_OPTIONAL)
    entry = report.nested_type.add(name="NamedMetricsEntry")
    entry.options.map_entry = True
    entry.field.add(name="key", number=1, type=field.TYPE_STRING, label=field.LABEL_OPTIONAL)
    entry.field.add(name="value", number=2, type=field.TYPE_DOUBLE, label=field.LABEL_OPTIONAL)
    report.field.add(
        name="named_metrics",
        number=8,
        type=field.TYPE_MESSAGE,
        type_name=f".{file.package}.OrcaLoadReport.NamedMetricsEntry",
        label=field.LABEL_REPEATED,
    )
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{file.package}.OrcaLoadReport"))


_OrcaLoadReport = _report_class()
