"""The command `lapis-models`."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, NoReturn

from lapis.command import run
from lapis.ending import unwinding

from service.delivery import credentials
from service.delivery.artifact import Artifact
from service.delivery.errors import DeliveryError, GaveUp, Refused
from service.delivery.fetch import Wanted, fetch
from service.delivery.folder import Folder
from service.delivery.patience import Patience
from service.delivery.push import push
from service.delivery.reference import SCHEME, Reference
from service.delivery.registry import Registry
from service.delivery.settings import Fetch, ModelsSettings, Push
from service.delivery.store import SCHEMES, Bucket, StoreAccess
from service.delivery.transport import Transport, split
from service.delivery.web import WebFile
from service.telemetry import logs

if TYPE_CHECKING:
    from service.delivery.offer import Source


def main() -> NoReturn:
    """Run the command."""
    with unwinding("lapis-models", "; run the same command again"):
        run("lapis-models", ModelsSettings, deliver, errors=(DeliveryError,))


def deliver(settings: ModelsSettings) -> int:
    """Carry out the subcommand; the exit code is 1, and not 2, where the same command may succeed later."""
    try:
        _deliver(settings)
    except GaveUp as error:
        print(f"lapis-models: error: {error}", file=sys.stderr)
        return 1
    return 0


def _deliver(settings: ModelsSettings) -> None:
    asked = settings.fetch or settings.push
    if asked is None:
        raise Refused("name what to do: fetch or push (see lapis-models --help)")
    logs.configure(asked.log_level, asked.log_format)
    if settings.fetch:
        wanted = _wanted(settings.fetch)
        fetch(wanted, source(settings.fetch), Patience(settings.fetch.patience))
    elif settings.push:
        registry = _registry(Reference.parse(settings.push.reference), settings.push)
        print(push(settings.push.folder, registry, Patience(settings.push.patience), settings.push.wanted_place))


def source(asked: Fetch) -> Source:
    """Return where the URL leads; raises Refused."""
    scheme = split(asked.url).scheme
    if scheme in SCHEMES:
        return Bucket(asked.url, StoreAccess(asked.endpoint, asked.anonymous, asked.ca_certificate))
    if scheme in {"http", "https"}:
        transport = Transport.open(asked.ca_certificate)
        return WebFile(asked.url, transport, asked.authorization.get_secret_value())
    if scheme == SCHEME:
        return Artifact(_registry(Reference.parse(asked.url), asked))
    if scheme == "file":
        return Folder(asked.url)
    known = ", ".join(f"{name}://" for name in (*SCHEMES, "https", SCHEME, "file"))
    raise Refused(f"{asked.url}: expected a URL that begins with {known}")


def _wanted(asked: Fetch) -> Wanted:
    sha256 = asked.sha256
    if split(asked.url).scheme == SCHEME:
        named = Reference.parse(asked.url).sha256
        if named and sha256 and named != sha256:
            raise Refused(f"{asked.url}: names another digest than --sha256 {sha256}")
        sha256 = named or sha256
    return Wanted(asked.url, asked.output, sha256, asked.wanted_place, asked.max_bytes)


def _registry(reference: Reference, asked: Fetch | Push) -> Registry:
    if asked.registry_user:
        known = credentials.Credentials(asked.registry_user, asked.registry_password.get_secret_value())
    else:
        known = credentials.find(reference, asked.registry_config)
    return Registry(reference, Transport.open(asked.ca_certificate), known, asked.plain_http)


if __name__ == "__main__":
    main()
