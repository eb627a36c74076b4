"""Work that is done one piece after the other, for whoever asks: a caller who leaves does not end what he began."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from service.errors import NotReady, ServiceError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

T = TypeVar("T")


class Order(Generic[T]):
    """One piece of work, and what came of it."""

    def __init__(self, work: Callable[[], Awaitable[T]]) -> None:
        self._work = work
        self.answer: asyncio.Future[T] = asyncio.get_running_loop().create_future()

    async def carry_out(self) -> None:
        """Do the work; an error that is meant for callers is the caller's, any other is raised."""
        try:
            result = await self._work()
        except ServiceError as error:
            self.refuse(error)
        else:
            if not self.answer.done():
                self.answer.set_result(result)

    def refuse(self, error: ServiceError) -> None:
        """Answer with an error, if anyone still waits."""
        if not self.answer.done():
            self.answer.set_exception(error)


class Orders:
    """Those that wait, first come first served, until the end."""

    def __init__(self) -> None:
        self._waiting: asyncio.Queue[Order[Any]] = asyncio.Queue()
        self._in_hand: Order[Any] | None = None
        self._is_over = False

    async def place(self, work: Callable[[], Awaitable[T]]) -> T:
        """Have work done and return what comes of it; raises NotReady when the server ends before that."""
        if self._is_over:
            raise _shutting_down()
        order = Order(work)
        self._waiting.put_nowait(order)
        return await order.answer

    def add(self, work: Callable[[], Awaitable[object]]) -> None:
        """Have work done, some time."""
        self._waiting.put_nowait(Order(work))

    async def carry_out_next(self, timeout: float | None) -> bool:  # noqa: ASYNC109 (of the waiting, not of the work)
        """Carry out the next order; False when none comes within `timeout` seconds (None: waits for ever)."""
        try:
            async with asyncio.timeout(timeout):
                self._in_hand = await self._waiting.get()
        except TimeoutError:
            return False
        await self._in_hand.carry_out()
        self._in_hand = None
        return True

    def end(self) -> None:
        """Refuse all that is not done."""
        self._is_over = True
        left = [] if self._in_hand is None else [self._in_hand]
        while not self._waiting.empty():
            left.append(self._waiting.get_nowait())
        for order in left:
            order.refuse(_shutting_down())


def _shutting_down() -> NotReady:
    return NotReady("the server is shutting down")
