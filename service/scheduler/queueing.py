"""One model's queue: rows that wait for a lane, and what becomes of them."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Generic, Literal, Protocol, TypeVar

from service.errors import DeadlineExceeded, EngineBroken, InferenceFailed
from service.scheduler.kind import USUAL, Kind
from service.scheduler.policy import Entry, plan

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from service.scheduler.admission import Ticket
    from service.scheduler.cost import CostModel
    from service.scheduler.lanes import Lanes
    from service.scheduler.policy import Plan, Rules, Situation

T = TypeVar("T")
R = TypeVar("R")
T_contra = TypeVar("T_contra", contravariant=True)
R_co = TypeVar("R_co", covariant=True)

Why = Literal["cancelled", "expired", "displaced"]


@dataclass(frozen=True)
class Answer(Generic[R]):
    """What became of one row, how long it waited and ran (seconds), and how many rows ran with it."""

    result: R
    queue_seconds: float
    infer_seconds: float
    batch_size: int


class Runner(Protocol[T_contra, R_co]):
    """What runs a model's rows on a lane.

    `prepares` tells whether `prepare` has something to do that is worth doing while another run goes on. `run` gives
    one result per row, in their order; it raises EngineBroken when the engine, and not a row, is the cause, and
    `repair` then makes it whole or raises EngineLost.
    """

    prepares: bool

    async def prepare(self, lane: int, rows: Sequence[T_contra], bucket: int) -> Any:  # noqa: ANN401 (the runner's own)
        """Bring rows to where the lane takes them from."""

    def discard(self, lane: int, prepared: Any) -> None:  # noqa: ANN401
        """Take note that what was prepared will not run."""

    async def run(self, lane: int, prepared: Any) -> Sequence[R_co]:  # noqa: ANN401
        """Run what was prepared."""

    async def repair(self, lane: int) -> None:
        """Make the lane's engine anew."""


class Observer(Protocol):
    """Who is told of what happens in a queue."""

    def left(self, why: Why) -> None:
        """Note that a row left before it ran: "cancelled", "expired" or "displaced"."""

    def changed(self) -> None:
        """Note that a batch was prepared anew, because callers of it had left."""

    def learned(self, costs: CostModel) -> None:
        """Note that the costs are known better."""

    def worked(self, seconds: float) -> None:
        """Note what the rows of a run would have taken in the runs in which they take least."""


@dataclass(eq=False)
class Row(Generic[T, R]):
    """One row that waits; each has a future of its own, so that no caller can harm another."""

    item: T
    entry: Entry
    ticket: Ticket
    queued: float
    answer: asyncio.Future[Answer[R]] = field(default_factory=lambda: asyncio.get_running_loop().create_future())

    def fail(self, error: Exception) -> None:
        """Tell the caller, if it still waits."""
        if not self.answer.done():
            self.answer.set_exception(error)


class ModelQueue(Generic[T, R]):
    """Rows of one model, in front of lanes that it shares with others.

    When a run fails, its batch is split until the row that made it fail stands alone; that caller gets the exception,
    the others their results. Cancelling a `submit` takes its row out of the queue. `clock` tells the seconds in which
    deadlines are given, `kind_of` the kind of an item: only those of one kind run together.
    """

    lanes: Lanes[T, R]

    def __init__(
        self,
        runner: Runner[T, R],
        costs: CostModel,
        rules: Rules,
        observer: Observer,
        clock: Callable[[], float] = time.monotonic,
        *,
        kind_of: Callable[[T], Kind] = lambda _: USUAL,
    ) -> None:
        self.runner = runner
        self.costs = costs
        self.rules = rules
        self.running: Counter[int] = Counter()
        self.used = 0.0
        self._observer = observer
        self._clock = clock
        self._kind_of = kind_of
        self._rows: dict[Row[T, R], None] = {}
        self._kinds: Counter[Kind] = Counter()
        self._planned: list[Row[T, R]] = []

    @property
    def depth(self) -> int:
        """Rows that wait for a lane."""
        return len(self._rows)

    @property
    def weight(self) -> float:
        """Rows that wait for a lane, each counted by its scale."""
        return sum(kind.scale * count for kind, count in self._kinds.items())

    @property
    def backlog(self) -> float:
        """Seconds of one lane that the rows waiting take."""
        return self._work(self._kinds)

    def wait(self, kind: Kind, ahead: Mapping[Kind, int]) -> float:
        """Return the seconds until a row of a kind with these rows of this model ahead of it would run."""
        own = self._work(ahead)
        others = self.lanes.other_work(self, own + self.costs.seconds(self.rules.sizes(kind)[0], kind))
        return (self.lanes.remaining() + own + others) / self.lanes.count

    def service(self, rows: int, kind: Kind, ahead: Mapping[Kind, int]) -> float:
        """Return the seconds that rows of a kind take once it is their turn, with these before them."""
        largest = self.rules.sizes(kind)[-1]
        bucket = self.rules.bucket(min(largest, rows + ahead.get(kind, 0) % largest), kind)
        return max(self.costs.seconds(bucket, kind), self.costs.work(rows, largest, kind) / self.lanes.count)

    def seconds(self, rows: Sequence[Row[T, R]], bucket: int) -> float:
        """Return the seconds that a run of these rows takes, which are of one kind."""
        return self.costs.seconds(bucket, rows[0].entry.kind)

    def bucket(self, rows: Sequence[Row[T, R]]) -> int:
        """Return the smallest bucket that takes these rows, which are of one kind."""
        return self.rules.bucket(len(rows), rows[0].entry.kind)

    def shortest(self, kind: Kind) -> float:
        """Return the seconds of the smallest run of a kind."""
        return self.costs.seconds(self.rules.sizes(kind)[0], kind)

    def least_work(self, rows: int, kind: Kind) -> float:
        """Return the seconds of one lane that rows of a kind take in the runs in which they take least."""
        return rows * self.costs.best(self.rules.sizes(kind), kind)

    def _best_share(self, rows: int, bucket: int, kind: Kind) -> float:
        """Return the share of a run's time that its rows would take in the runs in which they take least."""
        expected = self.costs.seconds(bucket, kind)
        return min(1.0, self.least_work(rows, kind) / expected) if expected else 0.0

    def _work(self, rows: Mapping[Kind, int]) -> float:
        return sum(self.costs.work(count, self.rules.sizes(kind)[-1], kind) for kind, count in rows.items())

    async def submit(self, item: T, ticket: Ticket) -> Answer[R]:
        """Wait for the row's turn and return its answer.

        Raises DeadlineExceeded when the turn does not come in time, QueueFull when a request of a higher class took the
        place, and what the run raised for this row.
        """
        if ticket.displaced:
            raise ticket.displaced
        wish = ticket.wish
        row: Row[T, R] = Row(item, self._entry(item, ticket), ticket, self._clock())
        ticket.on_displaced = lambda: self._drop_all(ticket)
        self._rows[row] = None
        self._kinds[row.entry.kind] += 1
        self.lanes.notify()
        try:
            answer = await row.answer
        except asyncio.CancelledError:
            self._cancelled(row)
            raise
        if wish.rows == 1:
            ticket.engine_seconds = answer.queue_seconds + answer.infer_seconds
        return answer

    def _entry(self, item: T, ticket: Ticket) -> Entry:
        """Return what the policy goes by.

        A row waits since it was admitted: time spent on decoding is no reason to be served later. Of several rows each
        waits for itself, or the last ones of a large picture would go before all who came while the first ones ran.
        """
        wish, kind = ticket.wish, self._kind_of(item)
        if wish.rows == 1:
            return Entry(wish.priority, wish.deadline, ticket.arrived, ticket.rank[1], kind=kind)
        now = self._clock()
        due = min(wish.deadline, ticket.rank[1] + now - ticket.arrived)
        return Entry(wish.priority, wish.deadline, now, due, ticket.owner, kind)

    def plan(self, situation: Situation) -> Plan:
        """Plan the next run, and let go of what is too late."""
        rows = list(self._rows)
        made = plan([row.entry for row in rows], self.costs, self.rules, situation)
        for position in made.late:
            self._drop(
                rows[position], DeadlineExceeded("the deadline passes before the engine could be done"), "expired"
            )
        self._planned = rows
        return made

    def take(self, positions: Iterable[int]) -> list[Row[T, R]]:
        """Take what was just planned out of the queue."""
        taken = [self._planned[position] for position in positions]
        for row in taken:
            self._forget(row)
            row.ticket.rows_left -= 1
            row.ticket.started = True
            if row.entry.owner:
                self.running[row.entry.owner] += 1
        return taken

    async def execute(self, lane: int, rows: list[Row[T, R]], bucket: int, prepared: Any) -> None:  # noqa: ANN401
        """Run what was taken, on a lane, and tell the callers."""
        try:
            await self._attempt(lane, rows, bucket, prepared, repaired=False)
        finally:
            self._release(rows)
            for row in rows:
                row.fail(InferenceFailed("the engine ended before this picture was done"))

    def give_up(self, rows: list[Row[T, R]]) -> None:
        """Note that rows which were taken do not run, because their callers have left."""
        self._release(rows)
        self._observer.changed()
        for row in rows:
            self._count_out(row)

    def abandon(self, error: Exception) -> None:
        """Let go of all that waits."""
        for row in list(self._rows):
            self._drop(row, error)

    async def _attempt(self, lane: int, rows: list[Row[T, R]], bucket: int, prepared: Any, *, repaired: bool) -> None:  # noqa: ANN401
        started = self._clock()
        try:
            results = await self.runner.run(lane, prepared)
        except EngineBroken as error:
            await self.runner.repair(lane)
            if repaired:
                await self._isolate(lane, rows, error)
            else:
                await self._again(lane, rows, repaired=True)
        except Exception as error:  # noqa: BLE001 (whatever it is, it belongs to the caller whose row caused it)
            await self._isolate(lane, rows, error)
        else:
            seconds, kind = self._clock() - started, rows[0].entry.kind
            self.costs.observe(bucket, seconds, kind)
            self._observer.learned(self.costs)
            self._observer.worked(seconds * self._best_share(len(rows), bucket, kind))
            for row, result in zip(rows, results, strict=True):
                if not row.answer.done():
                    waited = started - row.queued
                    row.answer.set_result(Answer(result, waited, seconds, len(rows)))

    async def _isolate(self, lane: int, rows: list[Row[T, R]], error: Exception) -> None:
        """Run the halves of a failed batch apart; a single row keeps its error."""
        if len(rows) == 1:
            rows[0].fail(error)
            return
        middle = len(rows) // 2
        for half in (rows[:middle], rows[middle:]):
            if wanted := [row for row in half if not row.answer.done()]:
                await self._again(lane, wanted)

    async def _again(self, lane: int, rows: list[Row[T, R]], *, repaired: bool = False) -> None:
        bucket = self.bucket(rows)
        prepared = await self.runner.prepare(lane, [row.item for row in rows], bucket)
        await self._attempt(lane, rows, bucket, prepared, repaired=repaired)

    def _cancelled(self, row: Row[T, R]) -> None:
        """Let go of a row whose caller has left, or whose time was up."""
        if self._forget(row):
            self._count_out(row)

    def _count_out(self, row: Row[T, R]) -> None:
        self._observer.left("expired" if row.entry.deadline <= self._clock() else "cancelled")

    def _release(self, rows: list[Row[T, R]]) -> None:
        owned = [row.entry.owner for row in rows if row.entry.owner]
        self.running -= Counter(owned)  # keeps those above 0 alone

    def _drop_all(self, ticket: Ticket) -> None:
        for row in [row for row in self._rows if row.ticket is ticket]:
            self._drop(row, ticket.displaced or InferenceFailed("displaced"), "displaced")

    def _forget(self, row: Row[T, R]) -> bool:
        """Take a row out of the queue; False where it is not in it."""
        if row not in self._rows:
            return False
        del self._rows[row]
        self._kinds[row.entry.kind] -= 1
        if not self._kinds[row.entry.kind]:
            del self._kinds[row.entry.kind]
        return True

    def _drop(self, row: Row[T, R], error: Exception, why: Why | None = None) -> None:
        self._forget(row)
        row.fail(error)
        if why:
            self._observer.left(why)
