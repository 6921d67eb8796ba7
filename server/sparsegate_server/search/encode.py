"""Encode: texts to vectors, for callers who keep them elsewhere."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace

from sparsegate_server.encoders.base import (
    Caller,
    Encoder,
    EncodeTimings,
    Encoding,
    Mode,
    OnTruncation,
    Tokenized,
)
from sparsegate_server.encoders.sparsify import top
from sparsegate_server.errors import SparsegateError
from sparsegate_server.search.models import Execution, ServedModels
from sparsegate_server.telemetry.metrics import Metrics


@dataclass(frozen=True, slots=True)
class EncodeOptions:
    """How to encode.

    Attributes:
        mode: queries or documents.
        top_k: keep only this many of the heaviest terms; 0 keeps all.
        threshold: keep only terms whose weight is above it.
    """

    mode: Mode
    top_k: int = 0
    threshold: float = 0.0
    on_truncation: OnTruncation = OnTruncation.FLAG


class EncodePlan:
    """Encodes and tokenizes texts with the served models, and counts what it does."""

    def __init__(self, models: ServedModels, metrics: Metrics) -> None:
        self._models = models
        self._metrics = metrics

    async def encode(
        self,
        model: str,
        texts: Sequence[str],
        options: EncodeOptions,
        *,
        timings: EncodeTimings,
        caller: Caller,
    ) -> tuple[Encoder, list[Encoding | SparsegateError]]:
        """One encoding or one error per text, and the encoder that made them.

        Raises:
            ModelNotFound, and whatever the encoder raises for all texts at once.
        """
        encoder = self._models.get(model)
        results = await self.run(
            encoder,
            texts,
            options.mode,
            on_truncation=options.on_truncation,
            timings=timings,
            caller=caller,
        )
        if not options.top_k and not options.threshold:
            return encoder, results
        return encoder, [
            item
            if isinstance(item, SparsegateError)
            else replace(
                item, vector=top(item.vector, options.top_k, options.threshold), positions=None
            )
            for item in results
        ]

    async def run(
        self,
        encoder: Encoder,
        texts: Sequence[str],
        mode: Mode,
        *,
        on_truncation: OnTruncation,
        timings: EncodeTimings,
        caller: Caller,
    ) -> list[Encoding | SparsegateError]:
        """Encodes and counts; nothing is cut."""
        results = await encoder.encode(
            texts, mode, on_truncation=on_truncation, timings=timings, caller=caller
        )
        done = [item for item in results if isinstance(item, Encoding)]
        name = encoder.spec.name
        self._metrics.texts.labels(name, mode.value).inc(len(done))
        self._metrics.tokens.labels(name, mode.value).inc(sum(item.tokens_used for item in done))
        return results

    async def run_all(
        self,
        work: Sequence[tuple[Encoder, Sequence[str]]],
        mode: Mode,
        *,
        on_truncation: OnTruncation,
        timings: EncodeTimings,
        caller: Caller,
    ) -> list[list[Encoding | SparsegateError]]:
        """Has several encoders encode at once, each its texts; the result has a list for each.

        Raises:
            What the first of them in order raises for all its texts; nothing of the others is
            under way any more then.
        """
        tasks = [
            asyncio.create_task(
                self.run(
                    encoder,
                    texts,
                    mode,
                    on_truncation=on_truncation,
                    timings=timings,
                    caller=caller,
                )
            )
            for encoder, texts in work
        ]
        try:
            return [await task for task in tasks]
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def execution(self, encoder: Encoder) -> Execution:
        """How an encoder's model runs here."""
        return self._models.execution(encoder)

    async def tokenize(self, model: str, texts: Sequence[str]) -> tuple[Encoder, list[Tokenized]]:
        """Raises ModelNotFound."""
        encoder = self._models.get(model)
        return encoder, await encoder.tokenize(texts)
