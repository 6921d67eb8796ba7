"""SPLADE and its relatives: a text's terms are those that the masked-language model would expect in
it. Queries may have a graph of their own, or need none."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from sparsegate_server.encoders import sparsify
from sparsegate_server.encoders.base import (
    NOBODY,
    Caller,
    EncodeTimings,
    Encoding,
    Mode,
    OnTruncation,
    Tokenized,
)
from sparsegate_server.encoders.batcher import Batcher
from sparsegate_server.encoders.batching import Outputs, ServedGraph
from sparsegate_server.encoders.sparsify import Row
from sparsegate_server.encoders.tokenizer import ModelTokenizer, TokenIds
from sparsegate_server.errors import (
    BlankText,
    InferenceFailed,
    NoKnownTokens,
    SparsegateError,
    TextTooLong,
)
from sparsegate_server.inference.base import TokenBatch
from sparsegate_server.models.spec import ModelSpec


class SpladeEncoder:
    """Encodes documents by their graph; queries go first, by whatever the model has for them.

    Args:
        table: float32 [vocabulary], what each token of a query weighs, where that needs no graph.
    """

    def __init__(
        self,
        spec: ModelSpec,
        tokenizer: ModelTokenizer,
        batcher: Batcher,
        table: NDArray[np.float32] | None = None,
    ) -> None:
        self.spec = spec
        self._tokenizer = tokenizer
        self._batcher = batcher
        self._table = table
        self._dropped = np.array(spec.identity.dropped_terms, np.int64)
        self._documents = _served(spec)
        queries = spec.for_queries
        # Texts of one graph share batches, whatever they are.
        shared = queries is None or queries.name == spec.name
        self._queries = self._documents if shared or queries is None else _served(queries)

    async def encode(
        self,
        texts: Sequence[str],
        mode: Mode,
        *,
        on_truncation: OnTruncation = OnTruncation.FLAG,
        timings: EncodeTimings | None = None,
        caller: Caller = NOBODY,
    ) -> list[Encoding | SparsegateError]:
        """See `Encoder.encode`.

        Raises:
            Overloaded: too much waits already; nothing was encoded.
        """
        loop = asyncio.get_running_loop()
        timings = timings or EncodeTimings()
        started = loop.time()
        tokens = await asyncio.to_thread(self._tokenizer.encode, texts)
        timings.tokenize += loop.time() - started

        results: list[Encoding | SparsegateError | None] = [
            self._refusal(each, on_truncation) for each in tokens
        ]
        accepted = [at for at, bad in enumerate(results) if bad is None]
        rows: Sequence[Row | SparsegateError]
        if mode is Mode.QUERY and self._table is not None:
            rows = [self._weighed(tokens[at], self._table) for at in accepted]
        else:
            rows = await self._batcher.run(
                self._queries if mode is Mode.QUERY else self._documents,
                [tokens[at].ids for at in accepted],
                urgent=mode is Mode.QUERY,
                caller=caller,
                timings=timings,
            )
            _raise_if_all_failed(rows)
        for at, row in zip(accepted, rows, strict=True):
            results[at] = row if isinstance(row, SparsegateError) else _encoding(row, tokens[at])
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

    def _weighed(self, tokens: TokenIds, table: NDArray[np.float32]) -> Row | SparsegateError:
        """A query's vector without a graph."""
        vector = sparsify.idf_query(tokens.ids, table, self._dropped)
        if not len(vector):
            return NoKnownTokens(f"no part of the text has a weight in {self.spec.name}")
        # A token weighs the same wherever it stands: its first place is told.
        positions = np.argmax(tokens.ids == vector.indices[:, None], axis=1).astype(np.uint16)
        return Row(vector, False, positions)


def _served(spec: ModelSpec) -> ServedGraph:
    async def decode(outputs: Outputs, batch: TokenBatch) -> list[Row]:
        if spec.output == "terms":
            return sparsify.rows(spec, outputs, batch.attention_mask)
        # Megabytes: too long for the event loop.
        return await asyncio.to_thread(sparsify.rows, spec, outputs, batch.attention_mask)

    return ServedGraph(spec, decode)


def _encoding(row: Row, tokens: TokenIds) -> Encoding:
    return Encoding(row.vector, len(tokens.ids), tokens.truncated, row.capped, row.positions)


def _raise_if_all_failed(rows: Sequence[Row | SparsegateError]) -> None:
    """What fails on every text is no fault of a single one."""
    failures = [row for row in rows if isinstance(row, InferenceFailed)]
    if failures and len(failures) == len(rows):
        raise failures[0]
