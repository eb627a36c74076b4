"""What is known of the repository from looking at it again and again."""

from __future__ import annotations

from typing import TYPE_CHECKING

from service.models.reconcile import settled
from service.models.repository import Place
from service.telemetry.logs import log

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from service.models.reconcile import Held
    from service.models.repository import Contents, ModelFile, Stamp


class Watch:
    """The last two looks, and what holds where one of them came too early or found nothing to read."""

    def __init__(self, root: Path, contents: Contents) -> None:
        """Begin with a look that is to be taken as it is."""
        self._root = root
        self._files = self._before = dict(contents.files)
        self._contents = contents
        self._labels = dict(contents.labels)
        self._told: set[tuple[str, str]] = set()
        self._tell(self._problems(contents, contents))

    @property
    def is_unsettled(self) -> bool:
        """Whether anything changed between the last two looks."""
        return self._files != self._before

    def seen(self, held: Mapping[Place, Held]) -> dict[Place, Stamp]:
        """Return what the repository is to be taken for."""
        return settled(_stamps(self._files), _stamps(self._before), held)

    def file(self, place: Place) -> ModelFile:
        """Return the file of a version that was there in one of the last two looks."""
        return self._files.get(place) or self._before[place]

    def stamp(self, file: ModelFile) -> Stamp:
        """Return the stamp that a file has now, or had when it was last there."""
        return self._files.get(file.place, file).stamp

    def versions(self, name: str) -> list[int]:
        """Return the versions of a model that were there in the last look, in order."""
        return [place.version for place in self._files if place.name == name]

    def labels(self, name: str) -> Mapping[str, int]:
        """Return the versions that a model's labels are to name."""
        return self._labels.get(name, {})

    def take_in(self, contents: Contents) -> None:
        """Go by what was found; of folders that could not be read, by what was found there before."""
        if not contents.files and self._files:
            # More likely a volume that is gone than a wish to serve nothing.
            self.blind(f"{self._root}: the model repository is empty; what is loaded stays")
            return
        unread = {place: file for place, file in self._files.items() if place.name in contents.unread}
        self._before, self._files = self._files, dict(sorted({**unread, **contents.files}.items()))
        self._labels = {name: self._to_follow(name, contents) for name in {place.name for place in self._files}}
        self._tell(self._problems(contents, self._contents))
        self._contents = contents

    def trust(self, place: Place) -> None:
        """Take a version's file to be whole, though there was but one look at it."""
        self._before = {**self._before, place: self._files[place]}

    def blind(self, reason: str) -> None:
        """Go on with what is known: the repository cannot be read."""
        self._tell({("repository_unreadable", reason)})

    def _to_follow(self, name: str, contents: Contents) -> Mapping[str, int]:
        """Return the labels found, or those of before where they are broken or gone since the last look only."""
        known = self._labels.get(name, {})
        if name in contents.labels:
            return contents.labels[name]
        is_newly_gone = name in self._contents.labels
        return known if is_newly_gone or name in contents.broken_labels or name in contents.unread else {}

    def _problems(self, contents: Contents, before: Contents) -> set[tuple[str, str]]:
        """Return what is wrong, event and reason; folders that are being made get a second look before they count."""
        lasting = set(contents.passed_over) & set(before.passed_over)
        problems = {("repository_passed_over", reason) for reason in lasting}
        problems |= {("labels_failed", reason) for reason in contents.broken_labels.values()}
        return problems | {("labels_failed", reason) for reason in self._dangling()}

    def _dangling(self) -> Iterator[str]:
        for name, labels in self._labels.items():
            for label, version in labels.items():
                if Place(name, version) not in self._files:
                    yield f"{self._root / name}: label {label!r} names version {version}, which is not there"

    def _tell(self, problems: set[tuple[str, str]]) -> None:
        """Log what was not wrong the last time."""
        for event, reason in sorted(problems - self._told):
            log.warning(event, reason=reason)
        self._told = problems


def _stamps(files: Mapping[Place, ModelFile]) -> dict[Place, Stamp]:
    return {place: file.stamp for place, file in files.items()}
