"""What FastEmbed and Qdrant do with documents, as a worker; `bench.pipe` says how it is spoken to.

Runs in an environment of its own, with `numpy`, `onnxruntime`, `tokenizers` and `qdrant-edge-py`:

    python -m bench.peers.fastembed    # started by bench.serving

Documents go in order, eight at a time, padded to the longest of the eight, through a graph that
returns raw logits; NumPy pools them; points are upserted 64 at a time, as Qdrant's client uploads
them, with their text as payload.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import qdrant_edge as qe  # type: ignore[import-not-found]
from bench.pipe import answer_calls
from numpy.typing import NDArray
from tokenizers import Tokenizer

_BATCH = 8
_POINTS = 64
_Vector = tuple[NDArray[np.int64], NDArray[np.float32]]


class Peer:
    def load(self, graph: str, tokenizer: str, longest: int, threads: int) -> None:
        """Args:
        graph: a file with the inputs and the output "logits" of a model repository.
        longest: tokens of a text, beyond which it is cut.
        threads: intra-op.
        """
        self._tokenizer = Tokenizer.from_file(tokenizer)
        self._tokenizer.enable_truncation(longest)
        self._tokenizer.enable_padding()
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        self._session = onnxruntime.InferenceSession(
            graph, options, providers=["CPUExecutionProvider"]
        )
        self._encode(["warm up"] * _BATCH)

    def ingest(self, folder: str, texts: list[str]) -> float:
        """Encodes documents and upserts them into a new shard.

        Returns:
            Seconds from the first text to the last acknowledgement.
        """
        Path(folder).mkdir(parents=True)
        config = qe.EdgeConfig(sparse_vectors={"s": qe.EdgeSparseVectorParams()})
        shard = qe.EdgeShard.create(folder, config)
        points: list[Any] = []
        begin = time.perf_counter()
        for start in range(0, len(texts), _BATCH):
            some = texts[start : start + _BATCH]
            numbers = range(start, start + len(some))
            points += map(_point, numbers, some, self._encode(some))
            if len(points) >= _POINTS:
                shard.update(qe.UpdateOperation.upsert_points(points))
                points = []
        if points:
            shard.update(qe.UpdateOperation.upsert_points(points))
        seconds = time.perf_counter() - begin
        count = shard.count(qe.CountRequest(exact=True))
        shard.close()
        if count != len(texts):
            raise ValueError(f"{count} of {len(texts)} documents are in the shard")
        return seconds

    def vectors(self, texts: list[str]) -> list[_Vector]:
        return self._encode(texts)

    def _encode(self, texts: list[str]) -> list[_Vector]:
        encodings = self._tokenizer.encode_batch(texts)
        mask = np.array([each.attention_mask for each in encodings], np.int32)
        ids = np.array([each.ids for each in encodings], np.int32)
        feed = {"input_ids": ids, "attention_mask": mask}
        (logits,) = self._session.run(["logits"], feed)
        weights = np.log1p(np.maximum(logits, 0)) * mask[:, :, None].astype(np.float32)
        pooled = weights.max(axis=1)
        return [(terms, row[terms]) for row in pooled for terms in row.nonzero()]


def _point(number: int, text: str, vector: _Vector) -> Any:
    terms, weights = vector
    sparse = qe.SparseVector(terms.tolist(), weights.tolist())
    return qe.Point(number, {"s": sparse}, {"document": text})


if __name__ == "__main__":
    answer_calls(Peer())
