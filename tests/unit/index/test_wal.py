"""A damaged write-ahead log is noticed before SQLite drops what was acknowledged."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from sparsegate_server.errors import CorruptStore
from sparsegate_server.index import kernels
from sparsegate_server.index.store.wal import check_log

HEADER, FRAME_HEADER = 32, 24
COMMITS = 6


@pytest.fixture(scope="module", autouse=True)
def compiled() -> None:
    kernels.warm_up()


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Path]:
    """A database whose log holds several commits; it is copied while it is open."""
    path = tmp_path / "live.db"
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("CREATE TABLE t (number, filling)")
    connection.execute("PRAGMA wal_checkpoint")  # what follows overwrites the log from its start
    for number in range(COMMITS):
        connection.execute("INSERT INTO t VALUES (?, ?)", (number, "x" * 9_000))
    copy = tmp_path / "copy.db"
    for suffix in ("", "-wal"):
        shutil.copy(f"{path}{suffix}", f"{copy}{suffix}")
    yield copy
    connection.close()


def log_of(database: Path) -> Path:
    return database.with_name(database.name + "-wal")


def page_size(database: Path) -> int:
    return int.from_bytes(log_of(database).read_bytes()[8:12], "big")


def numbers(database: Path) -> list[int]:
    connection = sqlite3.connect(database)
    try:
        return [number for (number,) in connection.execute("SELECT number FROM t")]
    finally:
        connection.close()


def test_a_sound_log_passes_and_so_does_none(database: Path) -> None:
    check_log(database)
    assert numbers(database) == list(range(COMMITS))
    log_of(database).unlink(missing_ok=True)
    check_log(database)


@pytest.mark.parametrize("inside", [0, 9, FRAME_HEADER, FRAME_HEADER + 1000])
def test_a_flipped_bit_that_costs_acknowledged_writes_is_refused(
    database: Path, inside: int
) -> None:
    raw = bytearray(log_of(database).read_bytes())
    raw[HEADER + 3 * (FRAME_HEADER + page_size(database)) + inside] ^= 4
    log_of(database).write_bytes(raw)
    with pytest.raises(CorruptStore, match=r"copy\.db-wal is damaged .* behind the damaged frame"):
        check_log(database)
    # SQLite itself says nothing, and has lost writes.
    assert numbers(database) != list(range(COMMITS))


def test_a_damaged_header_is_refused(database: Path) -> None:
    raw = bytearray(log_of(database).read_bytes())
    raw[0] ^= 1
    log_of(database).write_bytes(raw)
    with pytest.raises(CorruptStore, match="its header is none"):
        check_log(database)


def test_a_commit_that_was_cut_short_is_no_damage(database: Path) -> None:
    """What a power loss leaves: the last commit is there in parts."""
    raw = log_of(database).read_bytes()
    for lost in (1, 100, page_size(database), page_size(database) + FRAME_HEADER + 7):
        log_of(database).write_bytes(raw[:-lost])
        check_log(database)
    # The last frame has arrived, the one before it has not.
    frame = FRAME_HEADER + page_size(database)
    log_of(database).write_bytes(raw[: -2 * frame] + bytes(frame) + raw[-frame:])
    check_log(database)
    assert numbers(database) == list(range(COMMITS - 1))


def test_frames_of_an_older_log_behind_the_end_are_no_damage(tmp_path: Path) -> None:
    path = tmp_path / "live.db"
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("CREATE TABLE t (number, filling)")
    for number in range(20):
        connection.execute("INSERT INTO t VALUES (?, ?)", (number, "x" * 9_000))
    connection.execute("PRAGMA wal_checkpoint")
    connection.execute("INSERT INTO t VALUES (20, '')")
    check_log(path)
    connection.close()
