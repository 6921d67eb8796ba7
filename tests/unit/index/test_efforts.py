"""Calibrations of collections: measured, kept, served, given up."""

from __future__ import annotations

import json
import shutil
import sqlite3
import threading
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from sparsegate_server.errors import CorruptStore, InvalidRequest, NotCalibrated, ShuttingDown
from sparsegate_server.index import Collection, archive, calibration
from sparsegate_server.index.measuring import Measuring
from sparsegate_server.index.store import schema
from sparsegate_server.operations import Calibration, Counts, SearchOptions, SearchResult
from sparsegate_server.types import SparseVector

from ...fixtures import make
from .opening import document, opened
from .oracle import sparse

QUERIES = [sparse({at % 12: 1.0 + at}) for at in range(20)]
COUNTS = Counts(sequence=3, documents=1000, segments=1)


def filled(collection: Collection) -> None:
    collection.upsert([document(at, {at % 12: 1.0 + at, 3: 0.5}) for at in range(60)])


class Lossy:
    """A search of a hundred documents that finds the better ones first: at effort e, the first
    `1 + 9 · e` of ten, rounded down.

    Attributes:
        asked: the effort of every search.
        sequence: of the next results.
    """

    def __init__(self) -> None:
        self.asked: list[float] = []
        self.sequence = 3

    def __call__(self, query: SparseVector, options: SearchOptions) -> SearchResult:
        self.asked.append(options.effort)
        kept = int(1 + 9 * options.effort) if len(query) else 0
        scores = [float(100 - rank) for rank in range(min(kept, options.limit))]
        ids = list(range(len(scores)))
        return SearchResult(ids, scores, self.sequence, round(1000 * options.effort), query)


def measured(search: Lossy, queries: list[SparseVector] = QUERIES) -> Calibration:
    return Measuring(search, 10, lambda: False).run(queries, COUNTS)


def test_every_effort_is_measured_with_every_query() -> None:
    search = Lossy()
    made = measured(search)
    assert (made.limit, made.queries, made.documents, made.sequence) == (10, 20, 1000, 3)
    points = {point.effort: point for point in made.points}
    assert points.keys() > {*calibration.LADDER, 1.0}
    for effort, point in points.items():
        assert point.recall == pytest.approx(int(1 + 9 * effort) / 10)
        assert point.postings_scored == round(1000 * effort)
        assert point.milliseconds > 0
        if effort < 1:
            assert search.asked.count(effort) == len(QUERIES)
            assert point.recall_bound < point.recall
    assert {0.875, 0.8875} < points.keys(), "no finer steps where the recall rises"


def test_queries_that_find_nothing_teach_nothing() -> None:
    nothing = sparse({})
    assert measured(Lossy(), [*QUERIES, nothing]).queries == len(QUERIES)
    with pytest.raises(InvalidRequest, match="only 9 of the 29") as caught:
        measured(Lossy(), [*QUERIES[:9], *[nothing] * 20])
    assert caught.value.field == "queries"


def test_a_write_between_two_searches_moves_the_bar() -> None:
    class Written(Lossy):
        """Every approximate search is of a later moment, at which all scores are lower."""

        def __call__(self, query: SparseVector, options: SearchOptions) -> SearchResult:
            self.sequence += options.effort < 1
            found = super().__call__(query, options)
            return replace(found, scores=[score - self.sequence for score in found.scores])

    points = {point.effort: point.recall for point in measured(Written()).points}
    assert points[0.9] == pytest.approx(0.9)


def test_what_nobody_waits_for_is_given_up() -> None:
    search = Lossy()
    with pytest.raises(ShuttingDown):
        Measuring(search, 10, lambda: len(search.asked) == 25).run(QUERIES, COUNTS)
    assert len(search.asked) == 25


def test_a_calibration_is_kept(tmp_path: Path) -> None:
    with opened(tmp_path / "c", shards=2) as collection:
        filled(collection)
        assert collection.calibration is None
        before = collection.counts().sequence
        made = collection.calibrate(QUERIES, 5)
        assert collection.calibration == made
        assert (made.limit, made.queries, made.documents) == (5, 20, 60)
        assert collection.counts().sequence == before
        shutil.copytree(tmp_path / "c", tmp_path / "crashed")
        again = collection.calibrate(QUERIES, 7)
        collection.snapshot(lambda: tmp_path / "a.snapshot")
    with opened(tmp_path / "crashed") as collection:
        assert collection.calibration == made
    with opened(tmp_path / "c") as collection:
        assert collection.calibration == again
    archive.restore(tmp_path / "a.snapshot", tmp_path / "restored", {}, most_bytes=2**20)
    with opened(tmp_path / "restored") as collection:
        assert collection.calibration == again


@pytest.mark.parametrize("format", sorted(make.FORMAT.parent.glob("format-*")))
def test_an_old_store_has_none(format: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(format / "collection", tmp_path / "collection")
    with closing(Collection(folder)) as collection:
        assert collection.calibration is None
        collection.calibrate([sparse({at % 10: 1.0}) for at in range(60)], 5)
    with closing(Collection(folder)) as collection:
        assert collection.calibration


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[SearchOptions]:
    """The options of every search that reaches a reader."""
    seen: list[SearchOptions] = []
    search = recording(seen)
    monkeypatch.setattr("sparsegate_server.index.reader.Reader.search", search)
    return seen


def recording(seen: list[SearchOptions]) -> Callable[..., SearchResult]:
    lossy = Lossy()

    def search(_: object, query: SparseVector, options: SearchOptions) -> SearchResult:
        seen.append(options)
        return lossy(query, options)

    return search


def test_a_target_recall_becomes_an_effort(tmp_path: Path, asked: list[SearchOptions]) -> None:
    with opened(tmp_path / "c") as collection:
        with pytest.raises(NotCalibrated, match="calibrate it first") as caught:
            collection.search(QUERIES[0], SearchOptions(10, target_recall=0.9))
        assert caught.value.field == "effort.target_recall"
        assert not asked
        made = collection.calibrate(QUERIES * 10, 10)
        for target in (0.3, 0.8, 0.97, 1.0):
            effort = calibration.effort_for(made, target)
            found = collection.search(QUERIES[0], SearchOptions(10, target_recall=target))
            assert asked[-1] == SearchOptions(10, effort=effort)
            assert found.effort == effort
        assert asked[-1].effort == 1.0
        plain = SearchOptions(10)
        assert collection.search(QUERIES[0], plain).effort == 1.0
        assert asked[-1] is plain
        assert collection.search(QUERIES[0], SearchOptions(10, effort=0.4)).effort == 0.4


@pytest.mark.parametrize("share", [0.0, -1.0, 1.5, float("nan")])
def test_shares_that_are_none_are_refused(share: float, tmp_path: Path) -> None:
    bad = {"level": SearchOptions(1, effort=share)}
    bad["target_recall"] = SearchOptions(1, target_recall=share)
    with opened(tmp_path / "c") as collection:
        for name, options in bad.items():
            with pytest.raises(InvalidRequest) as caught:
                collection.search(QUERIES[0], options)
            assert caught.value.field == f"effort.{name}"


def test_an_explanation_is_about_the_exact_search(tmp_path: Path) -> None:
    with opened(tmp_path / "c") as collection:
        filled(collection)
        exact = collection.explain(QUERIES[3], 7, SearchOptions(5))
        for options in (SearchOptions(5, effort=0.1), SearchOptions(5, target_recall=0.5)):
            standing = collection.explain(QUERIES[3], 7, options)
            assert (standing.rank, standing.bar_id) == (exact.rank, exact.bar_id)


def test_closing_gives_a_calibration_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    begun, proceed = threading.Event(), threading.Event()
    lossy = Lossy()

    def search(_: object, query: SparseVector, options: SearchOptions) -> SearchResult:
        begun.set()
        assert proceed.wait(30)
        return lossy(query, options)

    monkeypatch.setattr("sparsegate_server.index.reader.Reader.search", search)
    failed: list[Exception] = []

    def calibrate() -> None:
        try:
            collection.calibrate(QUERIES, 5)
        except ShuttingDown as error:
            failed.append(error)

    with opened(tmp_path / "c") as collection:
        measuring = threading.Thread(target=calibrate)
        measuring.start()
        assert begun.wait(30)
        collection.close()
        proceed.set()
        measuring.join(30)
    assert len(failed) == len(lossy.asked) == 1


def test_a_damaged_calibration_is_named(tmp_path: Path) -> None:
    with opened(tmp_path / "c"):
        pass
    for value in ("{", json.dumps({"points": []}), None):
        with closing(sqlite3.connect(tmp_path / "c" / schema.FILE)) as tool:
            tool.execute("INSERT OR REPLACE INTO state VALUES ('calibration', ?)", (value,))
            tool.commit()
        with pytest.raises(CorruptStore, match="its calibration is none"), opened(tmp_path / "c"):
            pass
