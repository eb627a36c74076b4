"""What can go wrong while models are delivered.

    DeliveryError
    ├── Refused      what was asked for cannot be had, or is not what it should be: trying again does not help
    ├── Transient    the other side, or the way to it, is not well now; carries when to come back, where it was told
    └── GaveUp       it went on being unwell for too long: the same command may succeed later

Every message is one line for whoever ran the command.
"""

from __future__ import annotations


class DeliveryError(Exception):
    """Base of all errors of a delivery."""


class Refused(DeliveryError):
    """Trying again does not help."""


class GaveUp(DeliveryError):
    """Trying again did not help for as long as it was wanted."""


class Transient(DeliveryError):
    """Trying again may help, after `retry_after` seconds."""

    def __init__(self, message: str, retry_after: float = 0.0) -> None:
        super().__init__(message)
        self.retry_after = retry_after
