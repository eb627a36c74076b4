"""An object store: a folder or a file in a bucket of S3, Google Cloud Storage or Azure."""

from __future__ import annotations

import contextlib
import re
from dataclasses import dataclass, field
from datetime import timedelta
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

import certifi
import obstore
from obstore.exceptions import BaseError, GenericError, PermissionDeniedError, UnauthenticatedError
from obstore.store import AzureStore, GCSStore, S3Store

from service.delivery.errors import Refused, Transient
from service.delivery.layout import SUMS_FILE, may_belong, safe_parts
from service.delivery.offer import Offer, Part, form_of
from service.delivery.transport import shown

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from obstore import ObjectMeta

    Store = S3Store | GCSStore | AzureStore

_CREDENTIALS = "; credentials are read from the variables AWS_…, GOOGLE_… or AZURE_…, or the machine's own identity"
_PASSING = re.compile(r"error sending request|status code: (408|429|50[0234])")
SCHEMES = ("s3", "gs", "az")

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
        parts = urlsplit(self.url)
        self._shown = shown(self.url)
        self._path = unquote(parts.path).strip("/")
        if not parts.netloc:
            raise Refused(f"{self._shown}: names no bucket; expected {parts.scheme}://BUCKET/FOLDER")
        with self._told():
            self._store = _open(parts.scheme, parts.netloc, self.access)

    def offer(self) -> Offer:
        """Return the file that the URL names, by its ending, or else everything of a repository below it."""
        with self._told():
            form = form_of(self._path)
            if form:
                meta = obstore.head(self._store, self._path)
                return Offer(
                    _identity([meta]), [Part(safe_parts(meta["path"]), form, self._reader(meta), meta["size"])]
                )
            return self._folder()

    def _folder(self) -> Offer:
        found = [meta for page in obstore.list(self._store, prefix=self._path or None) for meta in page]
        files = sorted((meta for meta in found if meta["path"]), key=lambda meta: meta["path"])
        if not files:
            raise Refused(f"{self._shown}: there is nothing")
        parts = {meta["path"]: self._part(meta) for meta in files if may_belong(safe_parts(meta["path"]))}
        sums_path = f"{self._path}/{SUMS_FILE}".lstrip("/")
        sums = next((self._part(meta) for meta in files if meta["path"] == sums_path), None)
        return Offer(_identity(files), list(parts.values()), folder=True, sums=sums)

    def _part(self, meta: ObjectMeta) -> Part:
        return Part(safe_parts(meta["path"]), "file", self._reader(meta), meta["size"])

    def _reader(self, meta: ObjectMeta) -> Any:  # noqa: ANN401 (a function of the offset)
        def read(offset: int) -> Iterator[bytes]:
            if offset >= meta["size"]:
                return
            options: Any = {"range": (offset, meta["size"])} if offset else {}
            if meta["e_tag"]:
                options["if_match"] = meta["e_tag"]
            with self._told():
                found = obstore.get(self._store, meta["path"], options=options)
            for chunk in self._stream(found):
                yield bytes(chunk)

        return read

    def _stream(self, found: obstore.GetResult) -> Iterator[obstore.Bytes]:
        with self._told(broken_off=True):
            yield from found.stream(min_chunk_size=_CHUNK)

    @contextlib.contextmanager
    def _told(self, *, broken_off: bool = False) -> Iterator[None]:
        try:
            yield
        except FileNotFoundError as error:
            raise Refused(f"{self._shown}: {_reason(error)}") from error
        except (PermissionDeniedError, UnauthenticatedError) as error:
            raise Refused(f"{self._shown}: {_reason(error)}{_CREDENTIALS}") from error
        except GenericError as error:
            if broken_off or _PASSING.search(str(error)):
                raise Transient(f"{self._shown}: {_reason(error)}") from error
            hint = _CREDENTIALS if re.search(r"status code: 40[13]|credential", str(error)) else ""
            raise Refused(f"{self._shown}: {_reason(error)}{hint}") from error
        except (BaseError, ValueError) as error:
            raise Refused(f"{self._shown}: {_reason(error)}") from error


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


def _reason(error: Exception) -> str:
    """Return what the library says in short: without addresses, times taken, and its own internals."""
    text = " ".join(str(error).partition("\n\nDebug source")[0].split())
    status = re.search(r"status code: (\d{3}(?: [A-Z][A-Za-z]*)*)", text)
    code = re.search(r"<Code>(\w+)</Code>", text)
    if status:
        return f"{status[1]} ({code[1]})" if code else status[1]
    if "error sending request" in text:
        return f"cannot be reached ({text.partition('HTTP error: ')[2] or text})"
    return text.removeprefix("Generic ")
