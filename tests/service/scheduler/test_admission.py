from __future__ import annotations

import asyncio
import math
from collections.abc import Mapping
from contextlib import ExitStack

import pytest

from service.errors import CallerLimit, DeadlineExceeded, DeadlineUnreachable, PictureTooLarge, QueueFull
from service.scheduler.admission import Admission, Bounds, House, Ticket, Wish
from service.scheduler.kind import Kind
from service.scheduler.priority import Priority

NOW = 100.0
HIGH, NORMAL, LOW = Priority


class Engine:
    """Needs a second for each row, one after the other."""

    def wait(self, kind: Kind, ahead: Mapping[Kind, int]) -> float:  # noqa: ARG002 (the seam's)
        return sum(one.scale * rows for one, rows in ahead.items())

    def service(self, rows: int, kind: Kind, ahead: Mapping[Kind, int]) -> float:  # noqa: ARG002
        return rows * kind.scale


class Clock:
    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> float:
        return self.now


def wish(nbytes: int = 1, seconds: float = math.inf, **fields: object) -> Wish:
    return Wish(nbytes, deadline=NOW + seconds, **fields)  # type: ignore[arg-type]


def building(requests: int = 1000, nbytes: int = 10**6, caller_limit: int = 0) -> House:
    return House(Bounds(requests, nbytes), caller_limit)


def door(
    requests: int = 1000, nbytes: int = 10**6, *, house: House | None = None, clock: Clock | None = None
) -> Admission:
    return Admission(Bounds(requests, nbytes), house or building(), Engine(), patience=15.0, clock=clock or Clock())


def test_requests_are_bounded() -> None:
    admission = door(requests=2)
    with admission.admit(wish()), admission.admit(wish()):
        with pytest.raises(QueueFull, match="2 requests are in, as many as the model takes") as refused:
            admission.admit(wish()).__enter__()
        assert refused.value.retry_after == 3.0, "two rows ahead, and its own"
    with admission.admit(wish()):
        assert admission.requests == 1


def test_bytes_are_bounded() -> None:
    admission = door(nbytes=1000)
    with admission.admit(wish(600)), admission.admit(wish(400)):
        assert admission.bytes == 1000
        with pytest.raises(QueueFull, match="1,000 bytes are in"):
            admission.admit(wish(1)).__enter__()
    assert (admission.requests, admission.bytes) == (0, 0)


@pytest.mark.parametrize("bounds", [Bounds(2, 1000), Bounds(10, 2)])
def test_all_models_together_are_bounded(bounds: Bounds) -> None:
    house = House(bounds)
    one, other = door(house=house), door(house=house)
    with one.admit(wish()), other.admit(wish()), pytest.raises(QueueFull, match="the server takes"):
        one.admit(wish()).__enter__()
    with one.admit(wish()), one.admit(wish()):
        assert house.account.requests == 2


@pytest.mark.parametrize(("model", "server"), [(10, 20), (20, 10)])
def test_picture_that_would_never_have_room_is_not_told_to_come_back(model: int, server: int) -> None:
    admission = door(nbytes=model, house=building(nbytes=server))
    with pytest.raises(PictureTooLarge, match=r"take 11 bytes .* 10 that the (model|server) takes in all"):
        admission.admit(wish(11)).__enter__()
    with admission.admit(wish(10)):
        pass


def test_failure_inside_gives_the_place_back() -> None:
    house = building(caller_limit=1)
    admission = door(house=house)
    with pytest.raises(KeyError), admission.admit(wish(caller="a")):
        raise KeyError
    assert (admission.requests, admission.bytes, house.account.requests) == (0, 0, 0)
    with admission.admit(wish(caller="a")):
        pass


def test_refused_caller_is_never_told_to_come_back_at_once() -> None:
    with pytest.raises(QueueFull) as refused:
        Admission(Bounds(0, 1), building(), Idle()).admit(wish()).__enter__()
    assert refused.value.retry_after > 0


class Idle(Engine):
    def service(self, rows: int, kind: Kind, ahead: Mapping[Kind, int]) -> float:  # noqa: ARG002
        return 0.0


def test_one_caller_takes_no_more_than_its_share() -> None:
    house = building(caller_limit=2)
    one, other = door(house=house), door(house=house)
    with one.admit(wish(caller="a")), other.admit(wish(caller="a")):
        with pytest.raises(CallerLimit, match="2 of this caller's requests"):
            one.admit(wish(caller="a")).__enter__()
        with one.admit(wish(caller="b")):
            pass
    with one.admit(wish(caller="a")):
        pass


def test_deadline_that_cannot_be_kept_is_refused_with_when_it_could_be() -> None:
    admission = door()
    with admission.admit(wish()), admission.admit(wish()):
        with pytest.raises(DeadlineUnreachable, match=r"takes 3.000 s .* is in 2.500 s") as refused:
            admission.admit(wish(seconds=2.5, priority=LOW)).__enter__()
        assert refused.value.retry_after == pytest.approx(0.5)


def test_only_what_goes_before_counts() -> None:
    admission = door()
    with ExitStack() as inside:
        for _ in range(5):
            inside.enter_context(admission.admit(wish(seconds=50.0)))
        inside.enter_context(admission.admit(wish(seconds=2.0)))
        inside.enter_context(admission.admit(wish(seconds=2.5)))
        with pytest.raises(DeadlineUnreachable):
            admission.admit(wish(seconds=2.9)).__enter__()
        inside.enter_context(admission.admit(wish(seconds=1.1, priority=HIGH)))


def test_rows_that_have_run_do_not_count() -> None:
    admission = door()
    with admission.admit(wish()) as ticket:
        ticket.rows_left = 0
        with admission.admit(wish(seconds=1.5, priority=LOW)):
            pass


def test_picture_of_many_rows_counts_for_no_more_than_goes_before() -> None:
    admission = door()
    with admission.admit(wish(rows=50)):
        with admission.admit(wish(seconds=2.5, priority=LOW)):
            pass
        with pytest.raises(DeadlineUnreachable):
            admission.admit(wish(rows=10, seconds=19.0, priority=LOW)).__enter__()


def test_large_rows_need_their_time_and_others_wait_longer_for_them() -> None:
    admission, large = door(), Kind((1024, 1024), 16.0)
    with admission.admit(wish()):
        with pytest.raises(DeadlineUnreachable, match=r"takes 17\.000 s"):
            admission.admit(wish(kind=large, seconds=16.5)).__enter__()
        with admission.admit(wish(kind=large)), pytest.raises(DeadlineUnreachable, match=r"takes 18\.000 s"):
            admission.admit(wish(seconds=17.5, priority=LOW)).__enter__()


def test_many_rows_need_their_time() -> None:
    admission = door()
    with admission.admit(wish(seconds=5.0)), pytest.raises(DeadlineUnreachable, match=r"takes 10\.000 s"):
        admission.admit(wish(rows=9, seconds=9.5)).__enter__()


def test_where_nothing_is_in_the_forecast_is_put_to_the_test() -> None:
    with door().admit(wish(seconds=0.1)):
        pass


def test_request_that_comes_too_late_is_told_so() -> None:
    with pytest.raises(DeadlineExceeded):
        door().admit(wish(seconds=0.0)).__enter__()


def test_rest_of_the_way_is_learned() -> None:
    clock = Clock()
    admission = door(clock=clock)
    for _ in range(60):
        with admission.admit(Wish(1)) as ticket:
            clock.now += 1.5
            ticket.engine_seconds = 1.0
    assert admission.expected(Wish(1), clock.now) == pytest.approx(1.5, rel=0.01)


def held(inside: ExitStack, admission: Admission, *wishes: Wish) -> list[Ticket]:
    return [inside.enter_context(admission.admit(one)) for one in wishes]


def test_higher_class_takes_the_place_of_the_last_of_the_lowest() -> None:
    admission = door(requests=4)
    with ExitStack() as inside:
        waiting = held(inside, admission, *(wish(priority=priority) for priority in (LOW, LOW, NORMAL, HIGH)))
        told: list[Ticket] = []
        for ticket in waiting:
            ticket.on_displaced = lambda ticket=ticket: told.append(ticket)  # type: ignore[misc]
        held(inside, admission, wish(priority=HIGH))
        assert told == [waiting[1]]
        assert waiting[1].displaced is not None
        assert admission.requests == 4
        held(inside, admission, wish(priority=NORMAL))
        assert told == [waiting[1], waiting[0]]
        with pytest.raises(QueueFull):
            admission.admit(wish(priority=NORMAL)).__enter__()
    assert (admission.requests, admission.bytes) == (0, 0)


def test_what_runs_already_keeps_its_place() -> None:
    admission = door(requests=1)
    with admission.admit(wish(priority=LOW)) as ticket:
        ticket.started = True
        with pytest.raises(QueueFull):
            admission.admit(wish(priority=HIGH)).__enter__()
        assert ticket.displaced is None


def test_nobody_leaves_where_that_would_not_be_enough() -> None:
    admission = door(nbytes=1000)
    with ExitStack() as inside:
        low, _ = held(inside, admission, wish(100, priority=LOW), wish(900, priority=HIGH))
        with pytest.raises(QueueFull):
            admission.admit(wish(200, priority=HIGH)).__enter__()
        assert low.displaced is None
        held(inside, admission, wish(100, priority=HIGH))
        assert low.displaced is not None


def test_another_model_s_request_makes_room_where_the_server_is_full() -> None:
    house = building(requests=2)
    one, other = door(house=house), door(house=house)
    with one.admit(wish(priority=LOW)) as low, one.admit(wish()), other.admit(wish(priority=HIGH)):
        assert low.displaced is not None
        assert (one.requests, other.requests) == (1, 1)


async def test_empty_is_told() -> None:
    admission = door()
    with admission.admit(wish()):
        waiting = asyncio.create_task(admission.until_empty())
        await asyncio.sleep(0)
        assert not waiting.done()
    await waiting


def test_forecasts_that_are_too_hopeful_are_stretched_until_few_take_longer() -> None:
    """The engine takes 1.5 s, or 1.6 in one of twenty cases, where a second is foretold."""
    clock = Clock()
    admission = door(clock=clock)
    surprises = []
    for number in range(2000):
        foretold = admission.expected(Wish(1), clock.now)
        took = 1.6 if number % 20 == 0 else 1.5
        with admission.admit(Wish(1, deadline=clock.now + 9)) as ticket:
            clock.now += took
            ticket.engine_seconds = took
        surprises.append(took > foretold)
    assert 0.02 <= sum(surprises[500:]) / 1500 <= 0.08


@pytest.mark.parametrize("seconds", [2.0, 0.5])  # given up ahead of the deadline, too, when it cannot be kept
def test_request_that_expired_took_longer_than_was_foretold(seconds: float) -> None:
    clock = Clock()
    admission = door(clock=clock)
    before = admission.expected(Wish(1), clock.now)
    inside = admission.admit(Wish(1, deadline=clock.now + 2))
    inside.__enter__()
    clock.now += seconds
    assert not inside.__exit__(DeadlineExceeded, DeadlineExceeded(""), None)
    assert admission.expected(Wish(1), clock.now) > before


def test_caller_who_leaves_early_teaches_nothing() -> None:
    clock = Clock()
    admission = door(clock=clock)
    inside = admission.admit(Wish(1, deadline=clock.now + 9))
    inside.__enter__()
    clock.now += 2
    assert not inside.__exit__(asyncio.CancelledError, asyncio.CancelledError(), None)
    assert admission.expected(Wish(1), clock.now) == 1.0
