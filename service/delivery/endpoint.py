"""Addresses of object stores, checked before the library sees them.

It does not raise an error over one that it cannot read: it panics, as programs in Rust do.
"""

from __future__ import annotations

import ipaddress
import re
from urllib.parse import urlsplit

EXPECTED = "http://HOST:PORT or https://HOST, as in http://minio:9000"

# A path is what Azure's emulator has its account in.
_FORM = re.compile(r"https?://([A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(:[0-9]{1,5})?(/[A-Za-z0-9._~/-]*)?")
# What ends so is taken for an address, never for a name.
_NUMERIC = re.compile(r"(.*\.)?([0-9]+|0x[0-9a-f]*)\.?")


def is_endpoint(text: str) -> bool:
    """Tell whether that is where a store can be: scheme, host, a port and a path if need be, and nothing else."""
    if not _FORM.fullmatch(text):
        return False
    try:
        parts = urlsplit(text)
        host, port = parts.hostname or "", parts.port
        if ":" in host or _NUMERIC.fullmatch(host):
            ipaddress.ip_address(host)
    except ValueError:  # of a port above 65535, or of an address that is none
        return False
    return port != 0
