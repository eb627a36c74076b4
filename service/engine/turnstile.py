"""Who may use the GPUs of this process: all at once, or one alone."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


class Turnstile:
    """Lets any number through together, or one alone; who wants to be alone is not passed by those who came later."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._inside = 0
        self._alone = 0  # those who are alone, or wait for it

    @property
    def wanted(self) -> bool:
        """Whether someone is alone, or waits for it."""
        return self._alone > 0

    @contextmanager
    def shared(self) -> Iterator[None]:
        """Wait while someone is alone or wants to be."""
        with self._changed:
            self._changed.wait_for(lambda: not self._alone)
            self._inside += 1
        try:
            yield
        finally:
            with self._changed:
                self._inside -= 1
                self._changed.notify_all()

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Keep newcomers out, and wait until nobody else is inside."""
        with self._changed:
            self._alone += 1
        try:
            with self._changed:
                self._changed.wait_for(lambda: not self._inside)
                self._inside += 1
            try:
                yield
            finally:
                with self._changed:
                    self._inside -= 1
        finally:
            with self._changed:
                self._alone -= 1
                self._changed.notify_all()


# While a CUDA graph is recorded, no other thread of the process may allocate or copy on a GPU: CUDA would end the
# recording, whichever model and device the other one works for.
gpu = Turnstile()
