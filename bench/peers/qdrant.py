"""Qdrant's engine in process, driven over a pipe: one JSON line in, one out.

Runs in an environment of its own, with `numpy` and `qdrant-edge-py` alone:

    python bench/peers/qdrant.py DATA.npz FOLDER     # started by bench.macro.durability

`DATA.npz` has `indptr`, `terms`, `weights` of documents and `query_terms`, `query_weights` of a
question, as the benchmark writes them.
"""

from __future__ import annotations

import json
import sys
import time
from typing import Any

import numpy as np
import qdrant_edge as qe


def payload(number: int) -> dict[str, Any]:
    """The same as `bench.wiki.payload`."""
    return {
        "title": f"Passage {number} of an encyclopaedia that many people have written together",
        "section": f"section-{number % 100}",
        "year": 1900 + number % 120,
        "tags": ["encyclopaedia", "english", f"tag-{number % 1000}"],
        "address": f"https://example.org/wiki/{number:010d}",
    }


class Peer:
    def __init__(self, data: str, folder: str) -> None:
        with np.load(data) as arrays:
            self.indptr = arrays["indptr"].tolist()
            self.terms, self.weights = arrays["terms"], arrays["weights"]
            question = qe.SparseVector(
                arrays["query_terms"].tolist(), arrays["query_weights"].tolist()
            )
        self.query = qe.Query.Nearest(question, using="s")
        self.folder = folder
        self.shard: Any = None

    def create(self) -> None:
        parameters = qe.EdgeSparseVectorParams(full_scan_threshold=0)
        self.shard = qe.EdgeShard.create(
            self.folder, qe.EdgeConfig(sparse_vectors={"s": parameters}, max_search_threads=1)
        )

    def upsert(self, first: int, last: int, batch: int, flush: bool) -> list[float]:
        """Seconds of each batch, its flush included; points are made before the clock starts."""
        seconds = []
        for start in range(first, last, batch):
            points = [self.point(number) for number in range(start, min(start + batch, last))]
            begin = time.perf_counter()
            self.shard.update(qe.UpdateOperation.upsert_points(points))
            if flush:
                self.shard.flush()
            seconds.append(time.perf_counter() - begin)
        return seconds

    def point(self, number: int) -> Any:
        span = slice(self.indptr[number], self.indptr[number + 1])
        vector = qe.SparseVector(self.terms[span].tolist(), self.weights[span].tolist())
        return qe.Point(number, {"s": vector}, payload(number))

    def close(self) -> None:
        self.shard.flush()
        self.shard.close()
        self.shard = None

    def reopen(self) -> float:
        """Seconds to the first answer."""
        begin = time.perf_counter()
        self.shard = qe.EdgeShard.load(self.folder)
        self.shard.query(qe.QueryRequest(query=self.query, limit=10))
        return time.perf_counter() - begin


def main() -> None:
    peer = Peer(sys.argv[1], sys.argv[2])
    for line in sys.stdin:
        call = json.loads(line)
        result = getattr(peer, call.pop("call"))(**call)
        print(json.dumps(result), flush=True)


if __name__ == "__main__":
    main()
