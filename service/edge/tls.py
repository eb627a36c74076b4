"""TLS on the gRPC port, with files that may be exchanged while the server runs."""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING

import grpc

from service.edge.reread import Reread, content
from service.errors import StartupError

if TYPE_CHECKING:
    from pathlib import Path

    from service.settings import ServeSettings

    Configuration = grpc.ServerCertificateConfiguration


def credentials(settings: ServeSettings) -> grpc.ServerCredentials | None:
    """Return what the server shows and asks for, or None where callers are not to encrypt; raises StartupError.

    Each handshake is carried out with the files as they are then, and connections that are open stay as they are.
    """
    certificate, key, client_ca = settings.tls_certificate, settings.tls_key, settings.tls_client_ca
    if certificate is None or key is None:
        return None
    paths = [path for path in (certificate, key, client_ca) if path]
    exchanged = _Exchanged(Reread("tls", paths, lambda: _configuration(certificate, key, client_ca)))
    return grpc.dynamic_ssl_server_credentials(
        exchanged.given,
        exchanged,  # type: ignore[arg-type]  # the stubs do not know of None
        require_client_authentication=client_ca is not None,
    )


class _Exchanged:
    """Tells gRPC, which asks at each handshake and in threads of its own, what has taken the place of what it has."""

    def __init__(self, kept: Reread[Configuration]) -> None:
        self._kept = kept
        self.given = kept.latest()

    def __call__(self) -> Configuration | None:
        """Return None where gRPC is to go on with what it has."""
        latest = self._kept.latest()
        if latest is self.given:
            return None
        self.given = latest
        return latest


def _configuration(certificate: Path, key: Path, client_ca: Path | None) -> Configuration:
    pair = content(key, "--tls-key"), content(certificate, "--tls-certificate")
    roots = content(client_ca, "--tls-client-ca") if client_ca else None
    _check_pair(certificate, key)
    if client_ca:
        _check_authorities(client_ca)
    return grpc.ssl_server_certificate_configuration([pair], roots)


def _check_pair(certificate: Path, key: Path) -> None:
    # gRPC would take any bytes, and fail at every handshake.
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certificate, key, password=_no_password)
    except (OSError, ValueError) as error:
        raise StartupError(
            f"--tls-certificate {certificate} and --tls-key {key} are not a certificate and its key, in PEM and not "
            f"encrypted: {_cause(error)}"
        ) from error


def _check_authorities(client_ca: Path) -> None:
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_verify_locations(client_ca)
    except (OSError, ValueError) as error:
        raise StartupError(
            f"--tls-client-ca: {client_ca} does not hold certificates in PEM: {_cause(error)}"
        ) from error


def _no_password() -> str:
    """Answer in place of the terminal, which would be asked otherwise."""
    raise ValueError("the key is encrypted")


def _cause(error: Exception) -> str:
    """Return OpenSSL's name of what was wrong, where it has one."""
    named = getattr(error, "reason", None)
    return str(named).lower().replace("_", " ") if named else str(error)
