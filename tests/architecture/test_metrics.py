"""Each metric of the service is documented, by the name under which it is scraped, and no other is."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry

from service.edge.certificate import CertificateExpiry
from service.telemetry.build import BuildInfo
from service.telemetry.instruments import Instruments, SupervisorInstruments
from service.telemetry.nvml import GpuCollector

if TYPE_CHECKING:
    from prometheus_client.metrics_core import Metric


def families() -> list[Metric]:
    """Returns our own metrics: of a server and its build, of a supervisor of several, and of GPUs, if any."""
    registry = CollectorRegistry()
    Instruments(registry)
    SupervisorInstruments(registry)
    registry.register(BuildInfo())
    registry.register(CertificateExpiry(None))
    return [*registry.collect(), *GpuCollector(()).describe()]


def registered() -> set[str]:
    """Returns their names as Prometheus sees them."""
    return {f"{family.name}_total" if family.type == "counter" else family.name for family in families()}


def test_metrics_and_their_documentation_name_the_same(root: Path) -> None:
    documentation = "".join(path.read_text() for path in (root / "README.md", *root.glob("service/*.md")))
    assert set(re.findall(r"`((?:lapis|nv)_[a-z_]+)`", documentation)) == registered()


def test_every_metric_says_what_it_measures() -> None:
    assert [family.name for family in families() if not family.documentation.strip()] == []
