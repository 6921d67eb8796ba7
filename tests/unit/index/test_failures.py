"""Writes that fail: nothing of them is left, and what comes later is not harmed."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from pathlib import Path

import pytest

from sparsegate_server.errors import StorageFull
from sparsegate_server.filters import FieldKind, Filter, Match
from sparsegate_server.index import Collection, index_files, upkeep
from sparsegate_server.index.store.database import Store
from sparsegate_server.index.tail import Tail
from sparsegate_server.operations import PayloadChange, PayloadMode, WriteResult

from . import oracle
from .opening import assert_holds, assert_tidy, copied, document, documents, held, opened, sound
from .oracle import Model, Stored

Submit = Callable[[Collection], "Future[WriteResult]"]

BEFORE: Model = {key: Stored({1: float(key + 1)}, f"text {key}", {"n": key}) for key in range(6)}
LATER: Model = {key: Stored({2: 9.0}, None, {"late": True}) for key in range(20)}
FOURTH = Filter(must=(Match("n", (4,)),))
MARK = PayloadChange(PayloadMode.MERGE, {"marked": True})

WRITES: dict[str, tuple[Submit, Callable[[Model], Model]]] = {
    "upsert": (
        lambda collection: collection.submit_upsert(documents(LATER)),
        lambda model: model | LATER,
    ),
    "replace": (
        lambda collection: collection.submit_upsert(
            [document(3, {4: 1.0}), document("new", {5: 1.0})]
        ),
        lambda model: model | {3: Stored({4: 1.0}), "new": Stored({5: 1.0})},
    ),
    "delete": (
        lambda collection: collection.submit_delete([1, 5, 77]),
        lambda model: oracle.deleted(model, [1, 5]),
    ),
    "delete by filter": (
        lambda collection: collection.submit_delete(FOURTH),
        lambda model: oracle.deleted(model, FOURTH),
    ),
    "set payload": (
        lambda collection: collection.submit_set_payload(Filter(), MARK),
        lambda model: oracle.changed(model, Filter(), MARK),
    ),
}


@pytest.fixture(params=[1, 4])
def filled(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Collection]:
    """Half of the documents sealed, half not."""
    with opened(tmp_path / "c", shards=request.param, tail_documents=4) as collection:
        for key, each in BEFORE.items():
            collection.upsert([document(key, *each)])
            if key == 2:
                collection.seal()
        yield collection


def full(*_: object, **__: object) -> None:
    raise StorageFull("no room left: nothing was written")


@contextmanager
def paused(collection: Collection) -> Iterator[None]:
    """What is submitted meanwhile makes one group, with one commit."""
    begun, go = threading.Event(), threading.Event()

    def step(_: object) -> None:
        begun.set()
        go.wait()

    first = collection._writer.submit(step)
    begun.wait()
    try:
        yield
    finally:
        go.set()
        first.exception()  # its own commit may fail with the others


def assert_is(collection: Collection, model: Model, tmp_path: Path) -> None:
    """The model is in memory, and on disk for whoever opens the collection after a crash."""
    assert_holds(collection, model)
    crashed = copied(collection, tmp_path / f"crashed{len(list(tmp_path.iterdir()))}")
    with opened(crashed) as reopened:
        assert_holds(reopened, model)
        assert reopened.size().sequence == collection.size().sequence


@pytest.mark.parametrize(
    ("name", "place"),
    [
        (name, place)
        for name in WRITES
        for place in ("insert", "bury", "set_facts", "commit")
        if place != "insert" or not name.startswith("delete")  # a delete inserts nothing
    ],
)
def test_a_write_that_fails_half_way_changes_nothing(
    filled: Collection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, place: str
) -> None:
    submit, change = WRITES[name]
    for _ in range(2):
        with monkeypatch.context() as patch:
            patch.setattr(Store, place, full)
            with pytest.raises(StorageFull):
                submit(filled).result()
        assert filled.size().sequence == len(BEFORE)
        assert_is(filled, BEFORE, tmp_path)
    assert submit(filled).result().sequence == len(BEFORE) + 1
    assert_is(filled, change(BEFORE), tmp_path)
    filled.optimize()
    assert_is(filled, change(BEFORE), tmp_path)


def test_indexes_whose_declaration_fails_are_not_there(
    filled: Collection, monkeypatch: pytest.MonkeyPatch
) -> None:
    filled.create_index("old", FieldKind.KEYWORD)
    filled.build_indexes()
    with monkeypatch.context() as patch:
        patch.setattr(Store, "commit", full)
        with pytest.raises(StorageFull):
            filled.create_index("n", FieldKind.NUMBER)
        with pytest.raises(StorageFull):
            filled.delete_index("old")
    assert filled.indexes() == {"old": (FieldKind.KEYWORD, True)}
    assert filled.size().sequence == len(BEFORE) + 1


@pytest.mark.parametrize("times", [1, 2])
def test_requests_whose_common_commit_fails_all_fail(
    filled: Collection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, times: int
) -> None:
    with monkeypatch.context() as patch:
        with paused(filled):
            patch.setattr(Store, "commit", full)
            futures = [submit(filled) for submit, _ in list(WRITES.values()) * times]
        assert all(isinstance(each.exception(), StorageFull) for each in futures)
    assert filled.size().sequence == len(BEFORE)
    assert_is(filled, BEFORE, tmp_path)
    model = BEFORE
    for submit, change in WRITES.values():
        submit(filled).result()
        model = change(model)
        assert_is(filled, model, tmp_path)


def test_requests_with_nothing_in_common_are_taken_back_one_by_one(
    filled: Collection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        with paused(filled):
            patch.setattr(Store, "commit", full)
            futures = [filled.submit_upsert([document(key, {1: 1.0})]) for key in "abcdef"]
        assert all(isinstance(each.exception(), StorageFull) for each in futures)
    assert_is(filled, BEFORE, tmp_path)


def test_a_request_that_fails_alone_leaves_its_group_alone(
    filled: Collection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    insert = Store.insert

    def unlucky(self: Store, documents: list[object], *rest: object) -> None:
        if len(documents) == len(LATER):
            full()
        insert(self, documents, *rest)  # type: ignore[arg-type]

    with paused(filled):
        monkeypatch.setattr(Store, "insert", unlucky)
        futures = {name: submit(filled) for name, (submit, _) in WRITES.items()}
    assert isinstance(futures["upsert"].exception(), StorageFull)
    model = BEFORE
    for sequence, name in enumerate(list(WRITES)[1:], len(BEFORE) + 1):
        assert futures[name].result().sequence == sequence
        model = WRITES[name][1](model)
    assert_is(filled, model, tmp_path)


def test_a_group_that_fails_after_one_of_it_has_failed(
    filled: Collection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        with paused(filled):
            patch.setattr(Store, "commit", full)
            patch.setattr(
                Store, "bury", lambda _, numbers, __: full() if len(numbers) > 4 else None
            )
            futures = [submit(filled) for submit, _ in list(WRITES.values()) * 3]
        assert all(isinstance(each.exception(), StorageFull) for each in futures)
    assert_is(filled, BEFORE, tmp_path)
    filled.upsert(documents(LATER))
    assert_is(filled, BEFORE | LATER, tmp_path)


def test_an_error_of_our_own_fails_the_group_and_not_the_writer(
    filled: Collection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def exhausted(*_: object) -> None:
        raise MemoryError

    with monkeypatch.context() as patch:
        patch.setattr(Store, "insert", exhausted)
        with pytest.raises(MemoryError):
            filled.upsert(documents(LATER))
    assert_is(filled, BEFORE, tmp_path)
    filled.upsert(documents(LATER))
    assert_is(filled, BEFORE | LATER, tmp_path)


def test_numbers_of_a_failed_write_are_not_given_to_documents_that_a_crash_would_lose(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A seal counts the numbers of failed writes as sealed; a later start must not reuse them."""
    with opened(tmp_path / "c") as collection:
        collection.upsert([document(1, {1: 1.0})])
        with monkeypatch.context() as patch:
            patch.setattr(Store, "commit", full)
            with pytest.raises(StorageFull):
                collection.upsert(documents(LATER))
        collection.seal()
    with opened(tmp_path / "c") as collection:
        collection.upsert([document("kept", {1: 1.0})])
        expected = {1: Stored({1: 1.0}), "kept": Stored({1: 1.0})}
        assert_is(collection, expected, tmp_path)


@pytest.mark.parametrize("work", ["merge", "seal"])
@pytest.mark.parametrize("name", ["delete", "replace", "set payload"])
@pytest.mark.parametrize("commits", [True, False])
def test_background_work_beside_a_write_that_is_not_committed_yet(
    filled: Collection,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    work: str,
    name: str,
    commits: bool,
) -> None:
    """What a write has buried in memory is alive for as long as its commit may fail."""
    filled.upsert([document("more", {1: 1.0})])
    if work == "merge":
        filled.seal()
    before = {**BEFORE, "more": Stored({1: 1.0})}
    submit, change = WRITES[name]
    after = change(before) if commits else before
    reached, go = threading.Event(), threading.Event()
    commit, folder = Store.commit, tmp_path / "between"
    futures: list[Future[WriteResult]] = []

    def late(self: Store) -> None:
        reached.set()
        go.wait()
        commit(self) if commits else full()

    def beside_a_write(build: Callable[..., object]) -> Callable[..., object]:
        def built(*arguments: object) -> object:
            if not futures:
                futures.append(submit(filled))
                reached.wait(1.0)
            return build(*arguments)

        return built

    def and_then_a_crash(manifest: Callable[..., object]) -> Callable[..., object]:
        def written(*arguments: object) -> None:
            manifest(*arguments)
            if not folder.exists():
                shutil.copytree(filled.folder, folder)
                go.set()

        return written

    with monkeypatch.context() as patch:
        patch.setattr(Store, "commit", late)
        patch.setattr(upkeep, "merged", beside_a_write(upkeep.merged))
        patch.setattr(Tail, "sealed", beside_a_write(Tail.sealed))
        patch.setattr(index_files, "write_manifest", and_then_a_crash(index_files.write_manifest))
        assert filled._upkeep.merge(whole=True) if work == "merge" else filled.seal()
        (future,) = futures
        assert (future.exception() is None) is commits
    with opened(folder) as crashed:
        assert_holds(crashed, before)
    assert_is(filled, after, tmp_path)


def test_a_purge_that_fails_is_tried_again(
    filled: Collection, monkeypatch: pytest.MonkeyPatch
) -> None:
    filled.seal()
    filled.delete([0, 1, 2])
    with monkeypatch.context() as patch:
        patch.setattr(Store, "purge", full)
        filled.optimize()
        filled.upsert([])
        assert len(filled._store.tombstones()) == 3
    filled.upsert([document("new", {1: 1.0})])
    filled.upsert([])
    assert filled._store.tombstones() == []


@pytest.mark.parametrize("place", ["write_segment", "sync_folder", "write_manifest"])
def test_background_work_that_fails_is_done_later(
    filled: Collection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    def no_room(*_: object) -> None:
        raise OSError(28, "No space left on device")

    for work in (filled.seal, filled.optimize):
        with monkeypatch.context() as patch:
            patch.setattr(index_files, place, no_room)
            with pytest.raises(StorageFull):
                work()
        assert_is(filled, BEFORE, tmp_path)
        filled.upsert([document(0, *BEFORE[0])])
        work()
        assert_is(filled, BEFORE, tmp_path)
    filled.close()
    with opened(filled.folder) as reopened:
        assert held(reopened) == BEFORE
        assert_tidy(filled.folder)
        assert sound(filled.folder) == []
