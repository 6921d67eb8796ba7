"""Upsert: which documents need encoding and which are good; then one write for all of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from sparsegate_server.backends.base import CollectionConfig, IndexBackend
from sparsegate_server.encoders.base import Caller, Encoder, Encoding, Mode, OnTruncation
from sparsegate_server.errors import InvalidDocument, SparsegateError
from sparsegate_server.operations import Document, StreamBatch, WriteResult
from sparsegate_server.search.encode import EncodePlan
from sparsegate_server.search.models import Execution, ServedModels
from sparsegate_server.search.timing import Timings
from sparsegate_server.search.vectors import RawVector
from sparsegate_server.telemetry.metrics import Metrics
from sparsegate_server.types import DocumentId, Payload, SparseVector


@dataclass(frozen=True, slots=True)
class Draft:
    """A document as its sender wrote it: `vector` wins over encoding `text`."""

    id: DocumentId
    text: str | None = None
    vector: RawVector | None = None
    payload: Payload = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Applied:
    """A document that was written, and what the reply must name about its text."""

    truncated: bool = False
    capped: bool = False


@dataclass(frozen=True, slots=True)
class Encoded:
    """What is to be written.

    Attributes:
        config: of the collection that it was encoded for.
        results: one item per draft, in order.
        documents: the good ones.
        execution: how the collection's own model ran; None where it had no text to encode.
    """

    config: CollectionConfig
    results: tuple[Applied | SparsegateError, ...]
    documents: tuple[Document, ...]
    execution: Execution | None = None


@dataclass(frozen=True, slots=True)
class Upserted:
    """Attributes:
    results: one item per draft, in order.
    sequence: of the write, or of the last one before it when nothing was written.
    fingerprint: of the collection's model.
    repeated: whether the write was applied before, and not again now.
    execution: how the collection's own model ran; None where it had no text to encode.
    """

    results: tuple[Applied | SparsegateError, ...]
    sequence: int
    fingerprint: str
    repeated: bool = False
    execution: Execution | None = None


class IngestPlan:
    def __init__(
        self, models: ServedModels, backend: IndexBackend, encode: EncodePlan, metrics: Metrics
    ) -> None:
        self._models = models
        self._backend = backend
        self._encode = encode
        self._metrics = metrics

    async def encode(
        self,
        collection: str,
        drafts: Sequence[Draft | SparsegateError],
        *,
        on_truncation: OnTruncation,
        timings: Timings,
        caller: Caller,
    ) -> Encoded:
        """Makes documents of the good ones of the drafts; items that are errors already stay so.

        Errors of single documents have their field relative to the document (`vector.values[3]`).

        In a collection with a ladder every model of it makes a vector of each text, all at once: a
        document is whole, or refused.

        Raises:
            CollectionNotFound, FingerprintMismatch, ModelNotFound, and whatever an encoder raises
                for all texts at once: of several, the first in the ladder's order.
        """
        config = self._backend.config(collection)
        work = _Work(drafts)
        for at, draft in work.good():
            try:
                _check(draft, config)
                if draft.vector is not None:
                    work.vectors[at].append(draft.vector.accept(config.own, self._models))
            except SparsegateError as error:
                work.results[at] = error
        encoders = {
            number: self._models.of_tier(tier)
            for number, tier in enumerate(config.tiers)
            if work.pending(number)
        }
        await self._encode_texts(encoders, work, on_truncation, timings, caller)
        execution = self._models.execution(encoders[0]) if 0 in encoders else None
        return Encoded(config, tuple(work.results), work.documents(), execution)

    async def write(
        self,
        encoded: Encoded,
        *,
        timings: Timings,
        request_id: str = "",
        batch: StreamBatch | None = None,
    ) -> Upserted:
        """Writes all documents together. A write that was applied before, by its request id or
        stream batch, is not applied again, but its results tell what they told at first.

        Raises:
            CollectionNotFound, FingerprintMismatch: the collection was deleted or made anew
                meanwhile; and whatever the backend raises. Then nothing was written.
        """
        written = await self._write(encoded, timings, request_id, batch)
        return Upserted(
            encoded.results,
            written.sequence,
            encoded.config.own.fingerprint,
            written.repeated,
            encoded.execution,
        )

    async def _encode_texts(
        self,
        encoders: Mapping[int, Encoder],
        work: _Work,
        on_truncation: OnTruncation,
        timings: Timings,
        caller: Caller,
    ) -> None:
        """Adds the vectors of the tiers whose encoders are given, by number."""
        pending = [work.pending(number) for number in encoders]
        encoded = await self._encode.run_all(
            [
                (encoder, [work.text(at) for at in places])
                for encoder, places in zip(encoders.values(), pending, strict=True)
            ],
            Mode.DOCUMENT,
            on_truncation=on_truncation,
            timings=timings.encode,
            caller=caller,
        )
        for places, items in zip(pending, encoded, strict=True):
            for at, item in zip(places, items, strict=True):
                work.add(at, item)

    async def _write(
        self, encoded: Encoded, timings: Timings, request_id: str, batch: StreamBatch | None
    ) -> WriteResult:
        name = encoded.config.name
        if not encoded.documents:
            return WriteResult(self._backend.counts(name).sequence, 0)
        with timings.searching():
            written = await self._backend.upsert(
                name,
                encoded.documents,
                request_id=request_id,
                batch=batch,
                config=encoded.config,
            )
        counts = self._backend.counts(name)
        self._metrics.collection_changed(name, counts.documents, counts.segments)
        return written


class _Work:
    """Drafts on their way to documents.

    Attributes:
        results: one item per draft; an error ends its way.
        vectors: for each draft those of the tiers, as far as they have been made.
    """

    def __init__(self, drafts: Sequence[Draft | SparsegateError]) -> None:
        self._drafts = drafts
        self.results: list[Applied | SparsegateError] = [
            each if isinstance(each, SparsegateError) else Applied() for each in drafts
        ]
        self.vectors: list[list[SparseVector]] = [[] for _ in drafts]

    def good(self) -> Iterator[tuple[int, Draft]]:
        """The drafts without an error, and their places."""
        for at, draft in enumerate(self._drafts):
            if isinstance(draft, Draft) and isinstance(self.results[at], Applied):
                yield at, draft

    def pending(self, tier: int) -> list[int]:
        """Places of the good drafts of whose text the tier's model is to make a vector."""
        return [at for at, draft in self.good() if tier or draft.vector is None]

    def text(self, at: int) -> str:
        draft = self._drafts[at]
        assert isinstance(draft, Draft)
        assert draft.text is not None
        return draft.text

    def add(self, at: int, item: Encoding | SparsegateError) -> None:
        """What the next tier's model made of a draft's text."""
        known = self.results[at]
        if isinstance(item, SparsegateError):
            self.results[at] = item.under("text")
        elif isinstance(known, Applied):
            self.vectors[at].append(item.vector)
            self.results[at] = Applied(
                known.truncated or item.truncated, known.capped or item.capped
            )

    def documents(self) -> tuple[Document, ...]:
        """Of the good drafts, all of whose vectors are there."""
        made = []
        for at, draft in self.good():
            own, *ladder = self.vectors[at]
            made.append(Document(draft.id, own, draft.text, draft.payload, tuple(ladder)))
        return tuple(made)


def _check(draft: Draft, config: CollectionConfig) -> None:
    """Raises InvalidDocument: there is nothing to make its vectors of."""
    if draft.text is not None:
        return
    if draft.vector is None:
        raise InvalidDocument("has neither text nor vector: give at least one", field="text")
    if config.ladder:
        others = ", ".join(repr(tier.model) for tier in config.ladder)
        raise InvalidDocument(
            f"has no text, of which {others} of the collection's ladder must make vectors as well: "
            "give the text besides the vector",
            field="text",
        )
