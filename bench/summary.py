"""The figures of a load, made for people: a page of text."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

_COLUMNS = ("p50", "p90", "p99", "p99.9", "most")


def text(figures: dict[str, Any]) -> str:
    """Returns the page for the figures that `bench.report` gives."""
    return "\n".join(
        [
            *_title(figures),
            *_rates(figures),
            "",
            *_latency(figures),
            "",
            *_stages(figures),
            *_server(figures["server"]),
            *_callers(figures["callers"]),
            *_warnings(figures),
        ]
    )


def _title(figures: dict[str, Any]) -> Iterator[str]:
    settings = figures["settings"]
    load = f"{settings['concurrency']} callers" if settings["load"] == "closed" else f"{settings['rate']:g} calls/s"
    yield f"{settings['server']}  {settings['load']} load, {load}, {figures['measured_seconds']:g} s measured"
    yield ""


def _rates(figures: dict[str, Any]) -> Iterator[str]:
    rates, reasons = figures["rates"], _reasons(figures["codes"])
    yield f"{'offered':<10}{rates['offered']:10.1f}/s"
    yield f"{'goodput':<10}{rates['goodput']:10.1f}/s  answered in time, of {rates['answered']:.1f}/s answered"
    for end in ("refused", "expired", "cancelled", "failed", "unsent"):
        if figures["calls"][end]:
            yield f"{end:<10}{rates[end]:10.1f}/s  {reasons[end]}"
    late = figures["late"]
    by = f"  by {_ms(late['by_most'])} ms at most" if late["calls"] else ""
    yield f"{'late':<10}{late['calls']:10}    answers after their deadline{by}"


def _reasons(codes: list[dict[str, Any]]) -> dict[str, str]:
    """Returns for each way to end the reasons, or codes where there is none, and how many; most frequent first."""
    counted: dict[str, dict[str, int]] = {}
    for row in codes:
        label = row["reason"] or row["code"]
        named = counted.setdefault(row["ended"], {})
        named[label] = named.get(label, 0) + row["calls"]
    return {
        end: ", ".join(
            f"{label} {calls}" for label, calls in sorted(named.items(), key=lambda item: (-item[1], item[0]))
        )
        for end, named in counted.items()
    }


def _latency(figures: dict[str, Any]) -> Iterator[str]:
    latency = figures["latency"]
    yield f"{'milliseconds':<14}{'calls':>9}" + "".join(f"{column:>9}" for column in _COLUMNS)
    for name, spread in latency.items():
        if name != "all" or len(latency) != 2:
            yield _row("latency" if name == "all" else f"  {name}", spread)
    if figures["time_to_refusal"]["calls"]:
        yield _row("refusal", figures["time_to_refusal"])
    yield f"latency counts from {figures['latency_from']}"


def _stages(figures: dict[str, Any]) -> Iterator[str]:
    if not figures["batch_sizes"]:
        return
    stages = (
        f"{stage} {_ms(spread['p50'])}/{_ms(spread['p99'])}" for stage, spread in figures["server_stages"].items()
    )
    yield f"{'stages':<10}{', '.join(stages)} ms (p50/p99)"
    total = sum(figures["batch_sizes"].values())
    sizes = (f"{size}: {calls / total:.0%}" for size, calls in figures["batch_sizes"].items())
    yield f"{'batches':<10}{', '.join(sizes)} of the answers"


def _server(server: dict[str, Any] | None) -> Iterator[str]:
    if not server:
        return
    cores = f"{server['cores']:.2f} cores" if server["cores"] is not None else "gone in the end"
    series = server["series"]
    memory = series.get("rss_bytes") or series.get("process_resident_memory_bytes")
    parts = [f"memory {memory[0] / 1e6:.0f} to {memory[-1] / 1e6:.0f} MB"] if memory else []
    for name, label in (("threads", "threads"), ("open_files", "file handles")):
        if name in series:
            parts.append(f"{label} {series[name][0]:.0f} to {series[name][-1]:.0f}")
    yield f"{'server':<10}{', '.join([cores, *parts])}"


def _callers(callers: dict[str, Any]) -> Iterator[str]:
    yield (
        f"{'callers':<10}{callers['cores']:.2f} cores in {callers['processes']} process"
        f"{'es' * (callers['processes'] > 1)}; sent late by {_ms(callers['sent_late']['p50'])}/"
        f"{_ms(callers['sent_late']['p99'])} ms, woke up late by {_ms(callers['lag']['p99'])} ms (p99)"
    )


def _warnings(figures: dict[str, Any]) -> Iterator[str]:
    if not figures["callers"]["kept_up"]:
        yield "WARNING   the callers could not keep up: more --processes, or a machine of their own"
    if not figures["calls"]["good"] + figures["calls"]["late"]:
        yield "WARNING   no call was answered"
    if figures["interrupted"]:
        yield "WARNING   stopped before its time"


def _row(label: str, spread: dict[str, Any]) -> str:
    return f"{label:<14}{spread['calls']:>9}" + "".join(f"{_ms(spread[column]):>9}" for column in _COLUMNS)


def _ms(seconds: float | None) -> str:
    """Returns seconds as milliseconds with three digits that matter; a dash for none."""
    if seconds is None:
        return "-"
    milliseconds = seconds * 1000
    return f"{milliseconds:.{0 if milliseconds >= 100 else 1 if milliseconds >= 10 else 2}f}"
