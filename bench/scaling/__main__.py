"""`python -m bench.scaling`."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, NoReturn

from lapis.command import run

from bench.errors import BenchError
from bench.scaling.settings import ScalingSettings

if TYPE_CHECKING:
    from bench.scaling.simulate import Run


def main() -> NoReturn:
    """Runs the command."""
    run("python -m bench.scaling", ScalingSettings, _do, errors=(BenchError,), extra="bench")


def _do(settings: ScalingSettings) -> int:
    settings.output.mkdir(parents=True, exist_ok=True)
    return {"record": _record, "simulate": _simulate, "size": _size}[settings.what](settings)


def _record(settings: ScalingSettings) -> int:
    from bench.scaling import chart, plot, record  # noqa: PLC0415 (matplotlib is slow to import, and helm not everywhere)

    recorded = record.record(settings.models, settings.serve.split(), settings.seconds, chart.scaling())
    recorded.save(settings.output)
    told = json.loads((settings.output / "scaling_ramp.json").read_text(encoding="utf-8"))
    plot.plot_ramp(told, settings.output / "scaling_ramp.png")
    print(f"capacity {recorded.capacity:.1f} pictures/s; alerts that fired: {', '.join(recorded.alerts) or 'none'}")
    return 0


def _simulate(settings: ScalingSettings) -> int:
    from bench.scaling import chart, compare, costs, plot  # noqa: PLC0415

    found = chart.scaling()
    recorded = costs.load(settings.output / "scaling_costs.json")
    runs = compare.compare(settings, recorded, found.triggers[0].threshold, found.behaviour)
    told = {load: {one.name: compare.figures(one) for one in compared} for load, compared in runs.items()}
    settled = {"start": settings.start, "deadline": settings.deadline, "aim": settings.aim, "peak": settings.peak}
    (settings.output / "scaling_simulation.json").write_text(
        json.dumps({"settings": settled, "loads": told}, indent=2) + "\n", encoding="utf-8"
    )
    title = f"{settings.start:g} s to a new replica, callers wait {settings.deadline:g} s"
    plot.plot_runs(runs, settings.output / "scaling_simulation.png", title)
    for load, compared in runs.items():
        print(load)
        for one in compared:
            print(_line(one))
    return 0


def _size(settings: ScalingSettings) -> int:
    from bench.scaling import costs, sizing  # noqa: PLC0415

    try:
        rates = [float(rate) for rate in settings.rates.split(",")]
    except ValueError as error:
        raise BenchError(f"--rates: expected pictures a second as in 10,30,100 (got {settings.rates!r})") from error
    if not all(0 < rate < math.inf for rate in rates):
        raise BenchError(f"--rates: must be more than 0 (got {settings.rates!r})")
    if settings.replica:
        runs = costs.of_replica(settings.replica, settings.model)
    else:
        runs = costs.load(settings.output / "scaling_costs.json")
    enough = (
        f"95 of 100 calls wait at most {settings.wait:g} s" if settings.wait else f"{settings.used:g} of that in use"
    )
    print(
        f"{runs.lanes} lane{'s' * (runs.lanes > 1)}, {runs.base * 1000:.1f} ms a run and {runs.row * 1000:.1f} ms for "
        f"each picture in it, at most {runs.batch}: {runs.rate:.1f} pictures/s a replica; wanted: {enough}\n"
    )
    print(sizing.table(runs, rates, sizing.Aim(settings.used, settings.wait)))
    return 0


def _line(one: Run) -> str:
    from bench.scaling.compare import figures  # noqa: PLC0415

    told = figures(one)
    return (
        f"  {one.name:<34} missed {told['missed']:8.3%}  refused {told['refused']:8.3%}  most {told['most_replicas']:3}"
        f"  replica hours {told['replica_hours']:7.2f}  changes {told['changes']}"
    )


if __name__ == "__main__":
    main()
