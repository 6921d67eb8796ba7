"""SPLADE: a text's terms are those that the masked-language model would expect in it."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sparsegate_server.encoders import sparsify
from sparsegate_server.encoders.base import (
    EncodeTimings,
    Encoding,
    Mode,
    OnTruncation,
    Tokenized,
)
from sparsegate_server.encoders.batching import Batch, pad, plan
from sparsegate_server.encoders.gate import BatchGate
from sparsegate_server.encoders.tokenizer import ModelTokenizer, TokenIds
from sparsegate_server.errors import (
    BlankText,
    InferenceFailed,
    NoKnownTokens,
    SparsegateError,
    TextTooLong,
)
from sparsegate_server.inference.base import InferenceBackend, TokenBatch
from sparsegate_server.models.spec import ModelSpec
from sparsegate_server.types import SparseVector

_Row = tuple[SparseVector, bool]


class SpladeEncoder:
    """Encodes queries and documents alike, as SPLADE++ does; queries only go first."""

    def __init__(
        self,
        spec: ModelSpec,
        tokenizer: ModelTokenizer,
        backend: InferenceBackend,
        gate: BatchGate,
        max_batch_size: int,
    ) -> None:
        self.spec = spec
        self._tokenizer = tokenizer
        self._backend = backend
        self._gate = gate
        self._max_batch_size = max_batch_size

    async def encode(
        self,
        texts: Sequence[str],
        mode: Mode,
        *,
        on_truncation: OnTruncation = OnTruncation.FLAG,
        timings: EncodeTimings | None = None,
        timeout: float | None = None,
    ) -> list[Encoding | SparsegateError]:
        """See `Encoder.encode`.

        Raises:
            Overloaded: too many batches wait already; nothing was encoded.
        """
        loop = asyncio.get_running_loop()
        timings = timings or EncodeTimings()
        started = loop.time()
        deadline = None if timeout is None else started + timeout
        tokens = await asyncio.to_thread(self._tokenizer.encode, texts)
        timings.tokenize += loop.time() - started

        results: list[Encoding | SparsegateError | None] = [
            self._refusal(each, on_truncation) for each in tokens
        ]
        accepted = [(at, len(tokens[at].ids)) for at, bad in enumerate(results) if bad is None]
        batches = plan(accepted, self.spec, self._max_batch_size)
        self._gate.admit(len(batches))
        rows = await _all([self._run(batch, tokens, mode, deadline, timings) for batch in batches])
        for batch, vectors in zip(batches, rows, strict=True):
            for at, (vector, capped) in zip(batch.positions, vectors, strict=True):
                used = tokens[at]
                results[at] = Encoding(vector, len(used.ids), used.truncated, capped)
        return [result for result in results if result is not None]

    async def tokenize(self, texts: Sequence[str]) -> list[Tokenized]:
        return await asyncio.to_thread(self._tokenizer.tokenize, texts)

    def term(self, term_id: int) -> str:
        return self._tokenizer.term(term_id)

    def _refusal(self, tokens: TokenIds, on_truncation: OnTruncation) -> SparsegateError | None:
        """Why a text cannot be encoded, or None."""
        if tokens.empty:
            return BlankText("the text is empty or has only white space and control characters")
        if tokens.truncated and on_truncation is OnTruncation.ERROR:
            return TextTooLong(
                f"the text has more than {self.spec.identity.max_length} tokens: split it, or "
                "allow truncation"
            )
        if not tokens.known:
            return NoKnownTokens(f"{self.spec.name} knows no part of the text")
        return None

    async def _run(
        self,
        batch: Batch,
        tokens: Sequence[TokenIds],
        mode: Mode,
        deadline: float | None,
        timings: EncodeTimings,
    ) -> list[_Row]:
        loop = asyncio.get_running_loop()
        asked = loop.time()
        async with self._gate.slot(urgent=mode is Mode.QUERY, deadline=deadline):
            began = loop.time()
            ids = [tokens[at].ids for at in batch.positions]
            padded = pad(ids, batch.length)
            left = None if deadline is None else max(0.0, deadline - began)
            outputs = await self._backend.infer(self.spec, padded, timeout=left)
            rows = await self._decode(outputs, padded)
        timings.queue = max(timings.queue, began - asked)
        timings.infer = max(timings.infer, loop.time() - began)
        timings.batches.append(len(batch.positions))
        return rows

    async def _decode(
        self, outputs: Mapping[str, NDArray[np.generic]], batch: TokenBatch
    ) -> list[_Row]:
        if self.spec.output == "logits":
            # Tens of megabytes: too long for the event loop.
            return await asyncio.to_thread(
                _pool_and_sparsify, self.spec, outputs["logits"], batch.attention_mask
            )
        indices, values = outputs["indices"], outputs["values"]
        if indices.shape != values.shape or len(values) != len(batch.input_ids):
            raise InferenceFailed(
                f"model {self.spec.name!r} returned ids {indices.shape} and weights {values.shape} "
                f"for {len(batch.input_ids)} texts"
            )
        cap = self.spec.identity.max_terms
        return [
            sparsify.from_top_terms(*row, max_terms=cap)
            for row in zip(indices, values, strict=True)
        ]


def _pool_and_sparsify(
    spec: ModelSpec, logits: NDArray[Any], attention_mask: NDArray[np.int32]
) -> list[_Row]:
    expected = (*attention_mask.shape, spec.identity.vocabulary_size)
    if logits.shape != expected:
        raise InferenceFailed(
            f"model {spec.name!r} returned logits {logits.shape} instead of {expected}"
        )
    return [
        sparsify.sparsify(pooled, spec.identity.threshold, spec.identity.max_terms)
        for pooled in sparsify.pool(logits, attention_mask)
    ]


async def _all(work: Sequence[Coroutine[Any, Any, list[_Row]]]) -> list[list[_Row]]:
    """Runs all side by side; the first failure cancels the others and is raised as it is."""
    tasks = [asyncio.create_task(each) for each in work]
    try:
        return await asyncio.gather(*tasks)
    except BaseException:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        raise
