"""bm25s as a worker; see `bench.pipe` for how it is spoken to. Needs `numpy`, `bm25s[core]` alone:

    python -m bench.search.peer_bm25s    # started by the benchmark

The impacts are set directly, so that it scores by the same numbers as everyone. Timed is the call
that its `retrieve` makes for a question, without the checks around it.
"""

from __future__ import annotations

import time
from typing import Any

import bm25s  # type: ignore[import-not-found]
import numpy as np
from bench.pipe import answer_calls
from bm25s.numba.retrieve_utils import (  # type: ignore[import-not-found]
    _retrieve_numba_functional,
)

_POINTS = {"numba": {"backend": "numba"}, "default": {"backend": "numpy"}}


class Peer:
    def build(self, file: str, documents: int | None, questions: int | None) -> dict[str, Any]:
        arrays = np.load(file)
        indptr = arrays["query_indptr"][: None if questions is None else questions + 1]
        terms = arrays["query_indices"]
        spans = zip(indptr[:-1].tolist(), indptr[1:].tolist(), strict=True)
        self._questions = [terms[start:stop].tolist() for start, stop in spans]
        begin = time.perf_counter()
        self._retriever = bm25s.BM25()
        self._retriever.scores = _by_term(arrays, documents)
        self._retriever.nonoccurrence_array = None  # as after `index`, by its default method
        for point in _POINTS.values():
            self.run(10, point, [0], False)  # compiles
        return {"build": time.perf_counter() - begin, "points": _POINTS, "exact": True}

    def run(self, k: int, point: dict[str, str], rows: list[int], keep: bool) -> tuple[Any, Any]:
        search = {"numba": self._numba, "numpy": self._numpy}[point["backend"]]
        seconds, answers = [], []
        for row in rows:
            question = self._questions[row]
            begin = time.perf_counter()
            found = search(question, k)
            seconds.append(time.perf_counter() - begin)
            if keep:
                answers.append(found)
        return seconds, answers

    def _numba(self, question: list[int], k: int) -> tuple[Any, Any]:
        ids, scores = _retrieve_numba_functional(
            [question], self._retriever.scores, k=k, backend_selection="numba"
        )
        return ids[0], scores[0]

    def _numpy(self, question: list[int], k: int) -> tuple[Any, Any]:
        scores, ids = self._retriever._get_top_k_results(question, k=k, sorted=True)
        return ids, scores


def _by_term(arrays: Any, documents: int | None) -> dict[str, Any]:
    indptr = arrays["doc_indptr"]
    rows = len(indptr) - 1 if documents is None else min(documents, len(indptr) - 1)
    end = int(indptr[rows])
    terms, weights = arrays["doc_indices"][:end], arrays["doc_data"][:end]
    vocabulary = 1 + int(max(terms.max(), arrays["query_indices"].max()))
    order = np.argsort(terms, kind="stable")
    owners = np.repeat(np.arange(rows, dtype=np.int32), np.diff(indptr[: rows + 1]))
    counts = np.bincount(terms, minlength=vocabulary)
    return {
        "data": weights[order],
        "indices": owners[order],
        "indptr": np.concatenate([[0], np.cumsum(counts)]).astype(np.int32),
        "num_docs": rows,
    }


def main() -> None:
    answer_calls(Peer())


if __name__ == "__main__":
    main()
