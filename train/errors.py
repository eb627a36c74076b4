"""What can go wrong in this room, for the person who trains.

    TrainError        a run cannot start or go on
    ├── Diverged      a loss is no longer a number
    ├── LostProcess   one of the processes that train together is gone
    └── ToldByMain    the main process has said what is wrong
    PairsError        a data set cannot be used as it stands

A message says what is wrong, where, and what would help.
"""

from __future__ import annotations


class TrainError(Exception):
    """A run that cannot start or go on; the message says why and what would help."""


class Diverged(TrainError):
    """A loss is no longer a number."""


class LostProcess(TrainError):
    """One of the processes that train together is gone; the message says how it was noticed."""


class ToldByMain(TrainError):
    """What the main process raised, in the others; it has said it for all."""


class PairsError(ValueError):
    """A data set that cannot be used as it stands; the message lists every file at fault."""
