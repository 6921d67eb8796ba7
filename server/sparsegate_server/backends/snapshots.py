"""Snapshots of the embedded engine: archives in a folder, described by what they say themselves."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from sparsegate_server import index
from sparsegate_server.backends.base import CollectionConfig, Snapshot
from sparsegate_server.backends.facts import config_from, facts_of
from sparsegate_server.backends.members import parameters_of
from sparsegate_server.errors import SnapshotNotFound, SnapshotRefused
from sparsegate_server.index import archive, recovery
from sparsegate_server.index.files.durable import explained, sync_folder

SUFFIX: Final = ".snapshot"
_NAME: Final = re.compile(r"[A-Za-z0-9_-]{1,128}" + re.escape(SUFFIX))


def create(collection: index.Collection, folder: Path, name: str) -> Snapshot:
    """Writes an archive of what is committed now; searches and writes go on."""
    taken: list[Path] = []

    def free() -> Path:
        taken.append(_free(folder, f"{name}-{collection.counts().sequence}"))
        return taken[-1]

    collection.snapshot(free)
    return _described(taken[-1], name)


def _free(folder: Path, stem: str) -> Path:
    """A name that says what and when; the clock may have been set back, so that it may be taken."""
    moment = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
    path, number = folder / f"{stem}-{moment}{SUFFIX}", 1
    while path.exists():
        number += 1
        path = folder / f"{stem}-{moment}-{number}{SUFFIX}"
    return path


def listed(folder: Path, name: str) -> list[Snapshot]:
    """The newest first; files that are no archives of ours, or go meanwhile, are left out."""
    found = []
    if folder.is_dir():
        for path in folder.glob(f"*{SUFFIX}"):
            with suppress(SnapshotRefused, FileNotFoundError):
                found.append(_described(path, name))
    return sorted(found, key=lambda each: (-each.sequence, -each.created, each.name))


def path(folder: Path, snapshot: str) -> Path:
    """Raises SnapshotNotFound, also for names that would lead out of the folder."""
    if not _NAME.fullmatch(snapshot) or not (folder / snapshot).is_file():
        raise _not_found(snapshot)
    return folder / snapshot


def delete(path: Path) -> None:
    """Raises SnapshotNotFound: it has gone meanwhile."""
    with explained(path.parent):
        try:
            path.unlink()
        except FileNotFoundError:
            raise _not_found(path.name) from None
        sync_folder(path.parent)


def _not_found(snapshot: str) -> SnapshotNotFound:
    return SnapshotNotFound(
        f"no snapshot is named {snapshot!r}: list them to see their names", field="snapshot"
    )


def restore(path: Path, folder: Path, name: str, *, most_bytes: int) -> None:
    """Makes a collection called `name` in a new folder.

    Raises:
        SnapshotRefused: the archive is damaged, too large, or not one of ours.
    """
    config = _config(archive.read_facts(path).config, name)
    archive.restore(path, folder, facts_of(config), most_bytes=most_bytes)
    if recovery.read_parameters(folder) != parameters_of(config):
        raise SnapshotRefused(
            "the snapshot is refused: its description and its store differ", field="snapshot"
        )


def _config(facts: Mapping[str, Any], name: str) -> CollectionConfig:
    """Raises SnapshotRefused: what a stranger's archive says is no config."""
    try:
        return config_from(facts, name)
    except ValueError as error:
        raise SnapshotRefused(
            f"the snapshot is refused: its config is none: {error}", field="snapshot"
        ) from error


def _described(path: Path, name: str) -> Snapshot:
    facts = archive.read_facts(path)
    stat = path.stat()
    return Snapshot(path.name, name, facts.sequence, facts.documents, stat.st_size, stat.st_mtime)
