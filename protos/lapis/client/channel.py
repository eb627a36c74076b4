"""How the clients' channels behave, in gRPC's own terms."""

from __future__ import annotations

import json
from typing import Any

# The server says UNAVAILABLE while it starts, drains or is replaced, gRPC while a connection cannot be made; both may
# pass within a second. A full queue is not tried again here: only the caller knows whether to wait as long as that.
SERVICE_CONFIG: dict[str, Any] = {
    "methodConfig": [
        {
            "name": [{"service": "lapis.v1.TranslationService"}],
            "retryPolicy": {
                "maxAttempts": 4,
                "initialBackoff": "0.1s",
                "maxBackoff": "1s",
                "backoffMultiplier": 2,
                "retryableStatusCodes": ["UNAVAILABLE"],
            },
        }
    ]
}

OPTIONS: list[tuple[str, str | int]] = [
    ("grpc.service_config", json.dumps(SERVICE_CONFIG)),
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
