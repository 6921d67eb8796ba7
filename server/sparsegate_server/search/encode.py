"""Encode: texts to vectors, for callers who keep them elsewhere."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from sparsegate_server.encoders.base import (
    Encoder,
    EncodeTimings,
    Encoding,
    Mode,
    OnTruncation,
    Tokenized,
)
from sparsegate_server.encoders.sparsify import top
from sparsegate_server.errors import SparsegateError
from sparsegate_server.search.models import ServedModels
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
        timeout: float | None,
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
            timeout=timeout,
        )
        if not options.top_k and not options.threshold:
            return encoder, results
        return encoder, [
            item
            if isinstance(item, SparsegateError)
            else replace(item, vector=top(item.vector, options.top_k, options.threshold))
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
        timeout: float | None,
    ) -> list[Encoding | SparsegateError]:
        """Encodes and counts; nothing is cut."""
        results = await encoder.encode(
            texts, mode, on_truncation=on_truncation, timings=timings, timeout=timeout
        )
        done = [item for item in results if isinstance(item, Encoding)]
        name = encoder.spec.name
        self._metrics.texts.labels(name, mode.value).inc(len(done))
        self._metrics.tokens.labels(name, mode.value).inc(sum(item.tokens_used for item in done))
        for size in timings.batches:
            self._metrics.batch_size.labels(name).observe(size)
        timings.batches.clear()
        return results

    async def tokenize(self, model: str, texts: Sequence[str]) -> tuple[Encoder, list[Tokenized]]:
        """Raises ModelNotFound."""
        encoder = self._models.get(model)
        return encoder, await encoder.tokenize(texts)
