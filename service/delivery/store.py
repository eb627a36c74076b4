"""An object store: a folder or a file in a bucket of S3, Google Cloud Storage or Azure."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field
from datetime import timedelta
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

import certifi
import obstore
from obstore.store import AzureStore, GCSStore, S3Store

from service.delivery.endpoint import EXPECTED, is_endpoint
from service.delivery.errors import Refused
from service.delivery.interruptible import interruptibly, one_by_one
from service.delivery.layout import SUMS_FILE, may_belong, safe_parts
from service.delivery.offer import Form, Offer, Part, form_of
from service.delivery.store_errors import told
from service.delivery.transport import shown, split

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from obstore import ObjectMeta

    Store = S3Store | GCSStore | AzureStore

SCHEMES = ("s3", "gs", "az")

_BUCKET = re.compile(r"[A-Za-z0-9$][A-Za-z0-9._-]*")
# Where the library looks for an address if none is given.
_VARIABLES: Mapping[str, tuple[str, ...]] = {
    "s3": ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT"),
    "gs": ("GOOGLE_BASE_URL",),
    "az": ("AZURE_STORAGE_ENDPOINT", "AZURE_ENDPOINT"),
}
_CHUNK = 4 << 20
# The library tries again by itself, within this time; what breaks off in the middle is taken up again by us.
_RETRY: Any = {"max_retries": 5, "retry_timeout": timedelta(seconds=30)}


@dataclass(frozen=True)
class StoreAccess:
    """How stores are reached; credentials come from their own variables (AWS_…, GOOGLE_…, AZURE_…) or the machine."""

    endpoint: str = ""
    anonymous: bool = False
    ca_certificate: Path | None = None


@dataclass
class Bucket:
    """What lies under a URL such as `s3://bucket/folder`, `gs://bucket/folder` or `az://container/folder`."""

    url: str
    access: StoreAccess = field(default_factory=StoreAccess)

    def __post_init__(self) -> None:
        """Open the store; raises Refused."""
        parts = split(self.url)
        self._shown = shown(self.url)
        self._path = unquote(parts.path).strip("/")
        if not _BUCKET.fullmatch(parts.netloc):
            raise Refused(f"{self._shown}: names no bucket; expected {parts.scheme}://BUCKET/FOLDER")
        if not self.access.endpoint:
            _check_variables(parts.scheme)
        with told(self._shown):
            self._store = _open(parts.scheme, parts.netloc, self.access)

    def offer(self) -> Offer:
        """Return the file that the URL names, by its ending, or else everything of a repository below it."""
        with told(self._shown):
            form = form_of(self._path)
            if form:
                meta = interruptibly(lambda: obstore.head(self._store, self._path))
                return Offer(_identity([meta]), [self._part(meta, form)])
            return self._folder()

    def _folder(self) -> Offer:
        found = [meta for page in one_by_one(obstore.list(self._store, prefix=self._path or None)) for meta in page]
        files = sorted((meta for meta in found if meta["path"]), key=lambda meta: meta["path"])
        if not files:
            raise Refused(f"{self._shown}: there is nothing")
        parts = [self._part(meta) for meta in files if may_belong((meta["path"].rpartition("/")[2],))]
        sums_path = f"{self._path}/{SUMS_FILE}".lstrip("/")
        sums = next((self._part(meta) for meta in files if meta["path"] == sums_path), None)
        return Offer(_identity(files), parts, folder=True, sums=sums)

    def _part(self, meta: ObjectMeta, form: Form = "file") -> Part:
        return Part(safe_parts(meta["path"], self._shown), form, self._reader(meta), meta["size"])

    def _reader(self, meta: ObjectMeta) -> Any:  # noqa: ANN401 (a function of the offset)
        def read(offset: int) -> Iterator[bytes]:
            if offset >= meta["size"]:
                return
            options: Any = {"range": (offset, meta["size"])} if offset else {}
            if meta["e_tag"]:
                options["if_match"] = meta["e_tag"]
            with told(self._shown):
                found = interruptibly(lambda: obstore.get(self._store, meta["path"], options=options))
            for chunk in self._stream(found):
                yield bytes(chunk)

        return read

    def _stream(self, found: obstore.GetResult) -> Iterator[bytes]:
        with told(self._shown, broken_off=True):
            yield from one_by_one(found.stream(min_chunk_size=_CHUNK))


def _check_variables(scheme: str) -> None:
    for name in _VARIABLES[scheme]:
        if not is_endpoint(os.environ.get(name) or "http://localhost"):
            raise Refused(f"the variable {name}: expected {EXPECTED}, not {os.environ[name]!r}")


def _open(scheme: str, bucket: str, access: StoreAccess) -> Store:
    options: Any = {"allow_http": True, "timeout": timedelta(hours=12), "read_timeout": timedelta(seconds=60)}
    # Beside the system's authorities, which small images lack.
    options["root_certificate"] = Path(access.ca_certificate or certifi.where()).read_bytes()
    config: dict[str, Any] = {"skip_signature": True} if access.anonymous else {}
    if access.endpoint:
        config |= _ENDPOINT[scheme](access.endpoint)
    common: Any = {"client_options": options, "retry_config": _RETRY, "config": config}
    if scheme == "s3":
        return S3Store(bucket, **common)
    return GCSStore(bucket, **common) if scheme == "gs" else AzureStore(bucket, **common)


_ENDPOINT: Mapping[str, Any] = {
    "s3": lambda endpoint: {"endpoint": endpoint, "virtual_hosted_style_request": False},
    "gs": lambda endpoint: {"base_url": endpoint},
    "az": lambda endpoint: {"endpoint": endpoint},
}


def _identity(files: list[ObjectMeta]) -> str:
    """Return what changes when any of the files does."""
    lines = (f"{meta['path']} {meta['size']} {meta['e_tag'] or meta['last_modified'].isoformat()}" for meta in files)
    return sha256("\n".join(lines).encode()).hexdigest()
