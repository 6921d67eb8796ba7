"""Our engine as a worker; see `bench.pipe` for how it is spoken to. Started by the benchmark:

    python -m bench.search.worker

Timed is one call of `Collection.search`: an encoded vector in, ids and scores out.
"""

from __future__ import annotations

import gc
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from bench.pipe import answer_calls
from bench.search import inputs, payloads, replicas, shapes

from sparsegate_server import app, index
from sparsegate_server.filters import Filter
from sparsegate_server.index.segment import Segment
from sparsegate_server.operations import SearchOptions, SearchResult

Point = Mapping[str, Any]
"""Settings of a search: `collection`, `filter` (their names) and `effort`, each optional."""


class Engine:
    """Args:
    work: folder for collections.
    """

    def __init__(self, work: Path) -> None:
        self._work = work
        self._collections: dict[str, index.Collection] = {}
        self._filters: dict[str, Filter | None] = {"": None}
        index.warm_up()

    def build(
        self, file: str, documents: int | None = None, questions: int | None = None
    ) -> dict[str, Any]:
        """Reads a file and makes the merged collection of it."""
        self._documents = inputs.load(Path(file), documents)
        self._questions = inputs.load_questions(Path(file), questions)
        self._vocabulary = inputs.vocabulary_of(self._documents, self._questions)
        begin = time.perf_counter()
        self.shape("merged")
        seconds = time.perf_counter() - begin
        return {"build": seconds, "points": {"": {}}, "postings": len(self._documents.terms)}

    def shape(self, name: str) -> dict[str, Any]:
        """Makes a collection of the documents, unless there is one; what it is like."""
        if name not in self._collections:
            make = {
                "merged": shapes.merged,
                "layered": shapes.layered,
                "filtered": shapes.with_payload,
            }[name]
            folder = self._work / name
            self._collections[name] = make(folder, self._documents, self._vocabulary)
            if name == "filtered":
                self._filters |= payloads.filters(len(self._documents))
            gc.collect()
        return self._described(name)

    def grow(self, data: str, documents: int | None, factor: int, questions: str) -> dict[str, Any]:
        """Makes the collection `grown` of replicated documents; see `replicas`."""
        self._questions = inputs.load_questions(Path(questions))
        grown = replicas.grow(self._work / "grown", Path(data), documents, factor)
        self._collections["grown"] = index.Collection(grown.folder)
        touched = [int(grown.frequencies[each.indices].sum()) for each in self._questions]
        facts = {"pieces": grown.pieces_seconds, "merge": grown.merge_seconds, "touched": touched}
        return facts | {"points": {"": {}}} | self._described("grown")

    def passing(self) -> dict[str, int]:
        """How many documents pass each filter."""
        collection = self._collections["filtered"]
        return {name: collection.count(each).count for name, each in self._filters.items()}

    def invert(self, rounds: int) -> float:
        """Seconds that a segment takes to make from encoded arrays, at best."""
        documents = self._documents.stored(self._vocabulary)
        rows = len(documents)
        keys, details = replicas.keys_of(0, rows), replicas.details_of(0, rows)
        best = float("inf")
        for _ in range(rounds):
            begin = time.perf_counter()
            Segment.build(keys, details, documents, self._vocabulary)
            best = min(best, time.perf_counter() - begin)
        return best

    def run(self, k: int, point: Point, rows: Sequence[int], keep: bool) -> tuple[Any, Any]:
        """Seconds of each search, and what it found if that is to be kept."""
        search = self._searching(k, point)
        seconds, answers = [], []
        for row in rows:
            begin = time.perf_counter()
            result = search(row)
            ids, scores = result.ids, result.scores
            seconds.append(time.perf_counter() - begin)
            if keep:
                answers.append((np.array(ids, np.int64), np.array(scores, np.float64)))
        return seconds, answers

    def facts_of(self, k: int, point: Point, rows: Sequence[int]) -> dict[str, float]:
        """What the results say of themselves, in the mean."""
        search = self._searching(k, point)
        results = [search(row) for row in rows]
        return {
            "postings": float(np.mean([each.postings_scored for each in results])),
            "skipped": float(np.mean([each.blocks_skipped for each in results])),
            "approximate": float(np.mean([each.approximate for each in results])),
        }

    def threads(self, k: int, point: Point, rows: Sequence[int], n: int) -> dict[str, float]:
        """Questions a second with one and with `n` Python threads: `py…` as the peers' harness
        hands them out, one by one, and `loop…` where each thread asks its share by itself."""
        search = self._searching(k, point)
        rates = {}
        for threads in (1, n):
            shares = [rows[number::threads] for number in range(threads)]
            with ThreadPoolExecutor(threads) as pool:
                begin = time.perf_counter()
                list(pool.map(search, rows))
                between = time.perf_counter()
                list(pool.map(lambda share: [search(row) for row in share], shares))
                end = time.perf_counter()
            rates[f"py{threads}"] = len(rows) / (between - begin)
            rates[f"loop{threads}"] = len(rows) / (end - between)
        return rates

    def close(self) -> None:
        for each in self._collections.values():
            each.close()
        self._collections.clear()

    def _searching(self, k: int, point: Point) -> Callable[[int], SearchResult]:
        collection = self._collections[point.get("collection", "merged")]
        wanted = self._filters[point.get("filter", "")]
        effort = point.get("effort", 1.0)
        questions = self._questions

        def search(row: int) -> SearchResult:
            options = SearchOptions(k, filter=wanted, effort=effort)
            return collection.search(questions[row], options)

        return search

    def _described(self, name: str) -> dict[str, Any]:
        size = self._collections[name].size()
        return {
            "folder": str(self._work / name),
            "documents": size.documents,
            "segments": size.segments,
            "tail": size.tail,
            "dead": size.tombstones,
            "stored": size.postings,
            "index_bytes": size.index_bytes,
        }


def main() -> None:
    sys.setswitchinterval(app.SWITCH_SECONDS)  # as the gateway does
    work = Path(tempfile.mkdtemp(prefix="sparsegate-bench-"))
    engine = Engine(work)
    try:
        answer_calls(engine)
    finally:
        engine.close()
        shutil.rmtree(work, ignore_errors=True)


if __name__ == "__main__":
    main()
