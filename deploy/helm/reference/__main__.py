"""Writes the chart's values.schema.json and README.md; with --check, tells which of the committed ones are stale."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from deploy.helm.reference import readme, schema
from deploy.helm.reference.values import ValuesError, read

CHART = Path(__file__).parents[1] / "lapis"


def generated() -> dict[Path, str]:
    """Returns what the files should hold."""
    values = read(CHART / "values.yaml")
    settings = (CHART / "templates/_settings.tpl").read_text()
    return {
        CHART / "values.schema.json": schema.text(values, settings),
        CHART / "README.md": readme.text(values, CHART),
    }


def main() -> None:
    """Is the command line."""
    parser = argparse.ArgumentParser(prog="python -m deploy.helm.reference", description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 where a file is stale")
    check = parser.parse_args().check
    try:
        files = generated()
    except (ValuesError, schema.BoundsError) as error:
        sys.exit(f"values: {error}")
    stale = [path for path, text in files.items() if not path.exists() or path.read_text() != text]
    if check and stale:
        sys.exit(f"stale: {', '.join(path.name for path in stale)}; run `python -m deploy.helm.reference`")
    for path in stale:
        path.write_text(files[path])


if __name__ == "__main__":
    main()
