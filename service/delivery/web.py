"""A file on a web server."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from urllib.parse import unquote

from service.delivery.errors import Refused
from service.delivery.layout import safe_parts
from service.delivery.offer import Offer, Part, expected_form
from service.delivery.transport import body, failure, shown, split

if TYPE_CHECKING:
    from collections.abc import Iterator

    import requests

    from service.delivery.transport import Transport

_CREDENTIALS = "; what authorises us there is --authorization, or an entry in ~/.netrc"


@dataclass
class WebFile:
    """A `model.onnx` or an archive behind a URL; `authorization` is sent as the header of that name."""

    url: str
    transport: Transport
    authorization: str = ""
    _first: requests.Response | None = field(default=None, init=False)
    _version: str = field(default="", init=False)

    def offer(self) -> Offer:
        """Return the one file."""
        path = unquote(split(self.url).path)
        form = expected_form(path, shown(self.url))
        self._first = response = self._begin()
        length = response.headers.get("Content-Length", "")
        parts = safe_parts(path.lstrip("/"), shown(self.url))
        part = Part(parts, form, self._read, int(length) if length.isdecimal() else None)
        return Offer(f"{self._version} {length}" if self._version else "", [part])

    def _begin(self) -> requests.Response:
        response = self._get({})
        self._version = _validator(response)
        return response

    def _get(self, headers: dict[str, str]) -> requests.Response:
        if self.authorization:
            headers = headers | {"Authorization": self.authorization}
        response = self.transport.request("GET", self.url, headers)
        if response.status_code >= 400 and response.status_code != 416:
            raise failure(response, _CREDENTIALS if response.status_code in {401, 403} else "")
        return response

    def _read(self, offset: int) -> Iterator[bytes]:
        first, self._first = self._first, None
        if offset == 0:
            yield from body(first or self._begin())
            return
        response = self._get({"Range": f"bytes={offset}-"} | ({"If-Range": self._version} if self._version else {}))
        if _validator(response) != self._version or response.status_code == 416:
            response.close()
            raise Refused(f"{shown(self.url)}: changed while it was read; run the command again")
        yield from body(response) if response.status_code == 206 else _after(offset, body(response))


def _after(offset: int, chunks: Iterator[bytes]) -> Iterator[bytes]:
    """Yield what comes after the first bytes, of a server that knows no ranges."""
    for chunk in chunks:
        if offset < len(chunk):
            yield chunk[offset:]
        offset = max(0, offset - len(chunk))


def _validator(response: requests.Response) -> str:
    return response.headers.get("ETag") or response.headers.get("Last-Modified") or ""
