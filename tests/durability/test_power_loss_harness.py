"""The recorder and the disk model: right programs lose nothing, and wrong ones are caught."""

from __future__ import annotations

import sqlite3
import sys
from collections.abc import Collection, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from .disk import ALL, DURABLE, LOSSES, NAMES, Disk, Image, Loss, read_folder, scattered
from .events import Ack, Create, Event, Mkdir, Rename, SyncFile, SyncFolder, Unlink, Write
from .recorder import RecordingFailed, record, unavailable
from .replay import essential_syncs, in_folder, prefixes, survivals

WORKLOADS = Path(__file__).parent / "workloads"
EVERY_LOSS = (*LOSSES, *(scattered(seed) for seed in range(6)))

reason = unavailable()
pytestmark = pytest.mark.skipif(reason is not None, reason=str(reason))


def recorded(folder: Path, workload: str, *arguments: str) -> list[Event]:
    return record([sys.executable, str(WORKLOADS / workload), str(folder), *arguments], folder)


def run(folder: Path, code: str) -> list[Event]:
    start = f"import os, traced; os.chdir({str(folder)!r}); traced.begin()\n"
    return record([sys.executable, "-c", start + code], folder)


# The recorder.


def test_every_kind_of_call_is_recorded(tmp_path: Path) -> None:
    events = recorded(tmp_path, "many_calls.py")  # which ends by comparing them with the folder
    kinds = {type(event).__name__ for event in events}
    assert kinds >= {"Create", "Write", "Resize", "SyncFile", "Rename", "Link", "Unlink"}
    assert kinds >= {"Mkdir", "Rmdir", "Ack"}
    appended = [event.data for event in events if isinstance(event, Write) and event.path == "log"]
    assert len(appended) == 201  # of four threads and of a child
    assert events[-1] == Ack(300)


def test_offsets_follow_the_open_file(tmp_path: Path) -> None:
    events = recorded(tmp_path, "many_calls.py")
    first = [event for event in events if isinstance(event, Write) and event.path == "first"]
    assert [(event.offset, event.data) for event in first] == [
        (0, b"0123456789"),
        (4, b"four"),
        (9, b"ninethirteen"),
        (2, b"two"),
        (9000, b"farther"),
    ]


def test_nothing_is_recorded_before_the_beginning(tmp_path: Path) -> None:
    code = "import pathlib, sys, traced; traced.acknowledge(1); traced.begin(); sys.exit(0)"
    assert record([sys.executable, "-c", code], tmp_path) == []


@pytest.mark.parametrize(
    "code",
    [
        "import mmap; f = open('x', 'wb+'); f.truncate(9); mmap.mmap(f.fileno(), 9)",
        "import shutil; shutil.copy('/etc/passwd', 'x')",
        "os.open('x', os.O_CREAT | os.O_WRONLY | os.O_SYNC)",
        "os.open('.', os.O_TMPFILE | os.O_WRONLY)",
        "os.symlink('/etc', 'x')",
        "os.mkfifo('x')",
        "os.link('/proc/self/exe', 'x')",
        "os.sync()",
    ],
)
def test_what_no_event_can_tell_is_an_error(tmp_path: Path, code: str) -> None:
    with pytest.raises(RecordingFailed):
        run(tmp_path, code)


def test_a_file_from_before_the_recording_is_an_error(tmp_path: Path) -> None:
    code = f"open('{tmp_path}/x', 'w').close(); import traced; traced.begin(); "
    with pytest.raises(RecordingFailed, match="x was created before"):
        record([sys.executable, "-c", f"{code} open('{tmp_path}/x', 'a').write('x')"], tmp_path)
    with pytest.raises(RecordingFailed, match="is not empty"):
        record([sys.executable, "-c", ""], tmp_path)


def test_a_program_that_fails_is_an_error_with_its_output(tmp_path: Path) -> None:
    with pytest.raises(RecordingFailed, match=r"ended with 1(?s:.*)ZeroDivisionError"):
        record([sys.executable, "-c", "1 / 0"], tmp_path)


def test_a_program_that_hangs_is_killed(tmp_path: Path) -> None:
    with pytest.raises(RecordingFailed, match="ended with -9"):
        record([sys.executable, "-c", "import time; time.sleep(60)"], tmp_path, timeout_s=0.5)


# The disk.


def test_a_synced_file_has_no_name_until_its_folder_is_synced() -> None:
    events: list[Event] = [
        Create("a", 1),
        Write("a", 1, 0, b"x"),
        SyncFile("a", 1),
        SyncFolder("."),
    ]
    assert images(events, DURABLE) == [{}, {}, {}, {}, {"a": b"x"}]
    assert images(events, NAMES) == [{}, {"a": b""}, {"a": b""}, {"a": b"x"}, {"a": b"x"}]


def test_a_folder_has_no_name_until_its_parent_is_synced() -> None:
    events: list[Event] = [Mkdir("d"), Create("d/a", 1), SyncFolder("d"), SyncFolder(".")]
    assert images(events, DURABLE) == [{}, {}, {}, {}, {"d": None, "d/a": b""}]


def test_losses_keep_what_they_are_named_for() -> None:
    start: list[Event] = [Create("a", 1), Create("b", 2), SyncFolder(".")]
    events = [*start, Write("a", 1, 0, b"x"), Unlink("b"), Rename("a", "c")]
    last = {loss.name: images(events, loss)[-1] for loss in LOSSES}
    assert last == {
        "durable": {"a": b"", "b": b""},
        "all": {"c": b"x"},
        "names": {"c": b""},
        "renames": {"c": b"", "b": b""},
        "removals": {"a": b""},
        "data": {"a": b"x", "b": b""},
    }


def test_a_rename_between_folders_is_saved_by_either() -> None:
    start: list[Event] = [Mkdir("d"), Create("a", 1), SyncFolder("."), Rename("a", "d/a")]
    for saved in (".", "d"):
        assert images([*start, SyncFolder(saved)], DURABLE)[-1] == {"d": None, "d/a": b""}


def test_pages_arrive_one_by_one() -> None:
    start: list[Event] = [Create("a", 1), SyncFolder(".")]
    disk = disk_after([*start, Write("a", 1, 100, b"x" * 12000)])
    seen = {bytes(disk.image(scattered(seed))["a"] or b"") for seed in range(200)}
    written = {content[4096:8192] for content in seen if len(content) > 8192}
    assert written == {bytes(4096), b"x" * 4096}
    assert {content[:101] for content in seen} >= {bytes(100) + b"x", bytes(101)}


def test_a_scattered_loss_is_the_same_each_time() -> None:
    events: list[Event] = [Create(f"{number}", number) for number in range(20)]
    assert images(events, scattered(3)) == images(events, scattered(3))
    assert images(events, scattered(3)) != images(events, scattered(4))


def test_a_file_is_followed_through_names_and_after_its_last() -> None:
    start: list[Event] = [Create("a", 1), SyncFolder("."), Rename("a", "b"), Unlink("b")]
    events = [*start, Write("b", 1, 0, b"x"), SyncFile("b", 1)]
    assert images(events, DURABLE)[-1] == {"a": b"x"}
    assert images(events, ALL)[-1] == {}


def test_materialise_writes_the_image(tmp_path: Path) -> None:
    events: list[Event] = [Mkdir("d"), Create("d/a", 1), Write("d/a", 1, 3, b"x"), Mkdir("d/e")]
    disk_after(events).materialise(tmp_path / "into", ALL)
    assert read_folder(tmp_path / "into") == disk_after(events).image(ALL)


def test_equal_images_are_read_once() -> None:
    events: list[Event] = [Create("a", 1), SyncFolder("."), SyncFolder("."), Ack(1), Ack(2)]
    read: list[Image] = []
    found = list(survivals(events, LOSSES, read.append))
    assert read == [{}, {"a": b""}]
    assert [(each.behind, each.acknowledged) for each in found if each.acknowledged] == [
        (3, [1]),
        (4, [1, 2]),
    ]


def images(events: Sequence[Event], loss: Loss) -> list[Image]:
    return [disk.image(loss) for _, disk, _ in prefixes(events)]


def disk_after(events: Sequence[Event]) -> Disk:
    disk = Disk()
    for event in events:
        disk.apply(event)
    return disk


# A file that is replaced as a whole.


def lost_values(events: Sequence[Event], without: Collection[int] = ()) -> list[str]:
    """What is wrong after any loss: an older value than acknowledged, or one that never was."""
    return [
        f"behind {each.behind}, {each.loss.name}: {found[:2]!r} after {each.acknowledged}"
        for each in survivals(
            events, EVERY_LOSS, lambda image: image.get("deep/value"), without=without
        )
        if (found := each.found or b"") not in allowed_values(each.acknowledged)
    ]


def allowed_values(acknowledged: list[int]) -> list[bytes]:
    count = len(acknowledged)
    values = [b"", *(b"%d" % number * 5000 for number in range(5))]
    return values[count : count + 2]


def test_an_atomic_replacement_loses_nothing(tmp_path: Path) -> None:
    assert lost_values(recorded(tmp_path, "atomic_file.py", "nothing")) == []


@pytest.mark.parametrize("left_out", ["file", "folder"])
def test_a_replacement_without_its_syncs_is_caught(tmp_path: Path, left_out: str) -> None:
    assert lost_values(recorded(tmp_path, "atomic_file.py", left_out))


def test_each_sync_of_a_replacement_is_missed(tmp_path: Path) -> None:
    events = recorded(tmp_path, "atomic_file.py", "nothing")
    essential = essential_syncs(events)
    syncs = [at for at, event in enumerate(events) if isinstance(event, SyncFile | SyncFolder)]
    assert essential == syncs
    assert [at for at in essential if not lost_values(events, [at])] == []


# A database of SQLite.


@pytest.fixture(scope="module")
def commits(tmp_path_factory: pytest.TempPathFactory) -> list[Event]:
    return recorded_commits(tmp_path_factory.mktemp("commits"))


def recorded_commits(folder: Path) -> list[Event]:
    path = str(folder / "store.db")
    return record([sys.executable, str(WORKLOADS / "sqlite_wal.py"), path], folder)


def lost_rows(
    events: Sequence[Event], scratch: Path, without: Collection[int] = ()
) -> Iterator[str]:
    """What is wrong after each loss, as it is found."""
    read = in_folder(scratch, surviving_rows)
    for each in survivals(events, EVERY_LOSS, read, without=without):
        if (wrong := _wrong(each.found, each.acknowledged)) is not None:
            yield f"behind {each.behind}, {each.loss.name}: {wrong}"


def surviving_rows(folder: Path) -> list[tuple[int, int]] | str | None:
    """(writer, number) for each row; None without a table; what is broken as a string."""
    try:
        with closing(sqlite3.connect(folder / "store.db")) as database:
            state = database.execute("PRAGMA integrity_check").fetchall()
            if state != [("ok",)]:
                return str(state)
            if not database.execute("SELECT 1 FROM sqlite_master").fetchall():
                return None
            return database.execute("SELECT writer, number FROM rows").fetchall()
    except sqlite3.DatabaseError as error:
        return str(error)


def _wrong(found: list[tuple[int, int]] | str | None, acknowledged: list[Any]) -> str | None:
    if isinstance(found, str):
        return found
    if found is None:
        return "no table" if acknowledged else None
    rows = set(found)
    acked = {tuple(ack) for ack in acknowledged if ack != "table"}
    if len(found) != 2 * len(rows):
        return "half a transaction"
    if acked - rows:
        return f"lost {sorted(acked - rows)}"
    early = [row for row in rows - acked if (row[0], row[1] + 1) in rows]
    return f"never acknowledged: {early}" if early else None


def test_sqlite_loses_no_commit(commits: list[Event], tmp_path: Path) -> None:
    assert any(isinstance(event, Write) and event.path == "store.db" for event in commits[40:])
    assert list(lost_rows(commits, tmp_path)) == []


def test_each_sync_of_the_log_is_missed(commits: list[Event], tmp_path: Path) -> None:
    logs = [at for at in essential_syncs(commits) if commits[at] == SyncFile("store.db-wal", 3)]
    assert len(logs) > 20  # a checkpoint syncs the log too, at times just before a commit does
    for at in logs:
        assert next(lost_rows(commits, tmp_path, [at]), None), f"{at} is not missed"


def test_syncs_of_the_database_are_missed(commits: list[Event], tmp_path: Path) -> None:
    # Only where the log began anew before the next one, and threads decide where that is.
    tables = [at for at in essential_syncs(commits) if commits[at] == SyncFile("store.db", 1)]
    assert any(next(lost_rows(commits, tmp_path, [at]), None) for at in tables[1:])


def test_the_syncs_of_the_folder_are_missed(commits: list[Event], tmp_path: Path) -> None:
    # Each connection syncs it anew, so leaving out a single one does no harm.
    folders = [at for at, event in enumerate(commits) if event == SyncFolder(".")]
    assert next(lost_rows(commits, tmp_path, folders), None)
