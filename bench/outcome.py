"""What became of a call."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias

if TYPE_CHECKING:
    from lapis.v1 import translation_pb2 as pb

    from bench.settings import Priority

# good: answered in time; late: answered after its deadline; refused: told at once that there is too much; expired: not
# answered by its deadline; cancelled: by its caller; unsent: too many calls of this process were unanswered already;
# failed: all else.
Verdict: TypeAlias = Literal["good", "late", "refused", "expired", "cancelled", "failed", "unsent"]

OK, CANCELLED, EXPIRED, REFUSED = "OK", "CANCELLED", "DEADLINE_EXCEEDED", "RESOURCE_EXHAUSTED"
BY_CALLER, NOT_SENT, UNANSWERED, UNSENT = "BY_CALLER", "NOT_SENT_IN_TIME", "UNANSWERED", "UNSENT"


@dataclass(frozen=True, slots=True)
class Reply:
    """What came back: the status code, the reason from google.rpc.ErrorInfo, and what an answer tells of itself."""

    code: str
    reason: str = ""
    timings: pb.Timings | None = None
    model: str = ""
    cached: bool = False


@dataclass(frozen=True, slots=True)
class Outcome:
    """A call from beginning to end; times are in seconds from the start of the load.

    `intended` is when the call was due, `sent` when its caller came to it, which is later when the caller is behind.
    """

    reply: Reply
    priority: Priority
    intended: float
    sent: float
    ended: float
    deadline: float
    is_cancelling: bool

    @property
    def latency(self) -> float:
        """Seconds from when the call was due, and so corrected for coordinated omission."""
        return self.ended - self.intended

    @property
    def verdict(self) -> Verdict:
        """Tells in one word how it went."""
        match self.reply.code, self.reply.reason:
            case "OK", _:
                return "good" if self.latency <= self.deadline else "late"
            case "RESOURCE_EXHAUSTED", _:
                return "refused"
            case "DEADLINE_EXCEEDED", _:
                return "expired"
            case "CANCELLED", "BY_CALLER":
                return "cancelled"
            case "UNSENT", _:
                return "unsent"
        return "failed"
