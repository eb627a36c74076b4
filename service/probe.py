"""`lapis-serve --probe ADDRESS`: one question to a server's grpc.health.v1, for whoever keeps it running."""

from __future__ import annotations

import socket
import ssl
import sys
import time
from typing import TYPE_CHECKING, Any

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from service.edge.reread import content
from service.errors import StartupError

if TYPE_CHECKING:
    from pathlib import Path

    from service.settings import ServeSettings

_SERVING = health_pb2.HealthCheckResponse.SERVING


def probe(settings: ServeSettings) -> int:
    """Ask once, and return 0 if the service serves, else 1, with one line that says so; raises StartupError."""
    whose = settings.probe_service or "the server"
    try:
        status = _ask(settings)
    except (grpc.RpcError, OSError) as error:
        return _tell(f"{settings.probe}: {_reason(error, whose)}")
    name = health_pb2.HealthCheckResponse.ServingStatus.Name(status)
    if status != _SERVING:
        return _tell(f"{settings.probe}: {whose} is {name}")
    sys.stdout.write(f"{settings.probe}: {whose} is {name}\n")
    return 0


def _ask(settings: ServeSettings) -> int:
    end = time.monotonic() + settings.probe_timeout
    with _channel(settings) as channel:
        health: Any = health_pb2_grpc.HealthStub(channel)
        asked = health_pb2.HealthCheckRequest(service=settings.probe_service)
        return int(health.Check(asked, timeout=max(0.0, end - time.monotonic())).status)


def _channel(settings: ServeSettings) -> grpc.Channel:
    # What lies between a server and who keeps it is no business of a proxy's.
    options: list[tuple[str, str | int]] = [("grpc.enable_http_proxy", 0)]
    if not (settings.tls_certificate or settings.probe_ca):
        return grpc.insecure_channel(settings.probe, options)
    roots, name = _trusted(settings)
    if name:
        options.append(("grpc.ssl_target_name_override", name))
    pair = _pair(settings.tls_certificate, settings.tls_key)
    return grpc.secure_channel(settings.probe, grpc.ssl_channel_credentials(roots, *pair), options)


def _trusted(settings: ServeSettings) -> tuple[bytes, str]:
    """Return the certificates that the server's is checked against, and the name that it must bear, "" for HOST."""
    if settings.probe_ca:
        return content(settings.probe_ca, "--probe-ca"), settings.probe_server_name
    if settings.tls_certificate is None:
        return b"", settings.probe_server_name
    own = content(settings.tls_certificate, "--tls-certificate")
    # A server that asks itself knows its certificate, but goes by 127.0.0.1, which stands in few.
    return own, settings.probe_server_name or _shown_name(settings, settings.tls_certificate)


def _pair(certificate: Path | None, key: Path | None) -> tuple[bytes, bytes] | tuple[()]:
    if certificate is None or key is None:
        return ()
    return content(key, "--tls-key"), content(certificate, "--tls-certificate")


def _shown_name(settings: ServeSettings, trusted: Path) -> str:
    """Return a name out of the certificate that the server shows, which must be the trusted one."""
    try:
        context = ssl.create_default_context(cafile=trusted)
    except (OSError, ValueError) as error:
        raise StartupError(f"--tls-certificate: {trusted} does not hold certificates in PEM") from error
    context.check_hostname = False
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    context.set_alpn_protocols(["h2"])
    host, _, port = settings.probe.rpartition(":")
    with (
        socket.create_connection((host.strip("[]"), int(port)), settings.probe_timeout) as connection,
        context.wrap_socket(connection) as encrypted,
    ):
        names = (encrypted.getpeercert() or {}).get("subjectAltName", ())
    return str(names[0][1]).replace("*", "probe") if names else ""


def _reason(error: grpc.RpcError | OSError, whose: str) -> str:
    if not isinstance(error, grpc.Call):
        return f"no answer: {error}"
    if error.code() is grpc.StatusCode.NOT_FOUND:
        return f"has no service or model {whose}"
    if error.code() is grpc.StatusCode.DEADLINE_EXCEEDED:
        return "no answer in time"
    return f"{error.code().name}: {error.details()}"


def _tell(message: str) -> int:
    sys.stderr.write(f"lapis-serve: {message}\n")
    return 1
