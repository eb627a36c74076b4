"""Which Lapis this is."""

from __future__ import annotations

from importlib.metadata import version
from typing import TYPE_CHECKING

from prometheus_client.metrics_core import GaugeMetricFamily
from prometheus_client.registry import Collector

if TYPE_CHECKING:
    from collections.abc import Iterator


class BuildInfo(Collector):
    """Tells the version; of several processes, the one that answers for all tells it."""

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Yield the one series."""
        family = GaugeMetricFamily("lapis_build_info", "1, with the version of Lapis that runs.", labels=["version"])
        family.add_metric([version("lapis")], 1.0)
        yield family
