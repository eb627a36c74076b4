from __future__ import annotations

import pytest

from service.telemetry.metrics import LINGER, Metrics, QueueSample
from service.translator import Timings

MODEL = {"model": "m", "version": "1"}
GAUGES = {
    "lapis_model_ready", "lapis_model_info", "lapis_queue_requests", "lapis_queue_bytes", "lapis_admitted_requests",
    "lapis_admitted_bytes", "lapis_cost_base_seconds", "lapis_cost_row_seconds", "lapis_cost_bucket_seconds",
}  # fmt: skip


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def metrics(clock: Clock) -> Metrics:
    return Metrics(clock)


def told(metrics: Metrics, name: str, **labels: str) -> float | None:
    return metrics.registry.get_sample_value(name, labels)


def series_of(metrics: Metrics, version: str) -> set[str]:
    """Returns the names of all series of a version of the model m."""
    of_it = {"model": "m", "version": version}.items()
    return {
        sample.name
        for family in metrics.registry.collect()
        for sample in family.samples
        if of_it <= sample.labels.items()
    }


def use(metrics: Metrics, version: int = 1) -> None:
    """Has everything happen that can."""
    model = metrics.model("m", version)
    model.loaded("CPUExecutionProvider", lambda: QueueSample(1, 2, 3, 4))
    model.state(ready=True)
    model.stages(Timings(0.1, 0.2, 0.3, 0.4, batch_size=1))
    model.cost(0.5, 0.25, {1: 0.75, 2: 1.0})
    model.left("cancelled")
    model.planned_anew()
    model.cache(hit=True)
    model.engine_failed()
    model.engine_rebuilt()
    model.load_failed()
    with model.run(3, 4):
        pass
    metrics.call("Translate", "m", version, "OK", 1.0)
    metrics.refused("m", version, "QUEUE_FULL")


def test_run_is_counted_with_its_filling(metrics: Metrics) -> None:
    for rows, bucket in ((3, 4), (5, 8), (8, 8)):
        with metrics.model("m", 1).run(rows, bucket):
            pass
    assert told(metrics, "lapis_batch_size_sum", **MODEL) == 16
    assert told(metrics, "lapis_batch_padding_rows_sum", **MODEL) == 4
    assert told(metrics, "lapis_batch_padding_rows_bucket", le="0.0", **MODEL) == 1


def test_queue_is_sampled_when_it_is_asked_for(metrics: Metrics) -> None:
    waiting = [QueueSample(1, 10, 2, 20), QueueSample(3, 30, 4, 40)]
    metrics.model("m", 1).loaded("CPUExecutionProvider", lambda: waiting[-1])
    assert told(metrics, "lapis_queue_requests", **MODEL) == 3
    waiting.pop()
    assert told(metrics, "lapis_queue_requests", **MODEL) == 1
    assert told(metrics, "lapis_queue_bytes", **MODEL) == 10
    assert told(metrics, "lapis_admitted_requests", **MODEL) == 2
    assert told(metrics, "lapis_admitted_bytes", **MODEL) == 20


def test_busy_ratio_is_that_of_the_lanes_of_all_models(metrics: Metrics, clock: Clock) -> None:
    metrics.lanes(4)
    with metrics.model("m", 1).run(1, 1), metrics.model("n", 1).run(1, 1):
        clock.now += 2
        assert metrics.busy_ratio() == pytest.approx(0.5)
        assert told(metrics, "lapis_engine_busy_ratio") == pytest.approx(0.5)
    assert told(metrics, "lapis_engine_lanes") == 4


def test_cost_model_is_told(metrics: Metrics) -> None:
    metrics.model("m", 1).cost(0.5, 0.25, {1: 0.75, 8: 2.5})
    assert told(metrics, "lapis_cost_base_seconds", **MODEL) == 0.5
    assert told(metrics, "lapis_cost_row_seconds", **MODEL) == 0.25
    assert told(metrics, "lapis_cost_bucket_seconds", bucket="8", **MODEL) == 2.5


@pytest.mark.parametrize("why", ["cancelled", "expired", "displaced"])
def test_what_left_the_queue_is_counted_by_why(metrics: Metrics, why: str) -> None:
    metrics.model("m", 1).left(why)  # type: ignore[arg-type]
    assert told(metrics, "lapis_dropped_requests_total", reason=why, **MODEL) == 1


def test_cache_is_counted_by_hit_and_miss(metrics: Metrics) -> None:
    for hit in (True, False, True):
        metrics.model("m", 1).cache(hit)
    assert told(metrics, "lapis_cache_lookups_total", result="hit", **MODEL) == 2
    assert told(metrics, "lapis_cache_lookups_total", result="miss", **MODEL) == 1


def test_name_that_the_repository_does_not_have_is_no_label(metrics: Metrics) -> None:
    metrics.model("m", 1)
    for model, version in (("made-up", "1"), ("m", "2"), ("m", "")):
        metrics.call("Translate", model, version, "NOT_FOUND", 0.1)
        metrics.refused(model, version, "MODEL_NOT_FOUND")
    of_none = {"model": "", "version": ""}
    assert told(metrics, "lapis_request_seconds_count", method="Translate", code="NOT_FOUND", **of_none) == 3
    assert told(metrics, "lapis_refused_requests_total", reason="MODEL_NOT_FOUND", **of_none) == 3
    assert "lapis_request_seconds_count" not in series_of(metrics, "2")


def test_model_loaded_anew_elsewhere_has_one_provider(metrics: Metrics) -> None:
    model = metrics.model("m", 1)
    for provider in ("CUDAExecutionProvider", "CPUExecutionProvider"):
        model.loaded(provider, lambda: QueueSample(0, 0, 0, 0))
    assert told(metrics, "lapis_model_info", provider="CUDAExecutionProvider", **MODEL) is None
    assert told(metrics, "lapis_model_info", provider="CPUExecutionProvider", **MODEL) == 1


def test_forgotten_version_loses_its_gauges_at_once_and_its_counts_later(metrics: Metrics, clock: Clock) -> None:
    use(metrics, 1)
    use(metrics, 2)
    everything = series_of(metrics, "2")
    assert everything > GAUGES
    metrics.model("m", 1).forget()
    assert series_of(metrics, "1") == everything - GAUGES
    clock.now += LINGER
    assert series_of(metrics, "1") == set()
    assert series_of(metrics, "2") == everything


def test_last_answer_of_a_forgotten_version_is_counted_and_brings_nothing_back(metrics: Metrics, clock: Clock) -> None:
    use(metrics)
    model = metrics.model("m", 1)
    model.forget()
    model.forget()
    metrics.call("Translate", "m", "1", "OK", 1.0)
    model.state(ready=False)
    model.cost(1.0, 1.0, {1: 1.0})
    assert told(metrics, "lapis_request_seconds_count", method="Translate", code="OK", **MODEL) == 2
    assert not series_of(metrics, "1") & GAUGES
    clock.now += LINGER
    assert series_of(metrics, "1") == set()
    metrics.call("Translate", "m", "1", "OK", 1.0)
    assert series_of(metrics, "1") == set()


def test_version_that_comes_back_goes_on_with_its_counts(metrics: Metrics, clock: Clock) -> None:
    use(metrics)
    metrics.model("m", 1).forget()
    clock.now += LINGER - 1
    use(metrics)
    clock.now += LINGER
    assert told(metrics, "lapis_answers_total", **MODEL) == 2
    assert series_of(metrics, "1") > GAUGES
