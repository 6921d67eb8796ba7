"""The manifest: which files make up the index of a collection. Replaced in one step, so that a seal
or a merge happens wholly or not at all."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Final

from sparsegate_server.index.files.checked_json import read_checked, write_checked
from sparsegate_server.index.files.container import Damaged

NAME: Final = "MANIFEST"
_FORMAT: Final = 1


@dataclass(frozen=True, slots=True)
class SegmentFile:
    """Attributes:
    shard: where it belongs.
    file: its name in the index folder.
    columns: names of the files of its payload columns, by field.
    """

    shard: int
    file: str
    columns: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Manifest:
    """Attributes:
    collection: identity of the store that the index was made from.
    generation: counts the manifests of a collection.
    sealed: every document with a number up to this one is in a segment, or dead and gone.
    sequence: of the collection when the manifest was written; the store is never behind it.
    """

    collection: str
    generation: int = 0
    sealed: int = 0
    sequence: int = 0
    segments: tuple[SegmentFile, ...] = ()

    @property
    def files(self) -> set[str]:
        """All files of the index but the manifest itself."""
        return {name for each in self.segments for name in (each.file, *each.columns.values())}


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Makes the manifest the one that holds. The files that it names, and their names in the
    folder, are durable already.

    Raises:
        OSError: the old manifest still holds.
    """
    write_checked(folder / NAME, {"format": _FORMAT, **asdict(manifest)})


def read_manifest(folder: Path) -> Manifest:
    """Raises CorruptIndex: it is missing, damaged or of a newer format."""
    path = folder / NAME
    try:
        facts = read_checked(path)
    except FileNotFoundError:
        raise Damaged(path, "is missing") from None
    except ValueError as error:
        raise Damaged(path, f"is damaged ({error})") from error
    if facts.pop("format") != _FORMAT:
        raise Damaged(path, "has a format that this program does not know")
    segments = tuple(SegmentFile(**each) for each in facts.pop("segments"))
    return Manifest(**facts, segments=segments)
