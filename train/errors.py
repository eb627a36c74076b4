"""What can go wrong in this room, for the person who trains.

    TrainError        a run cannot start or go on
    └── Diverged      a loss is no longer a number
    PairsError        a data set cannot be used as it stands

A message says what is wrong, where, and what would help.
"""

from __future__ import annotations


class TrainError(Exception):
    """A run that cannot start or go on; the message says why and what would help."""


class Diverged(TrainError):
    """A loss is no longer a number."""


class PairsError(ValueError):
    """A data set that cannot be used as it stands; the message lists every file at fault."""
