"""Who is let in: decided before anything is decoded, by what is in already and by when it will be done."""

from __future__ import annotations

import asyncio
import itertools
import math
import time
from collections import Counter
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from service.errors import CallerLimit, DeadlineExceeded, DeadlineUnreachable, PictureTooLarge, QueueFull
from service.scheduler.kind import USUAL, Kind
from service.scheduler.priority import Priority

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

# A caller is never told to come back sooner than this, in seconds.
_SHORTEST_RETRY = 0.05
# Weight of the latest request in the mean of what its way takes besides the queue and the engine.
_FRESHNESS = 0.1
# Of the requests let in with a deadline, this share may turn out to take longer than was foretold.
_SURPRISES = 0.05
# By how much one such request makes the next forecasts more careful, and how careful they may get.
_STEP, _LEAST_CAUTION, _MOST_CAUTION = 0.1, 0.9, 2.0


@dataclass(frozen=True)
class Bounds:
    """How much may be in at a time: requests, and the bytes that they hold."""

    requests: int
    nbytes: int


@dataclass(frozen=True)
class Wish:
    """What a request asks for: room for `nbytes`, and the engine for `rows` of a `kind`, until `deadline`.

    The deadline is in monotonic seconds.
    """

    nbytes: int
    rows: int = 1
    priority: Priority = Priority.NORMAL
    deadline: float = math.inf
    caller: str = ""
    kind: Kind = USUAL


class Forecast(Protocol):
    """What is known of the engine in front of which one waits."""

    def wait(self, kind: Kind, ahead: Mapping[Kind, int]) -> float:
        """Return the seconds until a row of a kind with these rows of its model ahead of it would run."""

    def service(self, rows: int, kind: Kind, ahead: Mapping[Kind, int]) -> float:
        """Return the seconds that rows of a kind take in the engine once it is their turn."""


@dataclass(eq=False)
class Ticket:
    """A request's place, from admission until its answer is there; `rows_left` of it have not run yet.

    `rank` is what the order goes by, as the policy has it for one that has just come.
    """

    wish: Wish
    owner: int
    arrived: float
    rank: tuple[int, float]
    rows_left: int
    started: bool = False
    displaced: QueueFull | None = None
    on_displaced: Callable[[], None] | None = None
    engine_seconds: float = math.nan
    foretold: float = 0.0
    expired: bool = False


class Caution:
    """By what factor forecasts are stretched, so that few requests turn out to take longer than was foretold.

    Each that does raises the factor, each that does not lowers it a little: it settles where the share of surprises is
    the one wanted, whatever the forecasts leave out.
    """

    def __init__(self) -> None:
        self.factor = 1.0

    def learn(self, *, surprised: bool) -> None:
        """Learn from one request."""
        self.factor *= 1 + _STEP * ((1 - _SURPRISES) if surprised else -_SURPRISES)
        self.factor = min(max(self.factor, _LEAST_CAUTION), _MOST_CAUTION)


class Account:
    """Requests and bytes that are in, against their bounds."""

    def __init__(self, bounds: Bounds, whose: str) -> None:
        self.bounds = bounds
        self.whose = whose
        self.requests = 0
        self.nbytes = 0
        self._empty = asyncio.Event()
        self._empty.set()

    def excess(self, nbytes: int, leaving: Sequence[Ticket] = ()) -> str:
        """Return what one more request of so many bytes would exceed when some have left, or nothing."""
        if self.requests - len(leaving) >= self.bounds.requests:
            return f"{self.requests:,} requests are in, as many as {self.whose} takes"
        if self.nbytes - sum(ticket.wish.nbytes for ticket in leaving) + nbytes > self.bounds.nbytes:
            return (
                f"requests of {self.nbytes:,} bytes are in; with this one's {nbytes:,} it would be more than the "
                f"{self.bounds.nbytes:,} that {self.whose} takes"
            )
        return ""

    def check(self, nbytes: int) -> None:
        """Raise PictureTooLarge for a request of so many bytes that there would be no room for it alone."""
        if nbytes > self.bounds.nbytes:
            raise PictureTooLarge(
                f"the picture and what is made of it take {nbytes:,} bytes on their way, more than the "
                f"{self.bounds.nbytes:,} that {self.whose} takes in all; send it smaller or in parts"
            )

    def add(self, nbytes: int) -> None:
        """Count one request in."""
        self.requests += 1
        self.nbytes += nbytes
        self._empty.clear()

    def remove(self, nbytes: int) -> None:
        """Count one request out."""
        self.requests -= 1
        self.nbytes -= nbytes
        if not self.requests:
            self._empty.set()

    async def until_empty(self) -> None:
        """Wait until no request is in."""
        await self._empty.wait()


class House:
    """What all models share: the bounds on everything together, and how much each caller has in hand."""

    def __init__(self, bounds: Bounds, caller_limit: int = 0) -> None:
        """Bound all requests together, and each caller's to `caller_limit` unless that is 0."""
        self.account = Account(bounds, "the server")
        self.doors: set[Admission] = set()
        self._caller_limit = caller_limit
        self._callers: Counter[str] = Counter()
        self._owners = itertools.count(1)

    def next_owner(self) -> int:
        """Return a number for a request."""
        return next(self._owners)

    def check_caller(self, caller: str, retry_after: Callable[[], float]) -> None:
        """Raise CallerLimit when the caller has as much in hand as one may."""
        if self._caller_limit and self._callers[caller] >= self._caller_limit:
            raise CallerLimit(
                f"{self._callers[caller]:,} of this caller's requests are in hand, as many as one caller may have",
                retry_after=retry_after(),
            )

    def enter(self, wish: Wish) -> None:
        """Count a request in."""
        self.account.add(wish.nbytes)
        if self._caller_limit:
            self._callers[wish.caller] += 1

    def leave(self, wish: Wish) -> None:
        """Count a request out."""
        self.account.remove(wish.nbytes)
        if self._caller_limit:
            self._callers[wish.caller] -= 1
            if not self._callers[wish.caller]:
                del self._callers[wish.caller]


class Admission:
    """The door in front of one model.

    A request is refused when its caller has too much in hand, when its deadline cannot be kept, or when there is no
    room for it and nobody of a lower class whose place it could take. `patience` is after how many seconds a request
    without a deadline is due.
    """

    def __init__(
        self,
        bounds: Bounds,
        house: House,
        forecast: Forecast,
        patience: float = math.inf,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._account = Account(bounds, "the model")
        self._house = house
        self._forecast = forecast
        self._patience = patience
        self._clock = clock
        self._besides = 0.0
        self._cautions = {priority: Caution() for priority in Priority}
        self.tickets: dict[Ticket, None] = {}
        house.doors.add(self)

    @property
    def requests(self) -> int:
        """Requests that are in."""
        return self._account.requests

    @property
    def bytes(self) -> int:
        """Bytes that they hold."""
        return self._account.nbytes

    @contextmanager
    def admit(self, wish: Wish) -> Iterator[Ticket]:
        """Hold a place; raises Overloaded, with when to come back, DeadlineExceeded, or PictureTooLarge."""
        now = self._clock()
        self._check(wish, now)
        ticket = Ticket(wish, self._house.next_owner(), now, self._rank(wish, now), wish.rows)
        ticket.foretold = self.expected(wish, now) if wish.deadline < math.inf else math.inf
        self._account.add(wish.nbytes)
        self._house.enter(wish)
        self.tickets[ticket] = None
        try:
            yield ticket
            self._learn(ticket)
        except DeadlineExceeded:
            ticket.expired = True
            raise
        finally:
            self._release(ticket)
            self._look_back(ticket)

    async def until_empty(self) -> None:
        """Wait until no request is in."""
        await self._account.until_empty()

    def close(self) -> None:
        """Be gone from the house."""
        self._house.doors.discard(self)

    def expected(self, wish: Wish, now: float) -> float:
        """Return the seconds from now until a request would be answered, were it admitted."""
        rank = self._rank(wish, now)
        # Rows of one picture take turns with another's: no more of them go before it than it has itself.
        ahead: dict[Kind, int] = {}
        for ticket in self.tickets:
            if ticket.rank <= rank:
                kind = ticket.wish.kind
                ahead[kind] = ahead.get(kind, 0) + min(ticket.rows_left, wish.rows)
        seconds = self._forecast.wait(wish.kind, ahead) + self._forecast.service(wish.rows, wish.kind, ahead)
        seconds += self._besides
        return seconds * self._cautions[wish.priority].factor

    def _rank(self, wish: Wish, now: float) -> tuple[int, float]:
        return wish.priority, min(wish.deadline, now + self._patience)

    def _check(self, wish: Wish, now: float) -> None:
        if wish.deadline <= now:
            raise DeadlineExceeded("the deadline had passed when the request came in")
        self._house.check_caller(wish.caller, lambda: self._retry_after(wish, now))
        # Where nothing is in, the request is let in whatever the forecast: without runs it would never learn better.
        if wish.deadline < math.inf and self._house.account.requests:
            self._check_deadline(wish, now)
        for ticket, door in self._leaving(wish, now):
            door._displace(ticket, now)  # noqa: SLF001 (another door of this very class)

    def _check_deadline(self, wish: Wish, now: float) -> None:
        expected = self.expected(wish, now)
        left = wish.deadline - now
        if expected > left:
            raise DeadlineUnreachable(
                f"an answer takes {expected:.3f} s with what is waiting now, and the deadline is in {left:.3f} s; "
                "allow more time or try again later",
                retry_after=max(_SHORTEST_RETRY, expected - left),
            )

    def _leaving(self, wish: Wish, now: float) -> list[tuple[Ticket, Admission]]:
        """Return who of lower classes must leave so that there is room; raises QueueFull where that is not enough."""
        leaving: list[tuple[Ticket, Admission]] = []
        for account, doors in ((self._account, {self}), (self._house.account, self._house.doors)):
            account.check(wish.nbytes)
            excess = account.excess(wish.nbytes, [ticket for ticket, _ in leaving])
            candidates = iter(_below(doors, wish.priority, leaving) if excess else ())
            while excess:
                if not (candidate := next(candidates, None)):
                    raise QueueFull(f"{excess}; try again later", self._retry_after(wish, now))
                leaving.append(candidate)
                excess = account.excess(wish.nbytes, [ticket for ticket, _ in leaving])
        return leaving

    def _displace(self, ticket: Ticket, now: float) -> None:
        message = "a request of a higher class took this one's place; try again later"
        ticket.displaced = QueueFull(message, self._retry_after(ticket.wish, now))
        self._release(ticket)
        if ticket.on_displaced:
            ticket.on_displaced()

    def _release(self, ticket: Ticket) -> None:
        """Give the place back, once."""
        if ticket in self.tickets:
            del self.tickets[ticket]
            self._account.remove(ticket.wish.nbytes)
            self._house.leave(ticket.wish)

    def _learn(self, ticket: Ticket) -> None:
        """Learn how long the rest of a request's way takes: before its row was queued, and after it had run."""
        if not math.isnan(ticket.engine_seconds):
            besides = self._clock() - ticket.arrived - ticket.engine_seconds
            self._besides += _FRESHNESS * (max(0.0, besides) - self._besides)

    def _look_back(self, ticket: Ticket) -> None:
        """Learn whether a request took longer than was foretold; of one whose caller left early nothing is known."""
        now = self._clock()
        expired = ticket.expired or now >= ticket.wish.deadline
        if ticket.foretold < math.inf and (expired or not math.isnan(ticket.engine_seconds)):
            surprised = expired or now - ticket.arrived > ticket.foretold
            self._cautions[ticket.wish.priority].learn(surprised=surprised)

    def _retry_after(self, wish: Wish, now: float) -> float:
        return max(_SHORTEST_RETRY, self.expected(wish, now))


def _below(
    doors: Iterable[Admission], priority: Priority, but: Sequence[tuple[Ticket, Admission]]
) -> list[tuple[Ticket, Admission]]:
    """Return requests below a class of which nothing has run yet, the one that would run last first."""
    found = [
        (ticket, door)
        for door in doors
        for ticket in door.tickets
        if ticket.wish.priority > priority and not ticket.started and (ticket, door) not in but
    ]
    return sorted(found, key=lambda one: (one[0].rank, one[0].owner), reverse=True)
