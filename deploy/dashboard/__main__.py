"""Writes the dashboard; with --check, tells whether the committed one is stale. Needs grafana-foundation-sdk."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from grafana_foundation_sdk.cog.encoder import JSONEncoder

from deploy.dashboard.board import build

DASHBOARD = Path(__file__).parents[1] / "helm/lapis/files/dashboard.json"


def main() -> None:
    """Is the command line."""
    parser = argparse.ArgumentParser(prog="python -m deploy.dashboard", description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 where the dashboard is stale")
    check = parser.parse_args().check
    text = JSONEncoder(sort_keys=True, indent=2).encode(build()) + "\n"
    if not check:
        DASHBOARD.write_text(text)
    elif not DASHBOARD.exists() or DASHBOARD.read_text() != text:
        sys.exit(f"stale: {DASHBOARD.name}; run `python -m deploy.dashboard`")


if __name__ == "__main__":
    main()
