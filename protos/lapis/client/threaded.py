"""TranslateStream for threads: gRPC's own thread sends, one of ours receives, the caller's reads."""

from __future__ import annotations

import queue
import threading
from typing import TYPE_CHECKING, Protocol, TypeAlias

from lapis.client import messages
from lapis.client.errors import typed_errors
from lapis.client.stream import Book, Request, StreamResult, as_request, unreadable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from lapis.client.messages import Picture
    from lapis.v1 import translation_pb2 as v1

    class Call(Iterator[v1.TranslateStreamResponse], Protocol):
        """What gRPC returns for a call whose answers are many."""

        def cancel(self) -> bool:
            """Ends the call, unless it has ended."""

    Open: TypeAlias = Callable[[Iterator[v1.TranslateStreamRequest]], Call]


class ThreadedStream:
    """One call of TranslateStream; what is in hand, from a picture's reading to its result's, stays within a window."""

    def __init__(self, address: str, requests: Iterable[Picture | Request], book: Book) -> None:
        self._address = address
        self._requests = iter(requests)
        self._book = book
        self._slots = threading.Semaphore(book.window)
        self._over = threading.Event()
        # What there is to tell the caller; None is the end. Never longer than the window, and two for the ends.
        self._events: queue.SimpleQueue[StreamResult | Exception | None] = queue.SimpleQueue()

    def results(self, open_call: Open) -> Iterator[StreamResult]:
        """Yields results as they come. The call is cancelled where the caller does not read on to the end."""
        call = open_call(self._messages())
        threading.Thread(target=self._receive, args=(call,), daemon=True).start()
        try:
            while (event := self._events.get()) is not None:
                if isinstance(event, Exception):
                    raise event
                self._slots.release()
                yield event
        finally:
            self._over.set()
            self._slots.release()
            call.cancel()

    def _messages(self) -> Iterator[v1.TranslateStreamRequest]:
        """Yields what is sent. What the caller's own iterator raises is raised where the caller reads results."""
        try:
            while self._take_slot():
                request = as_request(next(self._requests))
                try:
                    picture = messages.load(request.picture)
                except OSError as error:
                    self._events.put(unreadable(request, error))
                else:
                    yield self._book.enter(request, picture)
        except StopIteration:
            self._book.all_sent = True
        except Exception as error:  # noqa: BLE001 (told by the other thread)
            self._events.put(error)

    def _take_slot(self) -> bool:
        self._slots.acquire()
        return not self._over.is_set()

    def _receive(self, call: Call) -> None:
        try:
            with typed_errors(self._address):
                for response in call:
                    self._events.put(self._book.take(response))
            self._book.check_end()
        except Exception as error:  # noqa: BLE001 (told by the other thread)
            self._events.put(error)
        else:
            self._events.put(None)
