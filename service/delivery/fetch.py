"""`lapis-models fetch`: receive all of it, check all of it, and only then put it in place."""

from __future__ import annotations

import hashlib
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from service.delivery import sums
from service.delivery.errors import Refused
from service.delivery.layout import SUMS_FILE, may_belong, select
from service.delivery.model_file import describe
from service.delivery.placing import put_in_place
from service.delivery.record import Fetched, Record, still_there
from service.delivery.staging import staged
from service.delivery.transport import shown
from service.delivery.unpack import unpack
from service.models.labels import LABELS_FILE, LabelsError, read_labels
from service.models.repository import MODEL_FILE
from service.telemetry.logs import log

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from service.delivery.layout import Place
    from service.delivery.offer import Offer, Part, Source
    from service.delivery.patience import Patience
    from service.delivery.staging import Staging

_BETWEEN_PROGRESS = 5.0
_LARGEST_SUMS = 4 << 20

Files = dict[tuple[str, ...], tuple[str, ...]]
"""Files that were received, by their paths at the source, each with its path in the repository."""


@dataclass(frozen=True)
class Wanted:
    """What is to be fetched, and where to; `sha256` is "" where any will do."""

    url: str
    output: Path
    sha256: str = ""
    place: Place | None = None
    max_bytes: int = 4 << 30

    @property
    def shown(self) -> str:
        """The URL as it may be told."""
        return shown(self.url)

    @property
    def key(self) -> str:
        """What stands for it in the record."""
        return f"{self.shown} as {self.place}" if self.place else self.shown


def fetch(wanted: Wanted, source: Source, patience: Patience) -> None:
    """Bring what is wanted into the output folder; does nothing where it is there already. Raises Refused."""
    with staged(wanted.output, wanted.max_bytes) as staging:
        record = Record.read(wanted.output)
        known = record.fetches.get(wanted.key)
        if known and wanted.sha256 and known.sha256 == wanted.sha256 and still_there(known, wanted.output):
            return _told_as_there(wanted, known)
        offer = patience.persist(source.offer)
        if known and _unchanged(known, offer, wanted) and still_there(known, wanted.output):
            return _told_as_there(wanted, known)
        fetched = _receive_and_place(wanted, offer, staging, patience)
        Record(fetches=record.fetches | {wanted.key: fetched}).write(wanted.output, staging.folder)
        log.info("fetched", url=wanted.shown, output=str(wanted.output), models=_models(fetched), sha256=fetched.sha256)
        return None


def _unchanged(known: Fetched, offer: Offer, wanted: Wanted) -> bool:
    return not wanted.sha256 and bool(offer.identity) and offer.identity == known.identity


def _told_as_there(wanted: Wanted, known: Fetched) -> None:
    log.info("already_there", url=wanted.shown, output=str(wanted.output), models=_models(known), sha256=known.sha256)


def _models(fetched: Fetched) -> list[str]:
    return sorted(path.removesuffix(f"/{MODEL_FILE}") for path in fetched.files if path.endswith(MODEL_FILE))


def _receive_and_place(wanted: Wanted, offer: Offer, staging: Staging, patience: Patience) -> Fetched:
    sha256 = _receive(wanted, offer, staging, patience)
    files = select(staging.digests, wanted.shown, wanted.place)
    _check_contents(files, staging, wanted.shown)
    put_in_place(files, staging, wanted.output)
    digests = {"/".join(inner): staging.digests[parts] for parts, inner in sorted(files.items())}
    return Fetched(identity=offer.identity, sha256=sha256, files=digests)


def _receive(wanted: Wanted, offer: Offer, staging: Staging, patience: Patience) -> str:
    """Stage all parts and return the digest that stands for them; raises Refused where it is not the one wanted."""
    if offer.sha256:
        _check_digest(wanted, offer.sha256)
    if offer.folder:
        return _receive_folder(wanted, offer, staging, patience)
    digests = [_receive_part(part, wanted, staging, patience) for part in offer.parts if _is_of_use(part)]
    if not digests:
        raise Refused(f"{wanted.shown}: no model in it")
    if not offer.sha256:
        _check_digest(wanted, digests[0])
    return offer.sha256 or digests[0]


def _receive_folder(wanted: Wanted, offer: Offer, staging: Staging, patience: Patience) -> str:
    chosen = select((part.path for part in offer.parts), wanted.shown, wanted.place)
    sha256, listed = _listed(wanted, offer, patience)
    for part in offer.parts:
        if part.path in chosen:
            _receive_part(part, wanted, staging, patience)
    if offer.sums:
        depth = len(offer.sums.path) - 1
        digests = {parts[depth:]: digest for parts, digest in staging.digests.items()}
        sums.check(digests, listed, list(digests), wanted.shown)
    return sha256


def _listed(wanted: Wanted, offer: Offer, patience: Patience) -> tuple[str, Mapping[tuple[str, ...], str]]:
    """Return the digest of the folder's list of digests, and what it lists; "" and nothing where it has none."""
    if offer.sums is None:
        if wanted.sha256:
            raise Refused(
                f"{wanted.shown}: a folder is held to --sha256 by its {SUMS_FILE}, and there is none; make it with "
                f"`sha256sum */*/{MODEL_FILE} > {SUMS_FILE}` and give its own SHA-256"
            )
        return "", {}
    content = bytearray()
    for chunk in patience.stream(offer.sums.read):
        content += chunk
        if len(content) > _LARGEST_SUMS:
            raise Refused(f"{wanted.shown}: {SUMS_FILE} is larger than {_LARGEST_SUMS:,} bytes")
    sha256 = hashlib.sha256(content).hexdigest()
    _check_digest(wanted, sha256, f" of {SUMS_FILE}")
    return sha256, sums.parse(content.decode("utf-8", "replace"), wanted.shown)


def _is_of_use(part: Part) -> bool:
    return part.form != "file" or may_belong(part.path)


def _receive_part(part: Part, wanted: Wanted, staging: Staging, patience: Patience) -> str:
    """Stage a file, or what is in an archive, and return the SHA-256 of its bytes as they came."""
    where = wanted.shown
    if part.size is not None and part.size > wanted.max_bytes:
        raise Refused(f"{where}: {part.size:,} bytes; --max-bytes allows {wanted.max_bytes:,}")
    stream = _Watched(patience.stream(part.read), part, wanted)
    if part.form == "file":
        staging.receive(part.path, stream)
    else:
        unpack(iter(stream), part.form, staging, where)
    if part.size is not None and stream.count != part.size:
        raise Refused(f"{where}: {stream.count:,} bytes came; {part.size:,} were announced")
    if part.sha256 and stream.sha256 != part.sha256:
        raise Refused(f"{where}: the SHA-256 of a layer is {stream.sha256}; its manifest says {part.sha256}")
    return stream.sha256


def _check_digest(wanted: Wanted, sha256: str, what: str = "") -> None:
    if wanted.sha256 and sha256 != wanted.sha256:
        raise Refused(f"{wanted.shown}: the SHA-256{what} is {sha256}; expected {wanted.sha256}")


def _check_contents(files: Files, staging: Staging, where: str) -> None:
    for parts, inner in files.items():
        path, name = staging.where(parts), "/".join(inner)
        if inner[-1] == MODEL_FILE:
            describe(path, f"{where}: {name}")
        elif inner[-1] == LABELS_FILE:
            try:
                read_labels(path)
            except LabelsError as error:
                raise Refused(f"{where}: {str(error).replace(str(path), name)}") from error


@dataclass
class _Watched:
    """Chunks on their way: counted, hashed, and told of in the log from time to time."""

    chunks: Iterator[bytes]
    part: Part
    wanted: Wanted
    count: int = 0
    _digest: hashlib._Hash = field(default_factory=hashlib.sha256)

    def __iter__(self) -> Iterator[bytes]:
        started = told = time.monotonic()
        name = "/".join(self.part.path)
        log.info("fetching", file=name, bytes=self.part.size)
        for chunk in self.chunks:
            self.count += len(chunk)
            if self.count > self.wanted.max_bytes:
                raise Refused(f"{self.wanted.shown}: more than the {self.wanted.max_bytes:,} bytes of --max-bytes")
            self._digest.update(chunk)
            yield chunk
            if time.monotonic() - told >= _BETWEEN_PROGRESS:
                told = time.monotonic()
                log.info("fetching", file=name, bytes=self.part.size, received=self.count)
        log.debug("received", file=name, bytes=self.count, seconds=round(time.monotonic() - started, 2))

    @property
    def sha256(self) -> str:
        """SHA-256 of what went by."""
        return self._digest.hexdigest()
