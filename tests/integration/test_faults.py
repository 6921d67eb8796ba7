"""A disk that fills up, a folder that cannot be written, a clock that runs backwards.

The disk is a real one: a small tmpfs, mounted by the test, which needs root.
"""

from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import numpy as np
import pytest

from sparsegate_server.backends import snapshots
from sparsegate_server.errors import DataFolderUnusable, SparsegateError, StorageFull
from sparsegate_server.index import (
    Collection,
    Maintenance,
    Parameters,
    Tuning,
    recovery,
    verification,
)
from sparsegate_server.index import maintenance as module
from sparsegate_server.index.data_folder import DataFolder
from sparsegate_server.index.files.manifest import NAME, read_manifest
from sparsegate_server.operations import Document, SearchOptions
from sparsegate_server.types import SparseVector

KIB = 1024
TEXT = "x" * 2000
PATIENCE = 30.0


def mounted(folder: Path, options: str) -> None:
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", options, "sparsegate-test", str(folder)],  # noqa: S607
        check=False,
        capture_output=True,
        text=True,
    )
    if done.returncode:
        pytest.skip(f"cannot mount a small disk: {done.stderr.strip() or 'mount failed'}")


def remounted(folder: Path, options: str) -> None:
    subprocess.run(["mount", "-o", f"remount,{options}", str(folder)], check=True)  # noqa: S607


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """An empty disk of two megabytes."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted(folder, "size=2m")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)  # noqa: S607


@contextmanager
def maintained(folder: Path, **tuning: int) -> Iterator[Collection]:
    with (
        closing(Maintenance()) as maintenance,
        closing(Collection(folder, Tuning(**tuning), maintenance=maintenance)) as collection,
    ):
        yield collection


def document(number: int) -> Document:
    vector = SparseVector(
        np.array([number % 7, 10], np.uint32), np.array([1 + number, 0.5], np.float32)
    )
    return Document(number, vector, f"{number} {TEXT}", {"n": number})


def pair(number: int) -> list[Document]:
    return [document(number), document(100_000 + number)]


def written_until_full(collection: Collection, first: int = 0) -> int:
    """Writes pairs of documents until the disk is full; the first one that was not written."""
    for number in range(first, first + 5000):
        try:
            collection.upsert(pair(number), request_id=f"r{number}")
        except StorageFull:
            return number
    raise AssertionError("the disk never filled up")


def holds(collection: Collection, count: int) -> None:
    """Just the pairs below `count`, and all ways to read them work."""
    page = collection.scroll(None, 1_000_000)
    assert [each.id for each in page.documents] == [
        *range(count),
        *range(100_000, 100_000 + count),
    ]
    assert all(each.text == f"{each.id} {TEXT}" for each in page.documents)
    query = SparseVector(np.array([10], np.uint32), np.array([1.0], np.float32))
    result = collection.search(query, SearchOptions(2 * count + 1))
    assert [hit.id for hit in result.hits] == [each.id for each in page.documents]


def eventually(condition: Callable[[], bool]) -> None:
    stop = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < stop, "it never came true"
        time.sleep(0.01)


def test_a_full_disk_refuses_writes_and_nothing_else(
    disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_RETRY_SECONDS", 0.05)
    ballast = disk / "ballast"
    ballast.write_bytes(bytes(700 * KIB))
    recovery.create(disk / "c", Parameters(12, 2), {})
    with maintained(disk / "c", tail_documents=100) as collection:
        count = written_until_full(collection)
        assert count > 20
        holds(collection, count)
        # Again and again: refused by name, as a whole, with nothing half applied.
        sequence = collection.size().sequence
        for _ in range(3):
            with pytest.raises(StorageFull, match="no room left on the disk"):
                collection.upsert([document(each) for each in range(5000, 5300)])
        assert collection.size().sequence == sequence
        holds(collection, count)
        # Room again: writes work without a restart, what failed is retried, seals catch up.
        ballast.unlink()
        written = collection.upsert(pair(count), request_id=f"r{count}")
        assert (written.sequence, written.repeated) == (sequence + 1, False)
        assert collection.upsert(pair(0), request_id="r0").repeated
        eventually(lambda: not collection.busy)
        assert collection.problem == ""
        holds(collection, count + 1)
        count = written_until_full(collection, count + 1)
        holds(collection, count)
    remounted(disk, "size=8m")
    with maintained(disk / "c") as collection:
        holds(collection, count)
        collection.optimize()
    assert verification.verify(disk / "c", lambda *_: None)


def test_writes_that_failed_do_not_keep_later_ones_out(disk: Path) -> None:
    """What they have left in the tails is cleared away, though no write succeeds that asks for
    it."""
    recovery.create(disk / "c", Parameters(12, 2), {})
    with maintained(disk / "c", tail_documents=40) as collection:
        _fill(disk / "ballast", leaving=0)
        for _ in range(5):
            with pytest.raises(StorageFull):
                collection.upsert([document(each) for each in range(200)])
        (disk / "ballast").unlink()
        collection.upsert(pair(0))
        holds(collection, 1)


def test_a_seal_that_finds_no_room_is_made_up_for(
    disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The tails are full when the disk is, and wait for as long as that lasts."""
    remounted(disk, "size=16m")
    recovery.create(disk / "c", Parameters(12, 2), {})
    index = disk / "c" / recovery.INDEX
    with maintained(disk / "c", tail_documents=1000) as collection:
        for number in range(100):
            collection.upsert(pair(number))
        _fill(disk / "ballast", leaving=0)
        with pytest.raises(StorageFull):
            collection.seal()
        background = collection._background
        assert background._maintenance
        background._maintenance.sealing.wake(background.seal_job)
        eventually(lambda: "no room left" in collection.problem)
        holds(collection, 100)
        free = _free(disk)
        time.sleep(0.5)  # several retries
        assert _free(disk) == free  # what they write, they delete
        (disk / "ballast").unlink()
        eventually(lambda: not collection.busy)
        assert collection.problem == ""
        assert collection.size().tail == 0
        holds(collection, 100)
        eventually(
            lambda: {each.name for each in index.iterdir()} == read_manifest(index).files | {NAME}
        )


def _make(path: Path) -> None:
    recovery.create(path, Parameters(12), {})


def _free(disk: Path) -> int:
    return shutil.disk_usage(disk).free


def _fill(ballast: Path, *, leaving: int) -> None:
    ballast.unlink(missing_ok=True)
    ballast.write_bytes(bytes(max(0, _free(ballast.parent) - leaving)))


def test_snapshots_and_new_collections_on_a_full_disk_leave_nothing(disk: Path) -> None:
    remounted(disk, "size=16m")
    recovery.create(disk / "c", Parameters(12), {})
    with closing(Collection(disk / "c")) as collection:
        for number in range(100):
            collection.upsert(pair(number))
        for leaving in (0, 8 * KIB, 100 * KIB, 300 * KIB):
            _fill(disk / "ballast", leaving=leaving)
            with pytest.raises(StorageFull):
                collection.snapshot(lambda: disk / "archive")
            if leaving < 50 * KIB:
                with pytest.raises(SparsegateError), closing(DataFolder(disk / "data")) as folder:
                    folder.prepare(_make)
                with pytest.raises(StorageFull):
                    recovery.rebuild(disk / "c")
            assert not (disk / "archive").exists()
            assert [each.name for each in disk.glob("archive*")] == []
            holds(collection, 100)
        (disk / "ballast").unlink()
        assert collection.snapshot(lambda: disk / "archive").documents == 200


def test_a_folder_that_cannot_be_written_is_named(disk: Path) -> None:
    data = disk / "data"
    with closing(DataFolder(data)) as folder:
        path = folder.install(folder.prepare(_make), "films")
        with closing(Collection(path)) as collection:
            collection.upsert(pair(0))
    remounted(disk, "ro")
    try:
        with pytest.raises(DataFolderUnusable, match=str(data)) as caught:
            DataFolder(data)
        assert "Read-only" in caught.value.message
        with pytest.raises(DataFolderUnusable, match="films"), closing(Collection(path)):
            pass
    finally:
        remounted(disk, "rw")
    with closing(DataFolder(data)), closing(Collection(path)) as collection:
        holds(collection, 1)


def test_a_disk_that_becomes_read_only_refuses_writes_and_serves_reads(disk: Path) -> None:
    recovery.create(disk / "c", Parameters(12), {})
    with closing(Collection(disk / "c")) as collection:
        collection.upsert(pair(0))
        collection.seal()
        done = subprocess.run(
            ["mount", "-o", "remount,ro", str(disk)],  # noqa: S607
            check=False,
            capture_output=True,
        )
        if done.returncode == 0:
            with pytest.raises(SparsegateError):
                collection.upsert(pair(1))
            remounted(disk, "rw")
        holds(collection, 1)
        collection.upsert(pair(1))
        holds(collection, 2)


def test_a_clock_that_runs_backwards_harms_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Sequence numbers and retries count on no clock on the wall; names of snapshots use it."""
    now = 2_000_000_000.0

    def backwards() -> float:
        nonlocal now
        now -= 3600.0
        return now

    gmtime = time.gmtime
    monkeypatch.setattr(time, "time", backwards)
    monkeypatch.setattr(time, "gmtime", lambda *_: gmtime(backwards()))
    recovery.create(tmp_path / "c", Parameters(12, 2), {})
    archives = tmp_path / "archives"
    archives.mkdir()
    with maintained(tmp_path / "c", tail_documents=10) as collection:
        made = []
        for number in range(30):
            assert collection.upsert(pair(number)).sequence == number + 1
            if number % 10 == 0:
                made.append(snapshots.create(collection, archives, "c"))
        eventually(lambda: not collection.busy)
        assert collection.size().tail < 10
        holds(collection, 30)
    assert len({each.name for each in made}) == 3
    # The newest first: by what it holds, whatever the clock said.
    assert [each.sequence for each in snapshots.listed(archives, "c")] == [21, 11, 1]
    with maintained(tmp_path / "c") as collection:
        holds(collection, 30)
        assert collection.upsert(pair(30)).sequence == 31
