"""A Prometheus of one's own: asked while it scrapes, and written down for promtool."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import pytest
import yaml

from bench.errors import BenchError
from bench.prometheus import Prometheus, Target, find

pytestmark = pytest.mark.skipif(not find("prometheus"), reason="prometheus is not installed; deploy/tools.py brings it")


@pytest.fixture(scope="module")
def counting(answering: Callable[..., AbstractContextManager[str]]) -> Iterator[str]:
    """Serves a counter that is higher by 3 at each scrape."""
    scrapes = iter(range(0, 1_000_000, 3))
    with answering(lambda _: f'told_total{{kind="a \\"b\\""}} {next(scrapes)}\nshare 0.25\n') as address:
        yield address


@pytest.fixture(scope="module")
def prometheus(counting: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    rules = tmp_path_factory.mktemp("rules") / "rules.yaml"
    rules.write_text(yaml.safe_dump({"groups": [{"name": "g", "rules": [{"record": "twice", "expr": "2 * share"}]}]}))
    with Prometheus([Target(counting, {"job": "pictures", "pod": "a"})], 0.2, [rules]) as running:
        running.until("count_over_time(told_total[1m]) > 5")
        yield running


def test_series_have_the_labels_of_their_target(prometheus: Prometheus, counting: str) -> None:
    (sample,) = prometheus.query("share")
    assert sample.value == 0.25
    assert sample.labels == {"__name__": "share", "job": "pictures", "pod": "a", "instance": counting}
    assert {"told_total", "share", "up"} <= {series["__name__"] for series in prometheus.series()}


def test_scalars_and_the_past_can_be_asked_for(prometheus: Prometheus) -> None:
    assert prometheus.query("6 * 7")[0].value == 42
    assert prometheus.query("share", at=time.time() - 3600) == []


def test_range_gives_points_in_time(prometheus: Prometheus) -> None:
    now = time.time()
    (track,) = prometheus.range("share", now - 1, now, 0.5)
    assert {value for _, value in track.points} == {0.25}
    assert all(now - 1.001 <= when <= now + 0.001 for when, _ in track.points)


def test_rules_are_evaluated(prometheus: Prometheus) -> None:
    assert prometheus.until("twice")[0].value == 0.5
    assert [(rule["name"], rule["health"]) for rule in prometheus.rules()] == [("twice", "ok")]
    assert prometheus.alerts() == []


def test_what_is_no_promql_is_told_in_prometheus_own_words(prometheus: Prometheus) -> None:
    with pytest.raises(BenchError, match=r"rate\(: .*unclosed left parenthesis"):
        prometheus.query("rate(")


def test_what_never_comes_is_not_waited_for_for_ever(prometheus: Prometheus) -> None:
    with pytest.raises(BenchError, match="nothing_at_all: gave nothing for 0 s"):
        prometheus.until("nothing_at_all", within=0)


def test_target_that_comes_later_is_scraped_and_one_that_goes_is_not(prometheus: Prometheus, counting: str) -> None:
    first, second = (Target(counting, {"job": "pictures", "pod": pod}) for pod in "ab")
    prometheus.retarget([first, second])
    prometheus.until('up{pod="b"} == 1')
    assert len(prometheus.targets()) == 2
    prometheus.retarget([first])
    prometheus.until("up", lambda samples: len(samples) == 1)


def test_what_was_seen_can_be_tested_again(prometheus: Prometheus, tmp_path: Path) -> None:
    """A dump, played back by promtool, gives what the live Prometheus gave."""
    if not (promtool := find("promtool")):
        pytest.skip("promtool is not installed; deploy/tools.py brings it")
    end = time.time()
    series = prometheus.dump('{__name__=~"told_total|share",pod="a"}', end - 4, end, 1)
    last = prometheus.query('told_total{pod="a"}', at=end)[0]
    assert len(series) == 2
    instance = last.labels["instance"]
    expected = {"labels": f'told_total{{instance="{instance}",job="pictures",kind="a \\"b\\"",pod="a"}}'}
    test = {
        "interval": "1s",
        "input_series": series,
        "promql_expr_test": [
            {"expr": 'told_total{pod="a"}', "eval_time": "4s", "exp_samples": [{**expected, "value": last.value}]}
        ],
    }
    path = tmp_path / "test.yaml"
    path.write_text(yaml.safe_dump({"evaluation_interval": "1s", "tests": [test]}))
    done = subprocess.run([promtool, "test", "rules", str(path)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_rules_that_are_none_end_the_start_with_the_reason(tmp_path: Path) -> None:
    (tmp_path / "rules.yaml").write_text("groups: [{name: g, rules: [{record: r, expr: 'sum('}]}]")
    with (
        pytest.raises(BenchError, match=r"prometheus did not start: .*err="),
        Prometheus([], 1, [tmp_path / "rules.yaml"]),
    ):
        pass


def test_where_there_is_none_that_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr("sys.prefix", "/nowhere")
    with pytest.raises(BenchError, match="prometheus is not installed"), Prometheus([]):
        pass
