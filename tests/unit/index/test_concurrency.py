"""Readers beside writers, seals, merges and index builds: every read is of the one instant that it
names."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from sparsegate_server.errors import DocumentNotFound
from sparsegate_server.filters import FieldKind, Filter, Match
from sparsegate_server.index import Collection, Maintenance, Parameters, Tuning, recovery
from sparsegate_server.operations import (
    WHOLE,
    Document,
    PayloadChange,
    PayloadMode,
    SearchOptions,
)

from .opening import assert_tidy, sound
from .oracle import sparse

DOCUMENTS = 60
WRITES = 80
QUERY = sparse({1: 1.0})
EVEN = Filter(must=(Match("even", (True,)),))


@pytest.fixture
def maintenance() -> Iterator[Maintenance]:
    maintenance = Maintenance()
    yield maintenance
    maintenance.close()


def state(sequence: int) -> list[Document]:
    """All documents, each saying which write it belongs to."""
    vector = sparse({1: float(sequence), sequence % 6 + 2: 1.0})
    return [
        Document(number, vector, f"{sequence}", {"written": sequence, "even": number % 2 == 0})
        for number in range(DOCUMENTS)
    ]


def flip_all(collection: Collection, sequence: int) -> int:
    return collection.upsert(state(sequence)).sequence


def come_and_go(collection: Collection, sequence: int) -> int:
    if sequence % 2:
        return collection.upsert(state(sequence)).sequence
    return collection.delete(Filter(must=(Match("written", (sequence - 1,)),))).sequence


def set_payloads(collection: Collection, sequence: int) -> int:
    if sequence % 3 == 1:
        return collection.upsert(state(sequence)).sequence
    change = PayloadChange(PayloadMode.MERGE, {"written": sequence})
    return collection.set_payload(list(range(DOCUMENTS)), change).sequence


def check_search(collection: Collection) -> None:
    found = collection.search(QUERY, SearchOptions(DOCUMENTS + 1, select=WHOLE))
    assert [hit.id for hit in found.hits] == list(range(len(found.hits)))
    assert len(found.hits) in (0, DOCUMENTS)
    assert {each.payload["written"] for each in found.documents} <= {found.sequence}
    # The text and the weight stay when a payload changes.
    assert {float(each.text or 0) for each in found.documents} == {hit.score for hit in found.hits}
    best = collection.search(QUERY, SearchOptions(3, offset=1))
    assert [hit.id for hit in best.hits] in ([], [1, 2, 3])
    assert len({hit.score for hit in best.hits}) <= 1


def check_filtered_search(collection: Collection) -> None:
    options = SearchOptions(DOCUMENTS, filter=EVEN, idf=True, select=WHOLE)
    found = collection.search(QUERY, options)
    assert [hit.id for hit in found.hits] in ([], list(range(0, DOCUMENTS, 2)))
    assert {each.payload["written"] for each in found.documents} <= {found.sequence}
    missed = Filter(must_not=(Match("written", (found.sequence,)),))
    later = collection.count(missed)
    assert later.count == 0 if later.sequence == found.sequence else later.count in (0, DOCUMENTS)


def check_scroll(collection: Collection) -> None:
    for filter, total in ((None, DOCUMENTS), (EVEN, DOCUMENTS // 2)):
        page = collection.scroll(None, DOCUMENTS + 1, filter)
        assert len(page.documents) in (0, total)
        assert {each.payload["written"] for each in page.documents} <= {page.sequence}
        assert collection.count(filter).count in (0, total)


def check_get(collection: Collection) -> None:
    found = collection.get([3, 40, 59])
    written = {each and each.payload["written"] for each in found.documents}
    assert written in ({None}, {found.sequence})
    size = collection.size()
    assert size.documents in (0, DOCUMENTS)
    assert size.index_bytes > 0
    try:
        standing = collection.explain(QUERY, 40, SearchOptions(5))
    except DocumentNotFound:
        return
    assert (standing.rank, standing.bar_id, standing.returned) == (41, 4, False)
    assert standing.score == standing.bar_score


def work_by_hand(collection: Collection) -> None:
    """Beside the work in the background."""
    collection.optimize()
    collection.snapshot(lambda: collection.folder.with_name("snapshot"))


@pytest.mark.parametrize("write", [flip_all, come_and_go, set_payloads])
@pytest.mark.parametrize(("shards", "tail"), [(1, 16), (4, 70), (8, 1000)])
def test_reads_see_whole_requests_only(
    tmp_path: Path,
    maintenance: Maintenance,
    write: Callable[[Collection, int], int],
    shards: int,
    tail: int,
) -> None:
    recovery.create(tmp_path / "c", Parameters(8, shards), {})
    checks = (check_search, check_filtered_search, check_scroll, check_get, work_by_hand)
    with ThreadPoolExecutor(2) as lanes, ThreadPoolExecutor(len(checks)) as readers:
        tuning = Tuning(tail_documents=tail, threads=2)
        collection = Collection(tmp_path / "c", tuning, pool=lanes, maintenance=maintenance)
        written = threading.Event()

        def until_written(check: Callable[[Collection], None]) -> int:
            times = 0
            while not written.is_set() or not times:
                check(collection)
                times += 1
            return times

        reading = [readers.submit(until_written, check) for check in checks]
        try:
            for sequence in range(1, WRITES + 1):
                assert write(collection, sequence) == sequence
        finally:
            written.set()
        assert all(each.result() for each in reading)
        assert collection.problem == ""
        collection.close()
    assert_tidy(tmp_path / "c")
    assert sound(tmp_path / "c") == []


def test_indexes_come_and_go_beside_filters(tmp_path: Path, maintenance: Maintenance) -> None:
    """A filter finds the same documents whether its field has columns, in some segments or all."""
    recovery.create(tmp_path / "c", Parameters(8, 2), {})
    collection = Collection(tmp_path / "c", Tuning(tail_documents=32), maintenance=maintenance)
    collection.upsert(state(1))
    done = threading.Event()
    seen = set()

    def read() -> None:
        while not done.is_set():
            counted = collection.count(EVEN)
            assert counted.count == DOCUMENTS // 2
            seen.add(counted.unindexed)

    with ThreadPoolExecutor(2) as readers:
        reading = [readers.submit(read) for _ in range(2)]
        try:
            for round_ in range(20):
                kind = FieldKind.BOOL if round_ % 2 else FieldKind.KEYWORD
                collection.create_index("even", kind)
                collection.upsert(state(round_ + 1))
                while not collection.indexes()["even"][1]:
                    collection.upsert(state(round_ + 1)[:3])
                collection.delete_index("even")
        finally:
            done.set()
        for each in reading:
            each.result()
    assert seen == {(), ("even",)}
    assert collection.problem == ""
    collection.close()
    assert_tidy(tmp_path / "c")


def test_writers_take_turns(tmp_path: Path, maintenance: Maintenance) -> None:
    recovery.create(tmp_path / "c", Parameters(8, 2), {})
    collection = Collection(tmp_path / "c", Tuning(tail_documents=50), maintenance=maintenance)
    with ThreadPoolExecutor(4) as writers:
        written = list(writers.map(lambda _: collection.upsert(state(1)), range(80)))
    assert sorted(each.sequence for each in written) == list(range(1, 81))
    assert sum(each.affected for each in written) == 79 * DOCUMENTS
    assert collection.count().count == DOCUMENTS
    collection.close()
    with_less_to_do = Collection(tmp_path / "c")
    assert with_less_to_do.count().count == DOCUMENTS
    assert with_less_to_do.size().sequence == 80
    with_less_to_do.close()
