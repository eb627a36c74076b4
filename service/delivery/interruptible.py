"""Waiting that a signal ends, for what a library written in another language does: it looks at none while it waits."""

from __future__ import annotations

import threading
from concurrent.futures import Future
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

T = TypeVar("T")


def interruptibly(call: Callable[[], T]) -> T:
    """Return what the call returns, or raise what it raises; where a signal raises first, the call is left behind."""
    answer: Future[T] = Future()
    # Not of a pool: Python would wait for its threads when it ends.
    threading.Thread(target=_answer, args=(call, answer), daemon=True).start()
    return answer.result()


def one_by_one(values: Iterable[T]) -> Iterator[T]:
    """Yield the values, with the same said of the wait for each."""
    iterator, end = iter(values), object()
    while (value := interruptibly(lambda: next(iterator, end))) is not end:
        yield value  # type: ignore[misc] # it is not the end


def _answer(call: Callable[[], T], answer: Future[T]) -> None:
    try:
        answer.set_result(call())
    except BaseException as error:  # noqa: BLE001 (raised where it is waited for)
        answer.set_exception(error)
