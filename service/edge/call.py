"""What is known of the request in hand."""

from __future__ import annotations

from contextvars import ContextVar
from dataclasses import dataclass


@dataclass
class Call:
    """One request, filled in while it is served; `started` is on the monotonic clock.

    The model is noted only once it was found in the repository: no name that a caller makes up becomes a label.
    """

    method: str
    started: float
    request_id: str = ""
    model: str = ""
    version: str = ""


current: ContextVar[Call] = ContextVar("current")
