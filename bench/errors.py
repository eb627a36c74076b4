"""What keeps a measurement from being made."""

from __future__ import annotations


class BenchError(Exception):
    """The measurement cannot be made as it was asked for; the message is one line for whoever asked."""
