"""What the keeper of models remembers of each version."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from service.models.reconcile import Held
from service.models.registry import State

if TYPE_CHECKING:
    from service.models.registry import ModelVersion
    from service.models.repository import ModelFile, Stamp

SERVING = frozenset({State.READY, State.RECOVERING})


@dataclass(eq=False)
class Kept:
    """A version, and what was done about it so far; see `Held`."""

    model: ModelVersion
    stamp: Stamp
    is_tried: bool = False
    is_broken: bool = False
    is_asked_for: bool = False
    refused: Stamp | None = None

    def held(self) -> Held:
        """Return what is to be known of it when the next step is decided."""
        state = self.model.state
        return Held(
            self.stamp,
            is_tried=self.is_tried,
            is_broken=self.is_broken,
            is_loaded=state in SERVING,
            is_ready=state is State.READY,
            is_leaving=state is State.DRAINING,
            is_asked_for=self.is_asked_for,
            refused=self.refused,
        )

    def serves(self, file: ModelFile) -> bool:
        """Return whether this very file is loaded."""
        return self.model.state in SERVING and self.model.file.stamp == file.stamp
