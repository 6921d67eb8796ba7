"""The database of a collection: what is in it, and how connections to it are opened.

state            one row a fact: identity and parameters of the collection, sequence number, next
                 document number, and the calibration of search effort, once there is one
documents        every version of every document, by a number that only grows; a replaced
                 document gets a new row, so that a search that began before still finds the old
tombstones       the numbers of documents that are dead, and the write that killed them; purged,
                 together with the documents, once no segment holds them and no search needs them
live             the documents that are not dead, for whoever opens the database with a tool
requests         results of the last writes by request id: a retried request is applied once
streams          the last applied batch of every stream
payload_indexes  declared payload indexes
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from sparsegate_server.errors import CorruptStore, DataFolderUnusable, SparsegateError, StorageFull
from sparsegate_server.index.files.durable import private

FILE: Final = "store.db"
APPLICATION: Final = 0x53504721  # "SPG!"
VERSION: Final = 1
_CHECKPOINT_PAGES: Final = 4096
_BUSY_SECONDS: Final = 30.0

TABLES: Final = (
    "CREATE TABLE state (name TEXT PRIMARY KEY, value) WITHOUT ROWID",
    "CREATE TABLE documents (number INTEGER PRIMARY KEY, key BLOB NOT NULL,"
    " version INTEGER NOT NULL, checksums BLOB NOT NULL, payload TEXT NOT NULL, text TEXT,"
    " vector BLOB NOT NULL)",
    "CREATE TABLE tombstones (number INTEGER PRIMARY KEY, sequence INTEGER NOT NULL)",
    "CREATE TABLE requests (serial INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE,"
    " digest BLOB NOT NULL, sequence INTEGER NOT NULL, affected INTEGER NOT NULL)",
    "CREATE TABLE streams (stream TEXT PRIMARY KEY, batch INTEGER NOT NULL,"
    " sequence INTEGER NOT NULL, affected INTEGER NOT NULL) WITHOUT ROWID",
    "CREATE TABLE payload_indexes (field TEXT PRIMARY KEY, kind TEXT NOT NULL,"
    " sequence INTEGER NOT NULL) WITHOUT ROWID",
    "CREATE VIEW live AS SELECT * FROM documents WHERE number NOT IN"
    " (SELECT number FROM tombstones)",
)


def create(path: Path) -> None:
    """Makes an empty database.

    Raises:
        StorageFull, DataFolderUnusable.
    """
    with explained(path):
        _create(path)


def _create(path: Path) -> None:
    # SQLite gives the log the rights of the database.
    os.close(private(str(path), os.O_RDWR | os.O_CREAT | os.O_EXCL))
    connection = sqlite3.connect(path, isolation_level=None)
    try:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("BEGIN IMMEDIATE")
        for statement in TABLES:
            connection.execute(statement)
        connection.execute(f"PRAGMA application_id = {APPLICATION}")
        connection.execute(f"PRAGMA user_version = {VERSION}")
        connection.execute("COMMIT")
    finally:
        connection.close()


def connect(path: Path, *, writable: bool = False) -> sqlite3.Connection:
    """A connection that any thread may use, one at a time.

    Raises:
        CorruptStore: the file is missing, foreign or damaged.
        DataFolderUnusable: it cannot be opened, or a newer version made it.
    """
    if not path.is_file():
        raise CorruptStore(
            f"{path} is missing: restore a snapshot of the collection", metadata={"file": str(path)}
        )
    try:
        connection = sqlite3.connect(
            f"{path.absolute().as_uri()}?mode=rw",
            uri=True,
            isolation_level=None,
            check_same_thread=False,
            timeout=_BUSY_SECONDS,
            cached_statements=64,
        )
    except sqlite3.OperationalError as error:
        raise DataFolderUnusable(f"cannot open {path}: {error}", field="index.folder") from error
    try:
        _configure(connection, writable=writable)
        _check(connection, path)
    except sqlite3.OperationalError as error:
        connection.close()
        raise DataFolderUnusable(f"cannot open {path}: {error}", field="index.folder") from error
    except (sqlite3.DatabaseError, UnicodeDecodeError) as error:
        # SQLite quotes a damaged schema in what it says, as it is.
        connection.close()
        raise damaged(path, str(error)) from error
    except BaseException:
        connection.close()
        raise
    return connection


def damaged(path: Path, what: str) -> CorruptStore:
    return CorruptStore(
        f"{path} is damaged ({what}): restore the collection's last snapshot; what can still be"
        " read of it, `sqlite3 store.db .recover` shows",
        metadata={"file": str(path)},
    )


@contextmanager
def explained(path: Path) -> Iterator[None]:
    """Turns what SQLite says into errors that say what to do.

    Raises:
        StorageFull, CorruptStore, DataFolderUnusable.
    """
    try:
        yield
    except UnicodeDecodeError as error:
        raise damaged(path, str(error)) from error
    except sqlite3.DatabaseError as error:
        raise _explanation(path, error) from error


def _explanation(path: Path, error: sqlite3.DatabaseError) -> SparsegateError:
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    if code == sqlite3.SQLITE_FULL:
        return StorageFull(
            f"no room left on the disk of {path}: nothing was written; free some, then retry",
            retry_after=5.0,
        )
    if code in {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}:
        return damaged(path, str(error))
    return DataFolderUnusable(f"the store {path} cannot be used: {error}", field="index.folder")


def _configure(connection: sqlite3.Connection, *, writable: bool) -> None:
    connection.execute("PRAGMA trusted_schema = OFF")
    connection.execute("PRAGMA cell_size_check = ON")
    connection.execute("PRAGMA cache_size = -8192")
    if writable:
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute(f"PRAGMA wal_autocheckpoint = {_CHECKPOINT_PAGES}")
        connection.execute("PRAGMA secure_delete = OFF")
    else:
        connection.execute("PRAGMA query_only = ON")


def _check(connection: sqlite3.Connection, path: Path) -> None:
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    if application != APPLICATION:
        raise damaged(path, "it is not a store of Sparsegate")
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if version != VERSION:
        raise DataFolderUnusable(
            f"{path} has the format {version}, this program knows {VERSION}: use the version that"
            " made it",
            field="index.folder",
        )
    if not tables(connection) >= set(TABLES):
        raise damaged(path, "it has other tables than ours")


def tables(connection: sqlite3.Connection) -> set[str]:
    """The statements that made what is in a database."""
    return {sql for (sql,) in connection.execute("SELECT sql FROM sqlite_master") if sql}
