"""A snapshot: one file with all that a collection holds.

A ZIP archive of two members: `snapshot.json` (format, sequence number, number of documents, size of
the store) and `store.db`, a compact copy of the store without its dead documents. The index is not
in it: it is made from the store, wherever the archive is restored, so that an archive fits every
later version and a stranger's archive never reaches a kernel unchecked.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
import sqlite3
import struct
import uuid
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, Final, NamedTuple

from sparsegate_server.errors import CorruptStore, InvalidFilter, SnapshotRefused, StorageFull
from sparsegate_server.index import recovery
from sparsegate_server.index.files.durable import explained, private, sync_folder
from sparsegate_server.index.filter import paths
from sparsegate_server.index.store import schema
from sparsegate_server.index.store.database import Store, stored_documents

_FORMAT: Final = 1
_FACTS: Final = "snapshot.json"
_COPY: Final = ".copy.db"
_NEW: Final = ".new"
_MOST_FACTS: Final = 65_536
_PIECE: Final = 1 << 20
_MOST_TERMS: Final = 2**24
_MOST_SHARDS: Final = 256
_MOST_NUMBERS: Final = 2**62
_ENCRYPTED: Final = 1
_PACKED: Final = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_UNREADABLE: Final = (
    zipfile.BadZipFile,
    zlib.error,
    struct.error,
    EOFError,
    NotImplementedError,
    ValueError,
)
"""What `zipfile` says of archives that are damaged or none."""


class Archived(NamedTuple):
    """What an archive holds. `config`: as it was given to `recovery.create`."""

    sequence: int
    documents: int
    config: dict[str, Any]


def write_archive(store: Store, path: Path) -> Archived:
    """Writes an archive to a new file; it has that name only once it is complete and durable.

    Raises:
        StorageFull, DataFolderUnusable: nothing is left behind.
    """
    copy, unfinished = path.with_name(path.name + _COPY), path.with_name(path.name + _NEW)
    try:
        with explained(path.parent):
            copy.unlink(missing_ok=True)
            store.copy(copy)
            archived = _compact(copy)
            _pack(copy, unfinished, archived)
            unfinished.replace(path)
            sync_folder(path.parent)
            return archived
    finally:
        for left in (copy, unfinished):
            left.unlink(missing_ok=True)


def sweep(folder: Path) -> None:
    """Deletes what a crash has left of archives that were being written to a folder."""
    for unfinished in (*folder.glob(f"*{_COPY}*"), *folder.glob(f"*{_NEW}")):
        unfinished.unlink()


def read_facts(path: Path) -> Archived:
    """Raises SnapshotRefused: not an archive of ours."""
    with _legible(), path.open("rb") as file, zipfile.ZipFile(file) as archive:
        return _facts(archive)


def restore(archive: Path, folder: Path, config: Mapping[str, Any], *, most_bytes: int) -> None:
    """Makes a collection in a new folder from an archive, which may come from a stranger.

    Args:
        config: replaces the collection's.
        most_bytes: of the store, unpacked.

    Raises:
        SnapshotRefused: damaged, too large, or not one of ours; nothing is left behind.
        StorageFull, DataFolderUnusable.
    """
    with explained(folder):
        folder.mkdir()
    try:
        with explained(folder):
            _unpack(archive, folder / schema.FILE, most_bytes)
            _adopt(folder, config)
            recovery.rebuild(folder)
    except CorruptStore as error:
        recovery.remove(folder)
        raise _refused(f"it is damaged: {error.message}") from error
    except BaseException:
        recovery.remove(folder)
        raise


def _compact(copy: Path) -> Archived:
    """Drops the dead from a copy of the store, and checks the living.

    Raises:
        CorruptStore: a document is damaged, so that the archive could not be restored.
    """
    with schema.explained(copy), closing(sqlite3.connect(copy, isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode = DELETE")
        connection.execute("DELETE FROM documents WHERE number IN (SELECT number FROM tombstones)")
        connection.execute("DELETE FROM tombstones")
        connection.execute("VACUUM")
        facts = dict(connection.execute("SELECT name, value FROM state"))
        connection.text_factory = bytes
        documents = sum(1 for each in stored_documents(connection) if each.check())
    return Archived(json.loads(facts["sequence"]), documents, json.loads(facts["config"]))


def _pack(copy: Path, path: Path, archived: Archived) -> None:
    facts = {"format": _FORMAT, "bytes": copy.stat().st_size, **archived._asdict()}
    with open(path, "wb", opener=private) as file:
        with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
            archive.writestr(_FACTS, json.dumps(facts))
            archive.write(copy, schema.FILE)
        file.flush()
        os.fsync(file.fileno())


def _facts(archive: zipfile.ZipFile) -> Archived:
    """Raises SnapshotRefused: other members than ours, or facts that are none."""
    members = archive.infolist()
    if sorted(each.filename for each in members) != sorted((_FACTS, schema.FILE)):
        raise _refused("it is no snapshot of a collection: its members have other names")
    if any(each.flag_bits & _ENCRYPTED or each.compress_type not in _PACKED for each in members):
        raise _refused("it is encrypted, or packed in an unusual way")
    if archive.getinfo(_FACTS).file_size > _MOST_FACTS:
        raise _refused(f"{_FACTS} is too large")
    try:
        facts = json.loads(archive.read(_FACTS))
        if facts["format"] != _FORMAT:
            raise _refused(f"it has the format {facts['format']}; this program knows {_FORMAT}")
        return Archived(int(facts["sequence"]), int(facts["documents"]), dict(facts["config"]))
    except (ValueError, TypeError, KeyError, OverflowError, RecursionError) as error:
        raise _refused(f"{_FACTS} is damaged") from error


def _unpack(path: Path, target: Path, most_bytes: int) -> None:
    """Unpacks the store, and never more than the archive admits to."""
    with _legible(), path.open("rb") as file, zipfile.ZipFile(file) as archive:
        _facts(archive)
        size = archive.getinfo(schema.FILE).file_size
        if size > most_bytes:
            raise _refused(
                f"its store has {size} bytes, more than the {most_bytes} allowed"
                " (limits.max_snapshot_bytes)"
            )
        if size > shutil.disk_usage(target.parent).free:
            raise StorageFull(f"no room for the {size} bytes of the snapshot's store")
        with archive.open(schema.FILE) as packed, target.open("xb") as unpacked:
            # zipfile stops at the size that the directory names and checks the sum.
            shutil.copyfileobj(packed, unpacked, _PIECE)


@contextmanager
def _legible() -> Iterator[None]:
    """Raises SnapshotRefused for whatever `zipfile` says of a damaged archive."""
    try:
        yield
    except _UNREADABLE as error:
        raise _refused(f"it cannot be read: {error}") from error
    except OSError as error:
        # A damaged directory sends it to places before the file's first byte.
        if error.errno != errno.EINVAL:
            raise
        raise _refused("it cannot be read: its directory is damaged") from error


def _adopt(folder: Path, config: Mapping[str, Any]) -> None:
    """Checks a foreign store, as far as its rows are not checked when the index is made from them,
    and gives it its new config.

    Raises:
        SnapshotRefused: tables, triggers or parameters that are not ours.
        CorruptStore: it is damaged.
    """
    path = folder / schema.FILE
    with schema.explained(path):
        with closing(schema.connect(path)) as connection:
            if schema.tables(connection) != set(schema.TABLES):
                raise _refused("its store has other tables than ours")
        with closing(sqlite3.connect(path, isolation_level=None)) as journal:
            journal.execute("PRAGMA journal_mode = WAL")
    store = Store(folder)
    try:
        store.check()
        _check_parameters(store)
        store.begin()
        # An identity of its own: no file of the original's index may be taken for one of its.
        store.set_facts(config=dict(config), collection=uuid.uuid4().hex)
        store.commit()
    finally:
        store.close()


def _check_parameters(store: Store) -> None:
    """Raises SnapshotRefused, CorruptStore."""
    parameters = recovery.parameters_of(store)
    position = store.position()
    store.calibration()
    try:
        canonical = all(paths.canonical(field) == field for field in store.indexes())
    except InvalidFilter as error:
        raise _refused(f"it indexes a field that is none: {error.message}") from error
    sound = (
        canonical
        and isinstance(store.fact("collection"), str)
        and parameters.vocabulary <= _MOST_TERMS
        and parameters.shards <= _MOST_SHARDS
        and 0 <= position.sequence < _MOST_NUMBERS
        and store.greatest_number() < position.next_number < _MOST_NUMBERS
        and not store.tombstones()
        and not store.repeats()
    )
    if not sound:
        raise _refused("its parameters are none that a collection could have")


def _refused(why: str) -> SnapshotRefused:
    return SnapshotRefused(f"the snapshot is refused: {why}", field="snapshot")
