"""How a registry asks who we are, `WWW-Authenticate`, and the token server's answer to that."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

import requests

from service.delivery.errors import Refused
from service.delivery.transport import failure, shown, small_body, split

if TYPE_CHECKING:
    from service.delivery.credentials import Credentials
    from service.delivery.transport import Transport

_LARGEST_ANSWER = 1 << 20


class Authorization(requests.auth.AuthBase):
    """Sets the header, "" for none; and keeps the library from looking into ~/.netrc."""

    def __init__(self, value: str) -> None:
        self.value = value

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        """Add the header to the request."""
        if self.value:
            request.headers["Authorization"] = self.value
        return request


def answer(response: requests.Response, credentials: Credentials, transport: Transport) -> str:
    """Return the header `Authorization` that the response (status 401) asks for; raises Refused and Transient."""
    scheme, _, rest = response.headers.get("WWW-Authenticate", "").partition(" ")
    asked = dict(re.findall(r'(\w+)="([^"]*)"', rest))
    if scheme.lower() == "basic" and credentials.basic:
        return credentials.basic
    if scheme.lower() == "bearer" and asked.get("realm"):
        return f"Bearer {_token(asked, credentials, transport)}"
    raise failure(response, "; no credentials for it were found (docker login, --registry-config, or the variables)")


def _token(asked: dict[str, str], credentials: Credentials, transport: Transport) -> str:
    realm = asked["realm"]
    if split(realm).scheme not in {"http", "https"}:
        raise Refused(f"{realm}: the registry sends us there for a token")
    wanted = {name: asked[name] for name in ("service", "scope") if asked.get(name)}
    if credentials.identity_token:
        form = wanted | {
            "grant_type": "refresh_token",
            "refresh_token": credentials.identity_token,
            "client_id": "lapis-models",
        }
        response = transport.request("POST", realm, data=form, auth=Authorization(""))
    else:
        response = transport.request("GET", realm, params=wanted, auth=Authorization(credentials.basic))
    if response.status_code != 200:
        raise failure(response, "; the registry's token server does not accept our credentials")
    return _in_answer(small_body(response, _LARGEST_ANSWER), realm)


def _in_answer(content: bytes, realm: str) -> str:
    try:
        tokens = json.loads(content)
        return str(tokens.get("token") or tokens["access_token"])
    except (ValueError, AttributeError, KeyError) as error:
        raise Refused(f"{shown(realm)}: the token server answers without a token") from error
