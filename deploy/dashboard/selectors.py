"""Which series the dashboard speaks of."""

from __future__ import annotations

RELEASE = 'namespace="$namespace",job="$job"'
MODEL = f'{RELEASE},model=~"$model",version=~"$version"'
# Calls that translate; the others are administration.
TRANSLATIONS = f'{MODEL},method=~"Translate|TranslateStream"'

ANSWERED = "OK"
OURS = "DATA_LOSS|INTERNAL|UNAVAILABLE|UNKNOWN"
# Requests that were not their callers' own mistake.
TRIED = f"{ANSWERED}|{OURS}|RESOURCE_EXHAUSTED|DEADLINE_EXCEEDED"
OVERLOAD = "OVERLOADED|QUEUE_FULL|DEADLINE_UNREACHABLE"


def rate(series: str, selector: str = MODEL, over: str = "$__rate_interval") -> str:
    """Returns how fast counters grow, a second."""
    return f"rate({series}{{{selector}}}[{over}])"


def total(rates: str, by: str = "") -> str:
    """Returns a sum, by labels or of all."""
    return f"sum by ({by}) ({rates})" if by else f"sum({rates})"


def requests(codes: str = "", by: str = "", over: str = "$__rate_interval") -> str:
    """Returns requests a second, of some status codes or of all."""
    selector = f'{TRANSLATIONS},code=~"{codes}"' if codes else TRANSLATIONS
    return total(rate("lapis_request_seconds_count", selector, over), by)


def failed_share(by: str = "", over: str = "$__rate_interval") -> str:
    """Returns the share of requests that failed by the service's fault; 0 where none ever did."""
    tried = requests(TRIED, by, over)
    return f"({requests(OURS, by, over)} or 0 * {tried}) / {tried}"


def refused_share(over: str = "$__rate_interval") -> str:
    """Returns the share of requests that were refused because there were too many."""
    refused = total(rate("lapis_refused_requests_total", f'{MODEL},reason=~"{OVERLOAD}"', over))
    tried = requests(TRIED, over=over)
    return f"({refused} or 0 * {tried}) / {tried}"


def work(by: str = "") -> str:
    """Returns seconds of lanes a second that pictures took, in the best batches."""
    return total(rate("lapis_engine_work_seconds_total", RELEASE), by)


def unmet(by: str = "") -> str:
    """Returns seconds of lanes a second that those would have taken that there was no room for."""
    return total(rate("lapis_unmet_work_seconds_total", RELEASE), by)


def capacity_used(by: str = "") -> str:
    """Returns the share of what replicas can do that is asked of them."""
    return f"({work(by)} + {unmet(by)}) / {total(f'lapis_engine_lanes{{{RELEASE}}} > 0', by)}"


def latency(quantile: float, by: str = "") -> str:
    """Returns the time within which that share of the answered requests was answered."""
    buckets = rate("lapis_request_seconds_bucket", f'{TRANSLATIONS},code="{ANSWERED}"')
    return f"histogram_quantile({quantile}, {total(buckets, f'le, {by}' if by else 'le')})"


def stage(quantile: float, name: str) -> str:
    """Returns the time within which that share of the answered requests was through with a stage."""
    buckets = rate("lapis_stage_seconds_bucket", f'{MODEL},stage="{name}"')
    return f"histogram_quantile({quantile}, {total(buckets, 'le')})"


def mean(histogram: str, selector: str = MODEL, by: str = "") -> str:
    """Returns the mean of what a histogram was told."""
    sums, counts = (total(rate(f"{histogram}_{part}", selector), by) for part in ("sum", "count"))
    return f"{sums} / {counts}"
