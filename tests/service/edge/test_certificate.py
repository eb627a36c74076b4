"""When the certificate ends that callers are shown, as Prometheus is told."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING

import pytest
from cryptography import x509
from prometheus_client import CollectorRegistry

from service.edge.certificate import CertificateExpiry
from service.errors import StartupError

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


def test_file_that_holds_none_is_told_by_its_flag(tmp_path: Path) -> None:
    (tmp_path / "tls.crt").write_bytes(b"no certificate")
    with pytest.raises(StartupError, match=r"--tls-certificate: .* holds no certificate in PEM"):
        CertificateExpiry(tmp_path / "tls.crt")
