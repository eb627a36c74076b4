"""Being part of a Ray cluster: one that is there, or one of this process's own."""

from __future__ import annotations

import logging
import os
import socket
from contextlib import contextmanager
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from service.bulk import interrupt
from service.bulk.errors import BulkError

if TYPE_CHECKING:
    from collections.abc import Iterator

# Ray is to send no word home, and to install nothing for the actors, which run what runs here.
_ENVIRONMENT = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
}
# Seconds that a cluster has to answer; Ray itself would ask for minutes.
_ANSWERS = 5.0


@contextmanager
def joined(address: str) -> Iterator[None]:
    """Be part of a Ray cluster; raises BulkError where there is none at the address."""
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    import ray  # noqa: PLC0415 (takes a second, and comes with an extra)

    check_answers(address)
    try:
        _init(address)
        interrupt.listen()
        yield
    finally:
        ray.shutdown()


def _init(address: str) -> None:
    import ray  # noqa: PLC0415
    from ray.exceptions import RayError  # noqa: PLC0415

    try:
        ray.init(
            address=None if address == "auto" else address,
            include_dashboard=False if address == "local" else None,
            log_to_driver=False,
            logging_level=logging.ERROR,
        )
    except SystemExit as end:  # Ray's own answer to SIGTERM while it starts
        raise interrupt.Terminated from end
    except (RayError, OSError, ValueError, RuntimeError) as error:
        # Ray says of a wrong token no more than that it could not connect.
        hint = "; a cluster with a token wants RAY_AUTH_MODE=token here" if isinstance(error, ConnectionError) else ""
        raise BulkError(f"--ray {address}: {' '.join(str(error).split())[:300]}{hint}") from error


def check_answers(address: str) -> None:
    """Raise BulkError where the address is one of a machine, and nothing answers there."""
    named = f"--ray {address}"
    if address == "auto":
        address = os.environ.get("RAY_ADDRESS", address)
        named = f"RAY_ADDRESS={address}"
    parts = urlsplit(address if "://" in address else f"//{address}")
    if address in {"auto", "local"} or parts.scheme not in {"", "ray"}:
        return
    host, port = _host_and_port(named, parts.netloc)
    try:
        socket.create_connection((host, port), timeout=_ANSWERS).close()
    except OSError as error:
        raise BulkError(f"{named}: no Ray cluster can be reached there: {error.strerror or error}") from error


def _host_and_port(named: str, netloc: str) -> tuple[str, int]:
    try:
        parts = urlsplit(f"//{netloc}")
        host, port = parts.hostname, parts.port
    except ValueError:
        host = port = None
    if not host or not port:
        raise BulkError(f"{named}: expected auto, local, HOST:PORT or ray://HOST:PORT")
    return host, port
