"""Two threads commit to one SQLite database, two rows at a time, with checkpoints in between."""

from __future__ import annotations

import sqlite3
import sys
import threading
from pathlib import Path

import traced

TRANSACTIONS = 16

committing = threading.Lock()


def main(path: Path) -> None:
    traced.begin()
    database = connected(path)
    database.execute("CREATE TABLE rows (writer, number, half, text)")
    traced.acknowledge("table")
    writers = [threading.Thread(target=write, args=(path, writer)) for writer in range(2)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    database.close()


def write(path: Path, writer: int) -> None:
    database = connected(path)
    for number in range(TRANSACTIONS):
        database.execute("BEGIN IMMEDIATE")
        for half in range(2):
            database.execute(
                "INSERT INTO rows VALUES (?, ?, ?, ?)", (writer, number, half, "x" * 900)
            )
        with committing:  # so that no other commit's sync comes between this one's and its word
            database.execute("COMMIT")
            traced.acknowledge([writer, number])
        if number % 5 == 4:
            database.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
    database.close()


def connected(path: Path) -> sqlite3.Connection:
    database = sqlite3.connect(path, isolation_level=None, timeout=60)
    database.execute("PRAGMA journal_mode = WAL")
    database.execute("PRAGMA synchronous = FULL")
    return database


main(Path(sys.argv[1]))
