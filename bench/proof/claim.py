"""A promise, what was measured of it, and whether it is kept."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from bench.report import machine

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


@dataclass(frozen=True)
class Claim:
    """A promise; `wanted` says in words what `measured` must be."""

    what: str
    measured: float
    wanted: str
    kept: bool

    @classmethod
    def at_least(cls, what: str, measured: float, limit: float) -> Claim:
        """Promises no less than a limit."""
        return cls(what, round(measured, 4), f"at least {limit:g}", measured >= limit)

    @classmethod
    def at_most(cls, what: str, measured: float, limit: float) -> Claim:
        """Promises no more than a limit."""
        return cls(what, round(measured, 4), f"at most {limit:g}", measured <= limit)

    @classmethod
    def told(cls, what: str, measured: float) -> Claim:
        """Promises nothing: a figure to be known."""
        return cls(what, round(measured, 4), "no limit", kept=True)


@dataclass(frozen=True)
class Proof:
    """What an experiment showed: promises, the figures behind them, and how to draw it, if it is worth drawing."""

    claims: list[Claim]
    figures: dict[str, Any] = field(default_factory=dict)
    draw: Callable[[Path], None] | None = None

    @property
    def kept(self) -> bool:
        """Whether all promises are kept."""
        return all(claim.kept for claim in self.claims)

    def as_json(self, scenario: str) -> dict[str, Any]:
        """Returns what is written to the file."""
        claims = [asdict(claim) for claim in self.claims]
        return {"scenario": scenario, "kept": self.kept, "claims": claims, "machine": machine(), **self.figures}

    def text(self) -> str:
        """Returns a line for each promise."""
        lines = (
            f"{'kept  ' if claim.kept else 'BROKEN'}  {claim.measured:>10g}  {claim.what} ({claim.wanted})"
            for claim in self.claims
        )
        return "\n".join(lines)
