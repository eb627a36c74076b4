"""What users write as a server's address, and what gRPC understands of it."""

from __future__ import annotations

import ipaddress
import socket

DEFAULT_ADDRESS = "127.0.0.1:50051"
_SCHEMES = ("dns:", "ipv4:", "ipv6:", "unix:", "unix-abstract:")


def check_address(address: str) -> str:
    """Returns the address; raises ValueError unless it is HOST:PORT, several with commas between, or a gRPC target."""
    if not address.startswith(_SCHEMES):
        for one in address.split(","):
            _host_and_port(one)
    return address


def target(address: str) -> str:
    """Returns the gRPC target of an address.

    One HOST:PORT is left to gRPC, which looks names up again when connections fail. Of several with commas between,
    names are looked up here and now, because gRPC takes no list of names; a name that is not known is left out, and is
    an error of the first call when none is.
    """
    if address.startswith(_SCHEMES) or "," not in address:
        return address
    found = dict.fromkeys(where for one in address.split(",") for where in _look_up(*_host_and_port(one)))
    if not found:
        return address.partition(",")[0]
    if all(ip.version == 4 for ip, _ in found):
        return "ipv4:" + ",".join(f"{ip}:{port}" for ip, port in found)
    return "ipv6:" + ",".join(f"[{_as_ipv6(ip)}]:{port}" for ip, port in found)


def first_address(address: str) -> str:
    """Returns the first of several addresses, without a scheme."""
    for scheme in _SCHEMES:
        address = address.removeprefix(scheme)
    return address.partition(",")[0].strip()


def count_addresses(address: str) -> int:
    """Returns how many servers an address may stand for, as far as names tell now; at least 1."""
    if address.startswith(("unix:", "unix-abstract:")):
        return 1
    plain = address.removeprefix("dns:").rpartition("/")[2].removeprefix("ipv4:").removeprefix("ipv6:")
    try:
        return len({where for one in plain.split(",") for where in _look_up(*_host_and_port(one))}) or 1
    except ValueError:  # a target without a port
        return 1


def _host_and_port(address: str) -> tuple[str, int]:
    host, _, port = address.strip().rpartition(":")
    if not host or not port.isdecimal() or int(port) > 65535 or (":" in host and not host.startswith("[")):
        raise ValueError("must be HOST:PORT, or several with commas between, or a gRPC target like dns:///HOST:PORT")
    return host.strip("[]"), int(port)


def _look_up(host: str, port: int) -> list[tuple[ipaddress.IPv4Address | ipaddress.IPv6Address, int]]:
    """Returns the addresses of a name, or the one that it is; none where it is not known."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except OSError:
        return []
    return [(ipaddress.ip_address(str(where[0]).partition("%")[0]), port) for *_, where in found]


def _as_ipv6(ip: ipaddress.IPv4Address | ipaddress.IPv6Address) -> str:
    return str(ip) if ip.version == 6 else f"::ffff:{ip}"
