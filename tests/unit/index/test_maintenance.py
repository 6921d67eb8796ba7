"""Background lanes: one job at a time, failures retried, nothing after it was forgotten."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from sparsegate_server.errors import StorageFull
from sparsegate_server.filters import FieldKind
from sparsegate_server.index import (
    Collection,
    Maintenance,
    Parameters,
    Tuning,
    index_files,
    recovery,
)
from sparsegate_server.index import maintenance as module
from sparsegate_server.index.files.manifest import NAME, read_manifest
from sparsegate_server.index.maintenance import Job, Lane

from .opening import assert_holds, assert_tidy, document, documents, sound
from .oracle import Model, Stored

PATIENCE = 20.0


def eventually(condition: Callable[[], bool]) -> None:
    stop = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < stop, "it never came true"
        time.sleep(0.005)


@pytest.fixture
def lane() -> Iterator[Lane]:
    with closing(Lane("test")) as lane:
        yield lane


@pytest.fixture
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_RETRY_SECONDS", 0.01)


def test_a_job_runs_until_it_has_nothing_left(lane: Lane) -> None:
    left = [3, 2, 1]
    nice: list[int] = []

    def work() -> bool:
        nice.append(os.getpriority(os.PRIO_PROCESS, threading.get_native_id()))
        return bool(left and left.pop())

    job = Job("counting", work)
    lane.wake(job)
    eventually(lambda: not lane.busy(job))
    assert (left, job.problem) == ([], "")
    assert len(nice) == 4
    assert all(each >= 10 for each in nice)


def test_jobs_take_turns(lane: Lane) -> None:
    order: list[str] = []
    go = threading.Event()

    def work(name: str, left: list[int]) -> bool:
        go.wait(PATIENCE)
        order.append(name)
        left.pop()
        return bool(left)

    jobs = [Job(name, lambda name=name, left=[0] * 3: work(name, left)) for name in "ab"]
    for job in jobs:
        lane.wake(job)
    go.set()
    eventually(lambda: not any(map(lane.busy, jobs)))
    assert order == ["a", "b"] * 3


@pytest.mark.usefixtures("soon")
def test_a_job_that_fails_says_why_once_and_is_tried_again(
    lane: Lane, caplog: pytest.LogCaptureFixture
) -> None:
    tries = 0
    release = threading.Event()

    def work() -> bool:
        nonlocal tries
        tries += 1
        if not release.is_set():
            raise StorageFull("no room left")
        return False

    job = Job("sealing films", work)
    with caplog.at_level(logging.ERROR):
        lane.wake(job)
        eventually(lambda: tries > 3)
        assert job.problem == "no room left"
        assert lane.busy(job)
        release.set()
        eventually(lambda: not lane.busy(job))
    assert job.problem == ""
    assert [record.message for record in caplog.records] == [
        "sealing films fails and is tried again"
    ]


@pytest.mark.usefixtures("soon")
def test_an_error_of_ours_stops_no_lane(lane: Lane) -> None:
    broken = Job("broken", lambda: bool(1 // 0))
    done = threading.Event()
    sound_job = Job("sound", lambda: done.set() is not None)
    lane.wake(broken)
    lane.wake(sound_job)
    assert done.wait(PATIENCE)
    assert broken.problem.startswith("ZeroDivisionError")
    lane.forget(broken)


def test_a_forgotten_job_has_ended_and_runs_no_more(lane: Lane) -> None:
    begun, go, runs = threading.Event(), threading.Event(), []

    def work() -> bool:
        begun.set()
        go.wait(PATIENCE)
        runs.append(time.monotonic())
        return True

    job = Job("endless", work)
    lane.wake(job)
    assert begun.wait(PATIENCE)
    threading.Timer(0.05, go.set).start()
    lane.forget(job)
    count = len(runs)
    assert count
    time.sleep(0.05)
    assert len(runs) == count
    assert not lane.busy(job)


def test_a_retry_waits_for_no_clock_on_the_wall(
    lane: Lane, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_RETRY_SECONDS", 0.05)
    monkeypatch.setattr(time, "time", lambda: 0.0)
    tries: list[float] = []

    def work() -> bool:
        tries.append(time.monotonic())
        if len(tries) < 3:
            raise StorageFull("full")
        return False

    job = Job("late", work)
    lane.wake(job)
    eventually(lambda: len(tries) == 3)
    assert tries[2] - tries[0] >= 0.1


# With a collection.

MODEL: Model = {key: Stored({key % 12: 1.0 + key}, None, {"n": key}) for key in range(120)}


@pytest.fixture
def maintained(tmp_path: Path) -> Iterator[Collection]:
    recovery.create(tmp_path / "c", Parameters(12, 2), {})
    with (
        closing(Maintenance()) as maintenance,
        closing(Collection(tmp_path / "c", Tuning(10), maintenance=maintenance)) as collection,
    ):
        yield collection


def test_tails_are_sealed_segments_merged_and_indexes_made_in_the_background(
    maintained: Collection,
) -> None:
    maintained.create_index("n", FieldKind.NUMBER)
    for each in documents(MODEL):
        maintained.upsert([each])
    eventually(lambda: not maintained.busy)
    size = maintained.size()
    assert size.tail < 10
    assert 0 < size.segments <= 2 * 3 * 4
    assert maintained.indexes() == {"n": (FieldKind.NUMBER, True)}
    assert maintained.problem == ""
    assert_holds(maintained, MODEL)
    assert_tidy(maintained.folder)


@pytest.mark.usefixtures("soon")
def test_a_seal_that_fails_is_tried_again_and_leaves_no_files_behind(
    maintained: Collection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One shard's segment is written, the other's is not, again and again."""
    write = index_files.write_segment
    failures = 0

    def fails(path: Path, *rest: object) -> int:
        nonlocal failures
        if len(list(path.parent.glob("*.segment"))) % 2:
            failures += 1
            raise OSError(28, "No space left on device")
        return write(path, *rest)  # type: ignore[arg-type]

    index = maintained.folder / recovery.INDEX
    with monkeypatch.context() as patch:
        patch.setattr(index_files, "write_segment", fails)
        maintained.upsert(documents(MODEL)[:20])
        eventually(lambda: failures > 3)
        assert "no room left" in maintained.problem
        assert len(list(index.glob("*.segment"))) <= 1
        maintained.upsert(documents(MODEL)[20:40])
        assert_holds(maintained, {key: MODEL[key] for key in range(40)})
    maintained.upsert(documents(MODEL)[40:])
    eventually(lambda: not maintained.busy)
    assert maintained.problem == ""
    assert_holds(maintained, MODEL)
    assert_tidy(maintained.folder)


def test_files_that_the_manifest_names_are_kept_even_if_putting_it_there_failed(
    maintained: Collection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The rename came through, the sync of the folder behind it did not."""
    write = index_files.write_manifest

    def fails_late(folder: Path, manifest: object) -> None:
        write(folder, manifest)  # type: ignore[arg-type]
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(index_files, "write_manifest", fails_late)
        maintained.upsert(documents(MODEL)[:5])
        with pytest.raises(Exception, match="Input/output error"):
            maintained.seal()
        index = maintained.folder / recovery.INDEX
        assert read_manifest(index).files <= {path.name for path in index.iterdir()}
    assert maintained.seal()
    assert sound(maintained.folder) == []


def test_a_damaged_segment_is_not_merged_away(
    maintained: Collection,
) -> None:
    """A merge would give the damage a checksum of its own."""
    for first in (0, 10):
        maintained.upsert(documents(MODEL)[first : first + 9])
        maintained.seal()
    index = maintained.folder / recovery.INDEX
    names = read_manifest(index).files
    path = index / min(names)
    raw = bytearray(path.read_bytes())
    raw[-80] ^= 1
    with path.open("r+b") as file:
        file.write(raw)
    with pytest.raises(Exception, match=r"is damaged.*index rebuild"):
        maintained.optimize()
    assert read_manifest(index).files == names
    assert {each.name for each in index.iterdir()} == names | {NAME}
    maintained.upsert([document("still", {1: 1.0})])
