"""What goes wrong with an object store, told as ours."""

from __future__ import annotations

import contextlib
import re
from typing import TYPE_CHECKING

from obstore.exceptions import BaseError, GenericError, PermissionDeniedError, UnauthenticatedError

from service.delivery.errors import DeliveryError, Refused, Transient

if TYPE_CHECKING:
    from collections.abc import Iterator

_CREDENTIALS = "; credentials are read from the variables AWS_…, GOOGLE_… or AZURE_…, or the machine's own identity"
_PASSING = re.compile(r"error sending request|status code: (408|429|50[0234])")
# What the library only says in its report for its own developers, and what may be done about it.
_NEVER_PASSING = {
    "InvalidContentType": "does not speak TLS; is it plain HTTP? then its address (--endpoint) begins with http://",
    "InvalidCertificate": (
        "has a certificate that is not accepted ({why}); --ca-certificate names a file with another authority"
    ),
    "HTTP request to an HTTPS server": "speaks TLS only; its address (--endpoint) begins with https://",
}


@contextlib.contextmanager
def told(where: str, *, broken_off: bool = False) -> Iterator[None]:
    """Raise Refused and Transient for the library's errors; `broken_off` where all had gone well until now."""
    try:
        yield
    except FileNotFoundError as error:
        raise Refused(f"{where}: {_reason(error)}") from error
    except (PermissionDeniedError, UnauthenticatedError) as error:
        raise Refused(f"{where}: {_reason(error)}{_CREDENTIALS}") from error
    except GenericError as error:
        raise _generic(error, where, broken_off=broken_off) from error
    except (BaseError, ValueError) as error:
        raise Refused(f"{where}: {_reason(error)}") from error
    except BaseException as error:
        # Of a class that cannot be imported: the library was not prepared for something in its settings.
        if type(error).__name__ != "PanicException":
            raise
        raise Refused(f"{where}: a setting of the store cannot be used ({' '.join(str(error).split())})") from error


def _generic(error: GenericError, where: str, *, broken_off: bool) -> DeliveryError:
    text = str(error)
    for sign, meaning in _NEVER_PASSING.items():
        if sign in text:
            why = re.search(r"InvalidCertificate\([\s(]*(?:Other\w*[\s(]+)*(\w+)", text)
            told_so = meaning.format(why=why[1] if why else "it does not say why")
            return Refused(f"{where}: {_address(text) or 'the store'} {told_so}")
    if broken_off or _PASSING.search(text):
        return Transient(f"{where}: {_reason(error)}")
    hint = _CREDENTIALS if re.search(r"status code: 40[13]|credential", text) else ""
    return Refused(f"{where}: {_reason(error)}{hint}")


def _reason(error: Exception) -> str:
    """Return what the library says in short: without paths, times taken, and its own internals."""
    text = str(error)
    said = " ".join(text.partition("\n\nDebug source")[0].split())
    status = re.search(r"status code: (\d{3}(?: [A-Z][A-Za-z]*)*)", said)
    code = re.search(r"<Code>(\w+)</Code>", said)
    if status:
        return f"{status[1]} ({code[1]})" if code else status[1]
    if "error sending request" in said:
        address = _address(text)
        cause = _innermost(text) or said.partition("HTTP error: ")[2] or said
        return f"cannot be reached{f' at {address}' if address else ''} ({cause})"
    return said.removeprefix("Generic ")


def _address(text: str) -> str:
    found = re.search(r"https?://[^/\s?,]+", text)
    return found[0] if found else ""


def _innermost(text: str) -> str:
    """Return the system's own words from the library's report, "" where there are none."""
    found = re.findall(r'(?:message|error): "([^"]+)"', text) or re.findall(r"\b(TimedOut|IncompleteMessage)\b", text)
    return str(found[-1]) if found else ""
