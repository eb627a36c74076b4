"""A registry's interface (the OCI distribution specification), as far as it is needed to read and write models."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple, TypeAlias
from urllib.parse import urljoin, urlsplit

from service.delivery.challenge import Authorization, answer
from service.delivery.credentials import Credentials
from service.delivery.errors import Refused
from service.delivery.transport import body, failure, small_body, split

if TYPE_CHECKING:
    import io
    from collections.abc import Callable, Iterator

    import requests

    from service.delivery.reference import Reference
    from service.delivery.transport import Transport

INDEX = "application/vnd.oci.image.index.v1+json"
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
DOCKER_INDEX = "application/vnd.docker.distribution.manifest.list.v2+json"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"

_LARGEST_MANIFEST = 4 << 20

Body: TypeAlias = "io.RawIOBase | bytes"


class Manifest(NamedTuple):
    """A manifest or an index, and the SHA-256 of its bytes."""

    media_type: str
    content: bytes
    sha256: str


@dataclass
class Registry:
    """One repository of a registry."""

    reference: Reference
    transport: Transport
    credentials: Credentials = field(default_factory=Credentials)
    plain_http: bool = False
    _authorization: str = field(default="", init=False)

    def manifest(self, name: str) -> Manifest:
        """Return the manifest of a tag or a digest; raises Refused and Transient."""
        accepted = f"{INDEX}, {MANIFEST}, {DOCKER_INDEX}, {DOCKER_MANIFEST}"
        response = self._send("GET", f"manifests/{name}", {"Accept": accepted})
        if response.status_code != 200:
            raise self._failure(response)
        content = small_body(response, _LARGEST_MANIFEST)
        sha256 = hashlib.sha256(content).hexdigest()
        if name.startswith("sha256:") and name != f"sha256:{sha256}":
            raise Refused(f"{self.reference}: the SHA-256 of the manifest is {sha256}; expected {name[7:]}")
        return Manifest(response.headers.get("Content-Type", "").partition(";")[0], content, sha256)

    def blob(self, sha256: str, offset: int) -> Iterator[bytes]:
        """Yield a blob's bytes from the offset on; raises Refused and Transient."""
        response = self._send("GET", f"blobs/sha256:{sha256}", {"Range": f"bytes={offset}-"} if offset else {})
        if response.status_code not in {200, 206}:
            raise self._failure(response)
        skip = offset if response.status_code == 200 else 0
        for chunk in body(response):
            yield chunk[skip:]
            skip = max(0, skip - len(chunk))

    def has_blob(self, sha256: str) -> bool:
        """Tell whether the blob is there."""
        response = self._send("HEAD", f"blobs/sha256:{sha256}")
        response.close()
        if response.status_code not in {200, 404}:
            raise self._failure(response)
        return response.status_code == 200

    def put_blob(self, sha256: str, opened: Callable[[], Body]) -> None:
        """Write a blob, unless it is there; `opened` returns its bytes, and once more where they must be sent again."""
        if self.has_blob(sha256):
            return
        begun = self._send("POST", "blobs/uploads/")
        begun.close()
        if begun.status_code != 202 or "Location" not in begun.headers:
            raise self._failure(begun)
        there = split(begun.headers["Location"])
        location = urljoin(begun.url, there.geturl())
        target = f"{location}{'&' if there.query else '?'}digest=sha256:{sha256}"
        response = self._send("PUT", target, {"Content-Type": "application/octet-stream"}, opened)
        response.close()
        if response.status_code not in {201, 204}:
            raise self._failure(response)

    def put_manifest(self, name: str, media_type: str, content: bytes) -> None:
        """Write a manifest under a tag or its digest."""
        response = self._send("PUT", f"manifests/{name}", {"Content-Type": media_type}, lambda: content)
        response.close()
        if response.status_code not in {200, 201}:
            raise self._failure(response)

    def _send(
        self,
        method: str,
        path: str,
        headers: dict[str, str] | None = None,
        data: Callable[[], Body] | None = None,
    ) -> requests.Response:
        scheme = "http" if self.plain_http else "https"
        base = f"{scheme}://{self.reference.server}/v2/{self.reference.repository}/"
        url = urljoin(base, path)
        response = self._once(method, url, headers, data)
        if response.status_code != 401:
            return response
        response.close()
        self._authorization = answer(response, self.credentials, self.transport)
        return self._once(method, url, headers, data)

    def _once(
        self, method: str, url: str, headers: dict[str, str] | None, data: Callable[[], Body] | None
    ) -> requests.Response:
        # Uploads may be sent elsewhere, where our name is nobody's business.
        ours = urlsplit(url).hostname == urlsplit(f"//{self.reference.server}").hostname
        authorization = Authorization(self._authorization if ours else "")
        return self.transport.request(method, url, headers, data=data() if data else None, auth=authorization)

    def _failure(self, response: requests.Response) -> Exception:
        hints = {
            401: "; the registry does not accept our credentials",
            403: "; the credentials do not allow it",
            404: f"; there is no {self.reference}",
        }
        return failure(response, hints.get(response.status_code, ""))
