"""HTTP, with what goes wrong told as ours."""

from __future__ import annotations

import contextlib
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import SplitResult, urlsplit

import requests
import urllib3

from service.delivery.errors import DeliveryError, Refused, Transient

if TYPE_CHECKING:
    import io
    from collections.abc import Iterator, Mapping
    from pathlib import Path

_CONNECT_TIMEOUT = 10.0
_READ_TIMEOUT = 60.0
_CHUNK = 1 << 20
# What another try may cure.
_PASSING = frozenset({408, 425, 429, 500, 502, 503, 504})


def shown(url: str) -> str:
    """Return the URL as it may be written to a log: without what may be secret in it."""
    address = re.split(r"[?#]", url, maxsplit=1)[0]
    return re.sub(r"^([^/]*//)[^/]*@", r"\1", address)


def split(url: str) -> SplitResult:
    """Return the parts of a URL; raises Refused where they cannot be told."""
    try:
        return urlsplit(url)
    except ValueError as error:
        expected = "a name, or an address such as 192.0.2.1 or [2001:db8::1]"
        raise Refused(f"{shown(url)}: names no host that can be read; expected {expected}") from error


@dataclass(frozen=True)
class Transport:
    """Makes requests; redirects are followed, and what authorises us is not sent along to other hosts."""

    session: requests.Session

    @classmethod
    def open(cls, ca_certificate: Path | None) -> Transport:
        """Return one that trusts the authorities in the file, or the usual ones."""
        session = requests.Session()
        if ca_certificate:
            session.verify = str(ca_certificate)
        session.headers["Accept-Encoding"] = "identity"
        session.headers["User-Agent"] = "lapis-models"
        return cls(session)

    def request(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str] | None = None,
        *,
        params: Mapping[str, str] | None = None,
        data: bytes | io.RawIOBase | Mapping[str, str] | None = None,
        auth: requests.auth.AuthBase | None = None,
    ) -> requests.Response:
        """Return the answer whatever its status, the body unread; raises Refused and Transient."""
        with _told(url):
            return self.session.request(
                method,
                url,
                params=params,
                headers=headers,
                data=data,
                auth=auth,
                stream=True,
                timeout=(_CONNECT_TIMEOUT, _READ_TIMEOUT),
            )


def body(response: requests.Response) -> Iterator[bytes]:
    """Yield the bytes of the body as they were sent; raises Transient where they end early."""
    with response, _told(response.url):
        while chunk := response.raw.read(_CHUNK, decode_content=False):
            yield chunk


def small_body(response: requests.Response, limit: int) -> bytes:
    """Return the body, which must not exceed the limit; raises Refused."""
    content = bytearray()
    for chunk in body(response):
        content += chunk
        if len(content) > limit:
            raise Refused(f"{shown(response.url)}: answers with more than {limit:,} bytes")
    return bytes(content)


def failure(response: requests.Response, hint: str = "") -> DeliveryError:
    """Return what a status of 400 and above means."""
    response.close()
    message = f"{shown(response.url)}: {response.status_code} {response.reason or ''}".rstrip() + hint
    if response.status_code in _PASSING:
        return Transient(message, _retry_after(response))
    return Refused(message)


def _retry_after(response: requests.Response) -> float:
    value = response.headers.get("Retry-After", "")
    return float(value) if value.isdecimal() else 0.0


@contextlib.contextmanager
def _told(url: str) -> Iterator[None]:
    where = shown(url)
    try:
        yield
    except requests.exceptions.SSLError as error:
        raise Refused(f"{where}: {_cause(error)}{_hint(error)}") from error
    except (requests.exceptions.ConnectionError, requests.exceptions.Timeout) as error:
        raise Transient(f"{where}: {_cause(error)}") from error
    except (urllib3.exceptions.HTTPError, OSError) as error:
        if isinstance(error, requests.exceptions.RequestException):
            raise Refused(f"{where}: {_cause(error)}") from error
        raise Transient(f"{where}: the connection broke off: {_cause(error)}") from error
    except ValueError as error:  # of a URL, in the library's depths
        raise Refused(f"{where}: {_cause(error)}") from error


def _hint(error: Exception) -> str:
    text = str(error)
    if "WRONG_VERSION_NUMBER" in text or "record layer failure" in text.lower():
        return "; is it plain HTTP? then say --plain-http"
    return "; --ca-certificate names a file with another authority" if "CERTIFICATE_VERIFY_FAILED" in text else ""


def _cause(error: BaseException) -> str:
    """Return the innermost reason, in one line: libraries wrap it several times."""
    reason = getattr(error, "reason", None) or (error.args[0] if error.args else None)
    if isinstance(reason, BaseException):
        return _cause(reason)
    text = reason if isinstance(reason, str) and len(error.args) > 1 else str(error)
    return " ".join(text.split()) or type(error).__name__
