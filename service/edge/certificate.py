"""When the certificate ends that the server shows its callers."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from cryptography import x509
from prometheus_client.metrics_core import GaugeMetricFamily
from prometheus_client.registry import Collector

from service.edge.reread import Reread, content
from service.errors import StartupError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


class CertificateExpiry(Collector):
    """Tells it from the file, which may be exchanged while the server runs; without TLS there is nothing to tell.

    The file is read when somebody asks: a certificate that is none ends the start of the server, and not this.
    """

    def __init__(self, certificate: Path | None) -> None:
        self._certificate = certificate
        self._kept: Reread[float] | None = None

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Yield the one series, or none."""
        family = GaugeMetricFamily(
            "lapis_tls_certificate_expiry_timestamp_seconds",
            "When the certificate of the gRPC port ends, in seconds since 1970; not there without TLS.",
        )
        if self._certificate:
            with suppress(StartupError):
                family.add_metric([], self._latest(self._certificate))
        yield family

    def _latest(self, certificate: Path) -> float:
        if not self._kept:
            self._kept = Reread("certificate", [certificate], lambda: _end(certificate))
        return self._kept.latest()


def _end(certificate: Path) -> float:
    try:
        shown, *_ = x509.load_pem_x509_certificates(content(certificate, "--tls-certificate"))
    except ValueError as error:
        raise StartupError(f"--tls-certificate: {certificate} holds no certificate in PEM") from error
    return shown.not_valid_after_utc.timestamp()
