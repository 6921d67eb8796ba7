"""The store of a collection: one writer, any number of readers, every failure explained."""

from __future__ import annotations

import json
import queue
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, NamedTuple

from sparsegate_server.errors import ShuttingDown
from sparsegate_server.filters import FieldKind
from sparsegate_server.index.calibration import from_fact, to_fact
from sparsegate_server.index.files.durable import explained
from sparsegate_server.index.store import schema
from sparsegate_server.index.store.documents import Encoded, Stored, StoredParts
from sparsegate_server.index.store.wal import check_log
from sparsegate_server.operations import Calibration, WriteResult

_ROWS: Final = 64
"""Documents that one statement inserts."""

_KEPT_REQUESTS: Final = 10_000
_COLUMNS: Final = "number, key, version, checksums, payload, text, vector"

_NO_PAYLOAD: Final = "x'7B7D'"

_ABSENT: Final = object()


def stored_documents(connection: sqlite3.Connection) -> Iterator[Stored]:
    """All documents of a database, ascending; its texts are read as bytes."""
    query = f"SELECT {_COLUMNS} FROM documents ORDER BY number"  # noqa: S608
    return (Stored(*row) for row in connection.execute(query))


class Position(NamedTuple):
    """Attributes:
    sequence: of the last write.
    next_number: of the next document; numbers only grow.
    """

    sequence: int
    next_number: int


class Store:
    """An open database. The methods of the first half are the writer's: one thread at a time, the
    writing ones between `begin` and `commit`. Those of the second half may be called by any.

    Raises:
        CorruptStore: the database is missing, foreign or damaged, or its log is.
        StorageFull, DataFolderUnusable: the disk does not take a write.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / schema.FILE
        with explained(folder):
            check_log(self.path)
        self._writer = schema.connect(self.path, writable=True)
        self._writer.text_factory = bytes
        self._changes_before = 0
        self._closed = False
        self._readers: queue.LifoQueue[sqlite3.Connection] = queue.LifoQueue()

    def close(self) -> None:
        """The last connection to close moves the write-ahead log into the database."""
        self._closed = True
        while not self._readers.empty():
            self._readers.get_nowait().close()
        self._writer.close()

    def fact(self, name: str) -> Any:
        """A fact of the table `state`, from its JSON."""
        fact = self._fact(name)
        if fact is _ABSENT:
            raise schema.damaged(self.path, f"it has no {name}")
        return fact

    def calibration(self) -> Calibration | None:
        """How much effort a recall takes, where that was measured."""
        fact = self._fact("calibration")
        try:
            return None if fact is _ABSENT else from_fact(fact)
        except ValueError as error:
            raise schema.damaged(self.path, "its calibration is none") from error

    def position(self) -> Position:
        position = Position(self.fact("sequence"), self.fact("next_number"))
        if not all(type(each) is int for each in position):
            raise schema.damaged(self.path, "its position is none")
        return position

    # The writer's.

    @property
    def in_transaction(self) -> bool:
        return self._writer.in_transaction

    @property
    def changed(self) -> bool:
        """Whether the open transaction has changed anything."""
        return self._writer.total_changes > self._changes_before

    def begin(self) -> None:
        self._changes_before = self._writer.total_changes
        with self._explained():
            self._writer.execute("BEGIN IMMEDIATE")

    def save(self) -> None:
        """Marks a place in the transaction that `restore` goes back to, or `keep` forgets."""
        with self._explained():
            self._writer.execute("SAVEPOINT step")

    def restore(self) -> None:
        if self._writer.in_transaction:
            self._writer.execute("ROLLBACK TO step")
            self._writer.execute("RELEASE step")

    def keep(self) -> None:
        with self._explained():
            self._writer.execute("RELEASE step")

    def commit(self) -> None:
        """Durable when it returns."""
        with self._explained():
            self._writer.execute("COMMIT")

    def rollback(self) -> None:
        if self._writer.in_transaction:
            self._writer.execute("ROLLBACK")

    def set_facts(self, **facts: object) -> None:
        rows = [(name, json.dumps(value)) for name, value in facts.items()]
        self._change_many("INSERT OR REPLACE INTO state VALUES (?, ?)", rows)

    def set_calibration(self, calibration: Calibration) -> None:
        self.set_facts(calibration=to_fact(calibration))

    def insert(self, documents: Sequence[Encoded], numbers: Sequence[int], version: int) -> None:
        rows = [
            (number, each.key, version, each.checksums, each.payload, each.text, each.vector)
            for number, each in zip(numbers, documents, strict=True)
        ]
        # Many rows a statement: each statement gives the GIL away, and has to wait for it again
        # where other threads are busy.
        for start in range(0, len(rows), _ROWS):
            some = rows[start : start + _ROWS]
            places = ", ".join(["(?, ?, ?, ?, ?, ?, ?)"] * len(some))
            self._change(
                f"INSERT INTO documents ({_COLUMNS}) VALUES {places}",  # noqa: S608
                [value for row in some for value in row],
            )

    def bury(self, numbers: Sequence[int], sequence: int) -> None:
        """Notes the death of documents."""
        self._change(
            "INSERT INTO tombstones SELECT value, ? FROM json_each(?)",
            (sequence, json.dumps(list(numbers))),
        )

    def purge(self, numbers: Sequence[int]) -> None:
        """Forgets dead documents, which no segment holds and no search needs any more."""
        wanted = (json.dumps(list(numbers)),)
        for table in ("documents", "tombstones"):
            self._change(
                f"DELETE FROM {table} WHERE number IN (SELECT value FROM json_each(?))",  # noqa: S608
                wanted,
            )

    def request(self, request_id: str) -> tuple[bytes, WriteResult] | None:
        """Digest and result of an earlier request."""
        row = self._one("SELECT digest, sequence, affected FROM requests WHERE id = ?", request_id)
        return row and (row[0], WriteResult(row[1], row[2], repeated=True))

    def remember_request(self, request_id: str, digest: bytes, written: WriteResult) -> None:
        self._change_many(
            "INSERT INTO requests (id, digest, sequence, affected) VALUES (?, ?, ?, ?)",
            [(request_id, digest, written.sequence, written.affected)],
        )
        self._change_many(
            "DELETE FROM requests WHERE serial <= (SELECT max(serial) FROM requests) - ?",
            [(_KEPT_REQUESTS,)],
        )

    def stream(self, stream: str) -> tuple[int, WriteResult] | None:
        """Number and result of the last applied batch of a stream."""
        row = self._one("SELECT batch, sequence, affected FROM streams WHERE stream = ?", stream)
        return row and (row[0], WriteResult(row[1], row[2], repeated=True))

    def remember_batch(self, stream: str, batch: int, written: WriteResult) -> None:
        self._change_many(
            "INSERT OR REPLACE INTO streams VALUES (?, ?, ?, ?)",
            [(stream, batch, written.sequence, written.affected)],
        )

    def declare_index(self, field: str, kind: FieldKind, sequence: int) -> None:
        self._change_many(
            "INSERT OR REPLACE INTO payload_indexes VALUES (?, ?, ?)",
            [(field, kind.value, sequence)],
        )

    def drop_index(self, field: str) -> None:
        self._change_many("DELETE FROM payload_indexes WHERE field = ?", [(field,)])

    def indexes(self) -> dict[str, FieldKind]:
        """Declared payload indexes."""
        with self._explained():
            rows = self._writer.execute("SELECT field, kind FROM payload_indexes").fetchall()
        try:
            return {field.decode(): FieldKind(kind.decode()) for field, kind in rows}
        except (ValueError, AttributeError) as error:
            raise schema.damaged(self.path, "it has a payload index that is none") from error

    # Anybody's.

    def tombstones(self) -> list[tuple[int, int]]:
        """Numbers of dead documents, ascending, and when they died."""
        with self._reader() as reader:
            rows = reader.execute(
                "SELECT number, sequence FROM tombstones ORDER BY number"
            ).fetchall()
        if not all(type(sequence) is int for _, sequence in rows):
            raise schema.damaged(self.path, "it has a tombstone without a date")
        return rows

    def live_after(self, number: int, limit: int = -1) -> list[Stored]:
        """Documents with a greater number that are not dead, ascending; at most `limit` of them."""
        query = (
            f"SELECT {_COLUMNS} FROM documents WHERE number > ? AND NOT EXISTS"  # noqa: S608
            " (SELECT 1 FROM tombstones WHERE tombstones.number = documents.number)"
            " ORDER BY number LIMIT ?"
        )
        with self._reader() as reader:
            return [Stored(*row) for row in reader.execute(query, (number, limit))]

    def repeats(self) -> bool:
        """Whether two live documents have one key, as no write leaves them. Reads all keys."""
        with self._reader() as reader:
            query = "SELECT count(*) > count(DISTINCT key) FROM live"
            (repeated,) = reader.execute(query).fetchone()
        return bool(repeated)

    def greatest_number(self) -> int:
        """Of all documents; 0 if there are none."""
        with self._reader() as reader:
            (number,) = reader.execute("SELECT max(number) FROM documents").fetchone()
        return number or 0

    def read(self, numbers: Iterable[int]) -> dict[int, Stored]:
        """Documents by number."""
        return self._read(_COLUMNS, numbers, Stored)

    def read_parts(
        self, numbers: Iterable[int], *, text: bool, payload: bool
    ) -> dict[int, StoredParts]:
        """Texts and payloads by number; what is not asked for is None and `{}`."""
        of_text = "text" if text else "NULL"
        of_payload = "payload" if payload else _NO_PAYLOAD
        columns = f"number, checksums, {of_text}, {of_payload}"
        return self._read(columns, numbers, lambda _, *parts: StoredParts(*parts))

    def stream_batch(self, stream: str) -> int:
        """Number of the last applied batch of a stream; 0 if there is none."""
        with self._reader() as reader:
            row = reader.execute("SELECT batch FROM streams WHERE stream = ?", (stream,)).fetchone()
        return row[0] if row else 0

    def _read(self, columns: str, numbers: Iterable[int], make: Any) -> dict[int, Any]:
        wanted = json.dumps([int(number) for number in numbers])
        query = f"SELECT {columns} FROM documents WHERE number IN (SELECT value FROM json_each(?))"  # noqa: S608
        with self._reader() as reader:
            return {row[0]: make(*row) for row in reader.execute(query, (wanted,))}

    def checkpoint(self) -> None:
        """Moves what is committed from the write-ahead log into the database, as far as it can
        without waiting for anybody."""
        with self._reader() as reader:
            reader.execute("PRAGMA wal_checkpoint(PASSIVE)")

    def check(self) -> None:
        """SQLite's own check of the whole database. Raises CorruptStore."""
        with self._reader() as reader:
            (verdict,) = reader.execute("PRAGMA integrity_check(1)").fetchone()
        if verdict != b"ok":
            raise schema.damaged(self.path, verdict.decode())

    def copy(self, target: Path) -> None:
        """Writes a compact copy of what is committed now to a new file."""
        with self._reader() as reader:
            reader.execute("PRAGMA query_only = OFF")
            try:
                reader.execute("VACUUM INTO ?", (str(target),))
            finally:
                reader.execute("PRAGMA query_only = ON")

    def bytes(self) -> int:
        """Size of the files."""
        files = (self.path, self.path.with_name(self.path.name + "-wal"))
        return sum(file.stat().st_size for file in files if file.exists())

    def _fact(self, name: str) -> Any:
        row = self._one("SELECT value FROM state WHERE name = ?", name)
        if row is None:
            return _ABSENT
        try:
            return json.loads(row[0])
        except (ValueError, TypeError, RecursionError) as error:
            raise schema.damaged(self.path, f"its {name} is none") from error

    def _one(self, query: str, *values: object) -> Any:
        with self._explained():
            return self._writer.execute(query, values).fetchone()

    def _change(self, statement: str, values: Sequence[object]) -> None:
        with self._explained():
            self._writer.execute(statement, values)

    def _change_many(self, statement: str, rows: Iterable[Sequence[object]]) -> None:
        with self._explained():
            self._writer.executemany(statement, rows)

    @contextmanager
    def _reader(self) -> Iterator[sqlite3.Connection]:
        """A connection of the caller's own, for as long as the context lasts."""
        if self._closed:
            raise ShuttingDown("the collection was closed or deleted meanwhile")
        try:
            connection = self._readers.get_nowait()
        except queue.Empty:
            connection = schema.connect(self.path)
            connection.text_factory = bytes
        try:
            with self._explained():
                yield connection
        finally:
            self._give_back(connection)

    def _give_back(self, connection: sqlite3.Connection) -> None:
        if self._closed:
            connection.close()
        else:
            self._readers.put(connection)

    @contextmanager
    def _explained(self) -> Iterator[None]:
        with schema.explained(self.path):
            yield
