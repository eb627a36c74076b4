"""Each metric of the service is documented, by the name under which it is scraped, and no other is."""

from __future__ import annotations

import re
from pathlib import Path

from service.metrics import Metrics


def registered() -> set[str]:
    """Returns the names of our own metrics as Prometheus sees them."""
    families = [family for family in Metrics().registry.collect() if family.name.startswith("lapis_")]
    return {f"{family.name}_total" if family.type == "counter" else family.name for family in families}


def test_metrics_and_their_documentation_name_the_same(root: Path) -> None:
    documentation = "".join(path.read_text() for path in (root / "README.md", *root.glob("service/*.md")))
    assert set(re.findall(r"`(lapis_[a-z_]+)`", documentation)) == registered()


def test_every_metric_says_what_it_measures() -> None:
    silent = [family.name for family in Metrics().registry.collect() if not family.documentation.strip()]
    assert silent == []
