"""An authority of the tests' own."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, NamedTuple

import grpc
import trustme

if TYPE_CHECKING:
    from pathlib import Path


class Pair(NamedTuple):
    """The files of a certificate, with those up to its authority's, and of its key."""

    certificate: Path
    key: Path


class Authority:
    """Makes certificates, as an organisation does for its own servers and callers."""

    def __init__(self, folder: Path) -> None:
        self._ca = trustme.CA()
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self.file = folder / "ca.pem"
        self.file.write_bytes(self.certificate)

    @property
    def certificate(self) -> bytes:
        return self._ca.cert_pem.bytes()

    def issue(self, *names: str, into: str = "") -> Pair:
        """Writes a certificate for the names, and its key, into a folder of the name given or of the first of them."""
        return self._written(self._ca.issue_cert(*names), into or names[0])

    def issue_until(self, name: str, end: dt.datetime) -> Pair:
        """Likewise, of a certificate that ends then."""
        return self._written(self._ca.issue_cert(name, not_after=end), name)

    def _written(self, issued: trustme.LeafCert, into: str) -> Pair:
        folder = self._folder / into
        folder.mkdir(exist_ok=True)
        pair = Pair(folder / "tls.crt", folder / "tls.key")
        pair.certificate.write_bytes(b"".join(one.bytes() for one in issued.cert_chain_pems))
        pair.key.write_bytes(issued.private_key_pem.bytes())
        return pair

    def credentials(self, pair: Pair | None = None) -> grpc.ChannelCredentials:
        """Returns what a caller trusts, and shows."""
        own = (pair.key.read_bytes(), pair.certificate.read_bytes()) if pair else ()
        return grpc.ssl_channel_credentials(self.certificate, *own)
