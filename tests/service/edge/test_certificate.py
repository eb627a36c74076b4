"""When the certificate ends that callers are shown, as Prometheus is told."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING

from cryptography import x509
from prometheus_client import CollectorRegistry

from service.edge.certificate import CertificateExpiry

if TYPE_CHECKING:
    from pathlib import Path

    from tests.service.certificates import Authority

NAME = "lapis_tls_certificate_expiry_timestamp_seconds"


def told(expiry: CertificateExpiry) -> float | None:
    registry = CollectorRegistry()
    registry.register(expiry)
    return registry.get_sample_value(NAME)


def end_of(path: Path) -> dt.datetime:
    return x509.load_pem_x509_certificate(path.read_bytes()).not_valid_after_utc


def test_end_is_that_of_the_certificate_itself(authority: Authority) -> None:
    """And not of its authority's, which comes after it in the file."""
    end = dt.datetime(2030, 1, 1, tzinfo=dt.UTC)
    pair = authority.issue_until("localhost", end)
    pair.certificate.write_bytes(pair.certificate.read_bytes() + authority.certificate)
    assert end_of(authority.file) != end
    assert told(CertificateExpiry(pair.certificate)) == end.timestamp()


def test_renewed_certificate_is_seen_and_a_broken_one_changes_nothing(authority: Authority) -> None:
    pair = authority.issue("localhost")
    expiry = CertificateExpiry(pair.certificate)
    before = told(expiry)
    pair.certificate.write_bytes(b"no certificate")
    assert told(expiry) == before
    other = authority.issue_until("other", dt.datetime(2030, 1, 1, tzinfo=dt.UTC))
    pair.certificate.write_bytes(other.certificate.read_bytes())
    assert told(expiry) == dt.datetime(2030, 1, 1, tzinfo=dt.UTC).timestamp() != before


def test_without_tls_there_is_nothing_to_tell() -> None:
    assert told(CertificateExpiry(None)) is None


def test_file_that_holds_none_tells_nothing_until_it_does(authority: Authority, tmp_path: Path) -> None:
    path = tmp_path / "tls.crt"
    path.write_bytes(b"no certificate")
    expiry = CertificateExpiry(path)
    assert told(expiry) is None
    path.write_bytes(authority.issue("localhost").certificate.read_bytes())
    assert told(expiry) == end_of(path).timestamp()
