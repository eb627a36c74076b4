from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.scheduler.kind import USUAL, Kind
from service.scheduler.policy import PATIENCE, Entry, Plan, Rules, Situation, fairest, order, plan
from service.scheduler.priority import Priority

NEVER = math.inf
NOW = 100.0
AGEING = 5.0
HIGH, NORMAL, LOW = Priority


class Costs:
    """So many seconds for any run, and so many for each row."""

    def __init__(self, base: float = 0.0, per_row: float = 0.0) -> None:
        self.base, self.per_row = base, per_row

    def seconds(self, size: int, kind: Kind = USUAL) -> float:
        return self.base + self.per_row * size * kind.scale


FREE = Costs()
GPU = Costs(base=0.8, per_row=0.1)
CPU = Costs(per_row=1.0)


def rows(*deadlines: float, priority: Priority = NORMAL, arrived: float = NOW) -> list[Entry]:
    return [entry(priority, deadline, arrived) for deadline in deadlines]


def entry(priority: Priority, deadline: float, arrived: float, owner: int = 0) -> Entry:
    return Entry(priority, deadline, arrived, min(deadline, arrived + PATIENCE * AGEING), owner)


def planned(queue: list[Entry], costs: Costs = FREE, lanes: int = 1, **rules: object) -> Plan:
    return plan(queue, costs, Rules(**{"buckets": tuple(range(1, 9)), **rules}), Situation(NOW, lanes))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("deadlines", "lanes", "costs", "batch", "late"),
    [
        pytest.param([], 1, GPU, (), (), id="nothing waits"),
        pytest.param([NEVER], 1, GPU, (0,), (), id="one alone runs at once"),
        pytest.param([NEVER] * 3, 1, GPU, (0, 1, 2), (), id="one lane takes all"),
        pytest.param([NEVER] * 9, 1, GPU, tuple(range(8)), (), id="up to the largest bucket"),
        pytest.param([NEVER] * 3, 1, CPU, (0,), (), id="a batch that brings nothing is not made"),
        pytest.param([NEVER] * 4, 2, GPU, (0, 1), (), id="two lanes share"),
        pytest.param([NEVER] * 5, 2, GPU, (0, 1, 2), (), id="the odd one is not left behind"),
        pytest.param([NEVER], 2, GPU, (0,), (), id="a share is at least one"),
        pytest.param([NOW - 1, NEVER, NOW, NOW + 5], 1, GPU, (3, 1), (0, 2), id="too late is too late"),
        pytest.param([NOW + 0.5, NEVER], 1, GPU, (1,), (0,), id="what cannot be done in time does not run"),
        pytest.param([NOW + 0.5], 1, GPU, (0,), (), id="one alone gets the benefit of the doubt"),
        pytest.param([NOW], 1, GPU, (), (0,), id="but not after its deadline"),
        pytest.param([NOW - 1, NEVER, NEVER], 2, GPU, (1,), (0,), id="the late count for no share"),
        pytest.param([NEVER, NOW + 3, NOW + 2], 1, CPU, (2,), (), id="earliest deadline first"),
        pytest.param([NOW + 1.05] + [NEVER] * 5, 1, GPU, (0, 1), (), id="no larger than the deadline allows"),
        pytest.param([NEVER] * 5 + [NOW + 1.05], 1, GPU, (5, 0), (), id="wherever it stands"),
    ],
)
def test_next_batch(
    deadlines: list[float], lanes: int, costs: Costs, batch: tuple[int, ...], late: tuple[int, ...]
) -> None:
    made = planned(rows(*deadlines), costs, lanes)
    assert (made.batch, made.late) == (batch, late)


@pytest.mark.parametrize(
    ("waiting", "buckets", "costs", "expected"),
    [
        pytest.param(1, (1, 2, 4, 8), GPU, (1, 1), id="one needs no filling"),
        pytest.param(6, (1, 2, 4, 8), GPU, (6, 8), id="two rows of filling are cheaper than a second run"),
        pytest.param(5, (1, 2, 4, 8), Costs(0.1, 1.0), (4, 4), id="or dearer"),
        pytest.param(3, (4, 8), GPU, (3, 4), id="the smallest there is"),
        pytest.param(30, (4, 8), GPU, (8, 8), id="the largest there is"),
    ],
)
def test_bucket_is_the_one_with_most_rows_a_second(
    waiting: int, buckets: tuple[int, ...], costs: Costs, expected: tuple[int, int]
) -> None:
    made = planned(rows(*[NEVER] * waiting), costs, buckets=buckets)
    assert (len(made.batch), made.bucket) == expected


def aged(priority: Priority, waited: float, deadline: float = NEVER) -> Entry:
    return entry(priority, deadline, NOW - waited)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        pytest.param(aged(HIGH, 0), aged(NORMAL, 4), id="high before normal"),
        pytest.param(aged(HIGH, 0), aged(LOW, 4, NOW + 1), id="a class before a deadline"),
        pytest.param(aged(NORMAL, 0, NOW + 3), aged(NORMAL, 4), id="a deadline before none"),
        pytest.param(aged(NORMAL, 2), aged(NORMAL, 1), id="first come, first served"),
        pytest.param(aged(NORMAL, 5.1), aged(HIGH, 0), id="normal rises to high"),
        pytest.param(aged(LOW, 10.1), aged(NORMAL, 4), id="low rises twice"),
        pytest.param(aged(LOW, 16), aged(HIGH, 0, NOW + 1), id="and then stands before what came later"),
    ],
)
def test_who_goes_first(first: Entry, second: Entry) -> None:
    for queue in ([first, second], [second, first]):
        turn = order(queue, [0, 1], Rules(ageing=AGEING), Situation(NOW), 2)
        assert queue[turn[0]] is first


@given(
    flood=st.lists(st.tuples(st.sampled_from(Priority), st.floats(0.01, 100)), max_size=30),
    priority=st.sampled_from(Priority),
)
def test_no_class_is_starved(flood: list[tuple[Priority, float]], priority: Priority) -> None:
    """Whatever comes three ageings later goes after, however urgent."""
    old = aged(priority, 3 * AGEING)
    queue = [*[entry(one, NOW + seconds, NOW) for one, seconds in flood], old]
    assert order(queue, range(len(queue)), Rules(ageing=AGEING), Situation(NOW), 1) == [len(queue) - 1]


def tiled(owners: str, running: Mapping[str, int] | None = None) -> str:
    queue = [
        entry(NORMAL, NEVER, NOW + position / 1000, ord(owner) if owner.islower() else 0)
        for position, owner in enumerate(owners)
    ]
    situation = Situation(NOW + 1, running={ord(owner): count for owner, count in (running or {}).items()})
    turn = order(queue, range(len(queue)), Rules(), situation, len(queue))
    return "".join(owners[position] for position in turn)


@pytest.mark.parametrize(
    ("owners", "running", "turn"),
    [
        pytest.param("aaab", {}, "abaa", id="the second tile of a stands behind b"),
        pytest.param("aaabbc", {}, "abcaba", id="by turns"),
        pytest.param("aab", {"a": 1}, "baa", id="a tile that runs counts"),
        pytest.param("aaB", {}, "aBa", id="a picture that is no tile is everyone's first"),
        pytest.param("ABC", {}, "ABC", id="single pictures keep their order"),
    ],
)
def test_tiles_of_one_picture_do_not_crowd_out_others(owners: str, running: dict[str, int], turn: str) -> None:
    assert tiled(owners, running) == turn


@pytest.mark.parametrize(
    ("arrived", "deadline", "free_in", "waiting", "wait"),
    [
        pytest.param(NOW, NEVER, 0.0, 3, 0.5, id="a free lane waits for more"),
        pytest.param(NOW - 0.4, NEVER, 0.0, 3, 0.1, id="as long as the first has not waited so long"),
        pytest.param(NOW - 0.6, NEVER, 0.0, 3, 0.0, id="and no longer"),
        pytest.param(NOW, NOW + 1.2, 0.0, 3, 0.1, id="nor so long that a deadline is missed"),
        pytest.param(NOW, NEVER, 0.0, 8, 0.0, id="a full batch waits for nothing"),
        pytest.param(NOW - 9, NEVER, 0.25, 3, 0.25, id="a busy lane plans when it is free soon"),
        pytest.param(NOW - 9, NEVER, 0.25, 8, 0.0, id="or when nothing can be added"),
    ],
)
def test_waiting_for_a_batch_to_fill_up(
    arrived: float, deadline: float, free_in: float, waiting: int, wait: float
) -> None:
    queue = rows(*[deadline] * waiting, arrived=arrived)
    rules = Rules(tuple(range(1, 9)), max_queue_delay=0.5)
    made = plan(queue, GPU, rules, Situation(NOW, free_in=free_in))
    assert made.wait == pytest.approx(wait)
    assert bool(made.batch) == (wait == 0)


entries = st.builds(
    entry,
    priority=st.sampled_from(Priority),
    deadline=st.floats(NOW - 10, NOW + 20) | st.just(NEVER),
    arrived=st.floats(NOW - 30, NOW),
    owner=st.integers(0, 20),
)

LARGE = Kind((1024, 1024), 16.0)
SMALL = Kind((128, 128), 0.25)
KINDS = {"a": USUAL, "b": Kind((256, 320), 1.25), "L": LARGE, "s": SMALL}


def mixed(kinds: str, **changed: dict[int, object]) -> list[Entry]:
    """Rows of these kinds in the order of their coming, with fields of single ones changed."""
    queue = []
    for position, kind in enumerate(kinds):
        fields: dict[str, Any] = {"priority": NORMAL, "deadline": NEVER, "arrived": NOW - 1 + position / 1000}
        fields |= {name: by[position] for name, by in changed.items() if position in by}
        queue.append(replace(entry(**fields), kind=KINDS[kind]))
    return queue


@pytest.mark.parametrize(
    ("queue", "costs", "batch", "bucket"),
    [
        pytest.param(mixed("aba"), GPU, (0, 2), 2, id="those of the first one's kind run with it"),
        pytest.param(mixed("baab"), GPU, (0, 3), 2, id="whatever kind that is"),
        pytest.param(mixed("LLL"), GPU, (0,), 1, id="large ones go alone where a batch of them needs too much room"),
        pytest.param(mixed("ssss"), GPU, (0, 1, 2, 3), 4, id="small ones like others"),
        pytest.param(mixed("aba", priority={2: LOW}), GPU, (0,), 1, id="a lower class does not pass another kind by"),
        pytest.param(mixed("aba", priority={2: HIGH}), GPU, (2, 0), 2, id="a higher class goes first anyway"),
        pytest.param(mixed("abaa", deadline={1: NOW + 1.9}), GPU, (1,), 1, id="an earlier deadline goes first"),
        pytest.param(
            mixed("abaa", deadline={0: NOW + 1.0, 1: NOW + 1.85}),
            GPU,
            (0,),
            1,
            id="nor one whose deadline it would cost",
        ),
        pytest.param(
            mixed("abaa", deadline={0: NOW + 1.5, 1: NOW + 9}), GPU, (0, 2, 3), 3, id="but one that has time enough"
        ),
    ],
)
def test_run_has_rows_of_one_kind(queue: list[Entry], costs: Costs, batch: tuple[int, ...], bucket: int) -> None:
    made = planned(queue, costs)
    assert (made.batch, made.bucket) == (batch, bucket)


def test_large_row_that_cannot_be_done_in_time_is_too_late_where_a_usual_one_is_not() -> None:
    queue = mixed("Lab", deadline={0: NOW + 2, 1: NOW + 2})
    assert planned(queue, GPU).late == (0,)


def test_full_batch_of_one_kind_waits_for_no_other() -> None:
    rules = Rules((1, 2), max_queue_delay=5.0)
    assert plan(mixed("as"), GPU, rules, Situation(NOW)).wait > 0
    assert plan(mixed("aas"), GPU, rules, Situation(NOW)).batch == (0, 1)


@pytest.mark.parametrize(
    ("scale", "sizes"), [(0.1, (1, 2, 8)), (1.0, (1, 2, 8)), (1.1, (1, 2)), (4.0, (1, 2)), (5.0, (1,)), (99.0, (1,))]
)
def test_large_rows_need_no_more_room_than_the_largest_batch(scale: float, sizes: tuple[int, ...]) -> None:
    rules = Rules((1, 2, 8))
    assert rules.sizes(Kind((1,), scale)) == sizes
    assert rules.bucket(9, Kind((1,), scale)) == sizes[-1]
    assert Rules((4, 8)).sizes(Kind((1,), 3.0)) == (1,), "one by one they always run"


kinds = st.sampled_from(list(KINDS.values()))


@given(data=st.data(), lanes=st.integers(1, 4))
def test_kinds_never_mix_and_every_promise_is_kept(data: st.DataObject, lanes: int) -> None:
    queue = [replace(one, kind=data.draw(kinds)) for one in data.draw(st.lists(entries, max_size=30))]
    costs, rules = data.draw(st.builds(Costs, st.floats(0, 3), st.floats(0, 1))), Rules((1, 2, 4))
    made = plan(queue, costs, rules, Situation(NOW, lanes))
    alive = set(range(len(queue))) - set(made.late)
    assert bool(made.batch) == bool(alive), "a free lane never idles while someone waits"
    assert set(made.batch) <= alive
    ran = {queue[position].kind for position in made.batch}
    assert len(ran) <= 1
    if ran:
        (kind,) = ran
        assert made.bucket in rules.sizes(kind)
        assert len(made.batch) <= made.bucket
        assert made.batch[0] == order(queue, sorted(alive), rules, Situation(NOW, lanes), 1)[0], "whose turn it is"


@given(data=st.data())
def test_no_kind_is_starved(data: st.DataObject) -> None:
    """However many of other kinds keep coming, a row runs when it is the one that is due first."""
    old = replace(aged(LOW, 3 * AGEING), kind=LARGE)
    flood = data.draw(st.lists(st.tuples(st.sampled_from(Priority), kinds), max_size=30))
    queue = [replace(entry(priority, NEVER, NOW), kind=kind) for priority, kind in flood]
    queue.insert(data.draw(st.integers(0, len(queue))), old)
    made = plan(queue, GPU, Rules((1, 2, 4), ageing=AGEING), Situation(NOW))
    assert old in [queue[position] for position in made.batch]


@given(queue=st.lists(entries, max_size=30), lanes=st.integers(1, 4), kind=kinds)
def test_one_kind_is_planned_as_ever(queue: list[Entry], lanes: int, kind: Kind) -> None:
    """Where all rows are alike, it does not matter what they are called."""
    rules, situation = Rules((1, 2, 4)), Situation(NOW, lanes)
    renamed = [replace(one, kind=Kind(kind.name, 1.0)) for one in queue]
    assert plan(renamed, GPU, rules, situation) == plan(queue, GPU, rules, situation)


@given(
    queue=st.lists(entries, max_size=40),
    lanes=st.integers(1, 8),
    buckets=st.sets(st.integers(1, 16), min_size=1).map(lambda sizes: tuple(sorted(sizes))),
    costs=st.builds(Costs, st.floats(0, 3), st.floats(0, 1)),
)
def test_plan_keeps_every_promise(queue: list[Entry], lanes: int, buckets: tuple[int, ...], costs: Costs) -> None:
    made = plan(queue, costs, Rules(buckets), Situation(NOW, lanes))
    alive = set(range(len(queue))) - set(made.late)
    assert all(queue[position].deadline > NOW for position in alive), "nothing runs after its deadline"
    assert all(queue[position].deadline <= NOW + costs.seconds(buckets[0]) for position in made.late), "nor is given up"
    assert set(made.batch) <= alive
    assert len(set(made.batch)) == len(made.batch) <= made.bucket
    assert bool(made.batch) == bool(alive), "a free lane never idles while someone waits"
    assert not made.batch or made.bucket in buckets


@given(waiting=st.integers(1, 200), lanes=st.integers(1, 8))
def test_free_lanes_together_take_all_that_waits(waiting: int, lanes: int) -> None:
    left = waiting
    for _ in range(lanes * 10):
        left -= len(plan(rows(*[NEVER] * left), GPU, Rules((256,)), Situation(NOW, lanes)).batch)
    assert left == 0


def test_model_that_used_the_engine_least_goes_first() -> None:
    assert fairest([3.0, 1.0, 2.0]) == [1, 2, 0]
