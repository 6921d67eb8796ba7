"""Bytes of the tensors in Triton's replies, and whether they lose anything."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import tritonclient.grpc as triton
from bench.report import Row
from bench.serving.stand import MODEL, Stand
from numpy.typing import NDArray

from sparsegate_server.encoders.batching import pad
from sparsegate_server.encoders.tokenizer import ModelTokenizer
from sparsegate_server.inference.base import TokenBatch
from sparsegate_server.inference.onnx import GRAPH_FILE, OnnxGraph

BAR = 6
_REQUIRED = 6.0
_BATCH = 8
_BATCHES = 25
_COMPARED = 3
"""Batches whose weights are compared; raw logits of one take half a gigabyte."""


class Reply(NamedTuple):
    """Attributes:
    indices, values: as `InferenceBackend` describes them.
    tensors: bytes of the two.
    message: bytes of all of the reply.
    """

    indices: NDArray[np.uint16]
    values: NDArray[np.float32]
    tensors: int
    message: int

    @property
    def terms(self) -> int:
        """Rows of the batch × terms of the fullest one."""
        return len(self.values) * int((self.values > 0).sum(axis=1).max())


def run(stand: Stand) -> None:
    batches = _batches(stand)
    client = triton.InferenceServerClient(stand.triton.url)
    try:
        replies = [ask(client, batch) for batch in batches]
    finally:
        client.close()
    worst = max(replies, key=lambda each: each.tensors / each.terms)
    message = sum(each.message for each in replies) / sum(each.terms for each in replies)
    lost = _difference(stand, batches[:_COMPARED], replies[:_COMPARED])
    stand.add(
        Row(BAR, "bytes a term of the fullest row", worst.tensors / worst.terms, "bytes",
            required=_REQUIRED, absolute=True,
            note=f"the worst of {len(replies)} batches of {_BATCH}; {message:.2f} with all of the"
            " reply, in the mean"),
        Row(BAR, "greatest difference of a weight", lost, "", required=1e-4, absolute=True,
            note="to raw logits pooled by NumPy: nothing is cut or rounded"),
    )  # fmt: skip


def ask(client: triton.InferenceServerClient, batch: TokenBatch) -> Reply:
    inputs = []
    for name, array in (("input_ids", batch.input_ids), ("attention_mask", batch.attention_mask)):
        tensor = triton.InferInput(name, array.shape, "INT32")
        tensor.set_data_from_numpy(array)
        inputs.append(tensor)
    answer = client.infer(MODEL, inputs)
    response = answer.get_response()
    return Reply(
        answer.as_numpy("indices"),
        answer.as_numpy("values"),
        sum(map(len, response.raw_output_contents)),
        response.ByteSize(),
    )


def _batches(stand: Stand) -> list[TokenBatch]:
    """Documents in order, eight at a time."""
    tokenizer = ModelTokenizer(stand.repository / MODEL, stand.spec)
    rows = [each.ids for each in tokenizer.encode(stand.documents[: _BATCH * _BATCHES])]
    buckets = stand.spec.length_buckets
    batches = []
    for start in range(0, len(rows), _BATCH):
        some = rows[start : start + _BATCH]
        longest = max(map(len, some))
        batches.append(pad(some, next(each for each in buckets if each >= longest)))
    return batches


def _difference(stand: Stand, batches: Sequence[TokenBatch], replies: Sequence[Reply]) -> float:
    """The greatest one between the replies' weights and those of raw logits, by the definition."""
    graph = OnnxGraph(stand.repository / f"{MODEL}-logits" / GRAPH_FILE, threads=1)
    worst = 0.0
    for batch, reply in zip(batches, replies, strict=True):
        logits = np.asarray(graph.run(batch)["logits"], np.float32)
        literal = np.log1p(np.maximum(logits, 0)) * batch.attention_mask[:, :, None]
        expected = literal.max(axis=1)
        found = np.zeros_like(expected)
        np.put_along_axis(found, reply.indices.astype(np.int64), reply.values, axis=1)
        worst = max(worst, float(np.abs(found - expected).max()))
    return worst
