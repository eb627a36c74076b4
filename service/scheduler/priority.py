"""Classes of requests."""

from enum import IntEnum


class Priority(IntEnum):
    """Who goes first; the lower number does."""

    HIGH = 0
    NORMAL = 1
    LOW = 2
