"""Readers beside a writer: every read is of one instant, the one that it names."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from sparsegate_server.index import Collection, Entry, Record

from .oracle import sparse

DOCUMENTS = 60
QUERY = sparse({1: 1.0})


def state(sequence: int) -> list[Entry]:
    """All documents, each saying which write it belongs to."""
    vector = sparse({1: float(sequence), sequence % 6 + 2: 1.0})
    return [
        Entry(number, vector, Record(None, {"written": sequence})) for number in range(DOCUMENTS)
    ]


def flip_all(collection: Collection) -> None:
    for sequence in range(1, 400):
        assert collection.upsert(state(sequence)).sequence == sequence


def come_and_go(collection: Collection) -> None:
    for sequence in range(1, 400):
        written = (
            collection.upsert(state(sequence))
            if sequence % 2
            else collection.delete(list(range(DOCUMENTS)))
        )
        assert written.sequence == sequence


def check_search(collection: Collection) -> None:
    ranking = collection.search(QUERY, DOCUMENTS + 1, with_entries=True)
    scores = {match.score for match in ranking.matches}
    assert [match.id for match in ranking.matches] == list(range(len(ranking.matches)))
    assert len(ranking.matches) in (0, DOCUMENTS)
    assert scores <= {float(ranking.sequence)}
    for found in ranking.entries:
        assert found.record.payload == {"written": ranking.sequence}
    best = collection.search(QUERY, 3)
    assert [(match.id, match.score) for match in best.matches] in (
        [],
        [(number, float(best.sequence)) for number in range(3)],
    )


def check_scroll(collection: Collection) -> None:
    page = collection.scroll(None, DOCUMENTS + 1)
    assert len(page.entries) in (0, DOCUMENTS)
    assert {each.record.payload["written"] for each in page.entries} <= {page.sequence}


def check_get(collection: Collection) -> None:
    found = collection.get([3, 40, 59]).entries
    assert len({each and each.record.payload["written"] for each in found}) == 1
    assert collection.count() in (0, DOCUMENTS)


@pytest.mark.parametrize("write", [flip_all, come_and_go])
@pytest.mark.parametrize(("shards", "tail"), [(1, 16), (4, 7), (4, 1000), (8, 100)])
def test_reads_see_whole_requests_only(
    write: Callable[[Collection], None], shards: int, tail: int
) -> None:
    with ThreadPoolExecutor(2) as lanes, ThreadPoolExecutor(3) as readers:
        collection = Collection(8, shards=shards, tail_documents=tail, threads=2, pool=lanes)
        written = threading.Event()

        def read_until_written(check: Callable[[Collection], None]) -> int:
            reads = 0
            while not written.is_set() or not reads:
                check(collection)
                reads += 1
            return reads

        reading = [
            readers.submit(read_until_written, check)
            for check in (check_search, check_scroll, check_get)
        ]
        try:
            write(collection)
        finally:
            written.set()
        assert all(each.result() for each in reading)


def test_writers_take_turns() -> None:
    collection = Collection(8, shards=2, tail_documents=5)
    with ThreadPoolExecutor(4) as writers:
        written = list(writers.map(lambda _: collection.upsert(state(1)), range(80)))
    assert sorted(each.sequence for each in written) == list(range(1, 81))
    assert sum(each.affected for each in written) == 79 * DOCUMENTS
    assert collection.count() == DOCUMENTS
