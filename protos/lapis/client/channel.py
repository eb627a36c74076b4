"""How the clients' channels behave, in gRPC's own terms: whom they reach, who is chosen, what is tried again."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, TypedDict

import grpc
import grpc.aio

from lapis.client.address import first_address, target

if TYPE_CHECKING:
    from collections.abc import Sequence

Balancing: TypeAlias = Literal["round_robin", "weighted_round_robin"]

# The server says UNAVAILABLE while it starts, drains or is replaced, gRPC while a connection cannot be made: the
# picture is as good as not sent, another server may take it, and both may pass within a second. Nothing else is tried
# again here: RESOURCE_EXHAUSTED asks for a wait that only the caller can decide on, DEADLINE_EXCEEDED leaves no time,
# and the rest would fail alike. Streams are left out: gRPC would keep all that was sent, and send even what was
# answered.
_RETRIED = ("Translate", "ListModels", "GetModel")
_RETRY_POLICY: dict[str, Any] = {
    "maxAttempts": 4,
    "initialBackoff": "0.1s",
    "maxBackoff": "1s",
    "backoffMultiplier": 2,
    "retryableStatusCodes": ["UNAVAILABLE"],
}

# gRPC would not believe a server's reports for its first 10 seconds.
_BALANCERS: dict[Balancing, dict[str, str]] = {"round_robin": {}, "weighted_round_robin": {"blackoutPeriod": "1s"}}

_OPTIONS: list[tuple[str, str | int]] = [
    # gRPC does not repeat a call whose request is larger than this; its default of 256 KiB would leave out most photos.
    ("grpc.per_rpc_retry_buffer_size", 64 * 2**20),
    # The server's limits rule; a second set here could only disagree with them.
    ("grpc.max_receive_message_length", -1),
    ("grpc.max_send_message_length", -1),
    # A peer that vanished without a word is noticed during a call. To servers and proxies with gRPC's defaults, more
    # than one ping in five minutes is abuse.
    ("grpc.keepalive_time_ms", 300_000),
    ("grpc.keepalive_timeout_ms", 20_000),
]


class ConnectOptions(TypedDict, total=False):
    """The keyword arguments of both clients; each is optional."""

    # "weighted_round_robin" gives the less to a server the more loaded it says it is (ORCA); default "round_robin".
    balancing: Balancing
    # A server gets pictures while its grpc.health.v1 says that this serves: "", the default, is the whole server, a
    # model's name that model alone; None asks nothing. A server without health checks counts as serving.
    health_service: str | None
    credentials: grpc.ChannelCredentials | None  # TLS, as in grpc.ssl_channel_credentials(); none by default
    token: str  # sent as `authorization: Bearer TOKEN`; none where empty
    metadata: Sequence[tuple[str, str | bytes]]  # sent with every call


@dataclass(frozen=True)
class Connection:
    """Where a client's calls go and what goes with each; the options are those of ConnectOptions."""

    address: str
    balancing: Balancing = "round_robin"
    health_service: str | None = ""
    credentials: grpc.ChannelCredentials | None = None
    token: str = ""
    metadata: Sequence[tuple[str, str | bytes]] = ()

    def __post_init__(self) -> None:
        if self.balancing not in _BALANCERS:
            raise ValueError(f"balancing must be one of {', '.join(_BALANCERS)}, not {self.balancing!r}")

    @property
    def call_metadata(self) -> tuple[tuple[str, str | bytes], ...]:
        """What is sent with every call."""
        bearer = (("authorization", f"Bearer {self.token}"),) if self.token else ()
        return (*bearer, *self.metadata)

    def open(self, *, checked: bool) -> grpc.Channel:
        """Opens a channel for threads; where `checked`, servers that are not healthy get nothing."""
        where, options = target(self.address), self._options(checked=checked)
        if self.credentials is None:
            return grpc.insecure_channel(where, options=options)
        return grpc.secure_channel(where, self.credentials, options=options)

    def open_async(self, *, checked: bool) -> grpc.aio.Channel:
        """Opens a channel for asyncio, likewise."""
        where, options = target(self.address), self._options(checked=checked)
        if self.credentials is None:
            return grpc.aio.insecure_channel(where, options=options)
        return grpc.aio.secure_channel(where, self.credentials, options=options)

    def _options(self, *, checked: bool) -> list[tuple[str, str | int]]:
        options = [*_OPTIONS, ("grpc.service_config", json.dumps(self._service_config(checked=checked)))]
        if "," in self.address:
            # Of several addresses gRPC would make one name that no server and no certificate bears.
            options.append(("grpc.default_authority", first_address(self.address)))
        return options

    def _service_config(self, *, checked: bool) -> dict[str, Any]:
        names = [{"service": "lapis.v1.TranslationService", "method": method} for method in _RETRIED]
        config: dict[str, Any] = {
            "loadBalancingConfig": [{self.balancing: _BALANCERS[self.balancing]}],
            "methodConfig": [{"name": names, "retryPolicy": _RETRY_POLICY}],
        }
        if checked and self.health_service is not None:
            config["healthCheckConfig"] = {"serviceName": self.health_service}
        return config
