from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from service.engine.turnstile import Turnstile

PATIENCE = 30


def test_any_number_is_let_through_together() -> None:
    turnstile, all_inside = Turnstile(), threading.Barrier(3)

    def share(_: int) -> int:
        with turnstile.shared():
            return all_inside.wait(PATIENCE)

    with ThreadPoolExecutor(3) as threads:
        assert sorted(threads.map(share, range(3))) == [0, 1, 2]


def test_who_is_alone_meets_nobody() -> None:
    turnstile, together, inside = Turnstile(), threading.Barrier(4), 0
    met = []

    def work(number: int) -> None:
        nonlocal inside
        together.wait(PATIENCE)
        for turn in range(300):
            alone = (turn + number) % 3 == 0
            with turnstile.alone() if alone else turnstile.shared():
                inside += 1
                if alone:
                    met.append(inside)
                inside -= 1

    with ThreadPoolExecutor(4) as threads:
        list(threads.map(work, range(4)))
    assert set(met) == {1}


def test_newcomers_wait_for_who_wants_to_be_alone() -> None:
    turnstile, order = Turnstile(), []
    entered, leave = threading.Event(), threading.Event()

    def first() -> None:
        with turnstile.shared():
            entered.set()
            leave.wait(PATIENCE)
            order.append("first")

    def alone() -> None:
        with turnstile.alone():
            order.append("alone")

    def newcomer() -> None:
        with turnstile.shared():
            order.append("newcomer")

    with ThreadPoolExecutor(3) as threads:
        threads.submit(first)
        assert entered.wait(PATIENCE)
        threads.submit(alone)
        while not (turnstile.wanted or order):
            pass
        threads.submit(newcomer)
        leave.set()
    assert order == ["first", "alone", "newcomer"]


@pytest.mark.parametrize("way", ["shared", "alone"])
def test_failure_inside_keeps_nobody_out(way: str) -> None:
    turnstile = Turnstile()
    with pytest.raises(ValueError, match="inside"), getattr(turnstile, way)():
        raise ValueError("inside")
    with turnstile.alone():
        pass
    with turnstile.shared():
        pass
