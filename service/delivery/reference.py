"""Names of images and artifacts: `oci://REGISTRY/REPOSITORY:TAG`, `@sha256:…`, or both."""

from __future__ import annotations

import re
from dataclasses import dataclass

from service.delivery.errors import Refused
from service.delivery.transport import split

SCHEME = "oci"

_FORM = re.compile(
    r"oci://(?P<host>[A-Za-z0-9.-]+(?::\d+)?|\[[0-9a-fA-F:]+\](?::\d+)?)"
    r"/(?P<repository>[a-z0-9]+(?:(?:\.|_|__|-+|/)[a-z0-9]+)*)"
    r"(?::(?P<tag>[A-Za-z0-9_][A-Za-z0-9._-]{0,127}))?"
    r"(?:@sha256:(?P<digest>[0-9a-f]{64}))?"
)
# What people call Docker Hub, and where it is.
_HUB = {"docker.io": "registry-1.docker.io", "index.docker.io": "registry-1.docker.io"}


@dataclass(frozen=True)
class Reference:
    """Something in a registry; `sha256` is "" where no digest is named, `tag` where that is all that is."""

    host: str
    repository: str
    tag: str = ""
    sha256: str = ""

    @classmethod
    def parse(cls, url: str) -> Reference:
        """Return what the URL names; raises Refused."""
        split(url)
        match = _FORM.fullmatch(url)
        if not match:
            raise Refused(f"{url}: expected oci://REGISTRY/REPOSITORY:TAG, or @sha256:… (small letters in REPOSITORY)")
        if not match["tag"] and not match["digest"]:
            raise Refused(f"{url}: names neither a tag nor a digest; add :TAG or @sha256:…")
        return cls(match["host"], match["repository"], match["tag"] or "", match["digest"] or "")

    @property
    def server(self) -> str:
        """The host that is asked."""
        return _HUB.get(self.host, self.host)

    @property
    def name(self) -> str:
        """What the registry is asked for: the digest before the tag."""
        return f"sha256:{self.sha256}" if self.sha256 else self.tag

    def at(self, sha256: str) -> str:
        """Return the reference by digest, as Kubernetes and others take it."""
        return f"{self.host}/{self.repository}@sha256:{sha256}"

    def __str__(self) -> str:
        tag = f":{self.tag}" if self.tag else ""
        digest = f"@sha256:{self.sha256}" if self.sha256 else ""
        return f"{self.host}/{self.repository}{tag}{digest}"
