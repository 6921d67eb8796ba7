"""Upsert: which documents need encoding and which are good; then one write for all of them."""

from __future__ import annotations

from collections.abc import Sequence
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
from sparsegate_server.types import DocumentId, Payload


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
        execution: how the model ran; None where no text was to be encoded.
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
    execution: how the model ran; None where no text was to be encoded.
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

        Raises:
            CollectionNotFound, FingerprintMismatch, ModelNotFound, and whatever the encoder raises
                for all texts at once.
        """
        config = self._backend.config(collection)
        results: list[Applied | SparsegateError] = []
        documents: dict[int, Document] = {}
        pending: list[int] = []
        for at, draft in enumerate(drafts):
            if isinstance(draft, SparsegateError):
                results.append(draft)
                continue
            try:
                document = _with_own_vector(draft, config, self._models)
            except SparsegateError as error:
                results.append(error)
                continue
            results.append(Applied())
            if document is None:
                pending.append(at)
            else:
                documents[at] = document
        encoder = self._models.of_collection(config) if pending else None
        encoded = await self._encode_texts(encoder, drafts, pending, on_truncation, timings, caller)
        for at, item in zip(pending, encoded, strict=True):
            draft = drafts[at]
            assert isinstance(draft, Draft)
            if isinstance(item, SparsegateError):
                results[at] = item.under("text")
            else:
                documents[at] = Document(draft.id, item.vector, draft.text, draft.payload)
                results[at] = Applied(item.truncated, item.capped)
        good = tuple(documents[at] for at in sorted(documents))
        execution = self._models.execution(encoder) if encoder else None
        return Encoded(config, tuple(results), good, execution)

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
            encoded.config.fingerprint,
            written.repeated,
            encoded.execution,
        )

    async def _encode_texts(
        self,
        encoder: Encoder | None,
        drafts: Sequence[Draft | SparsegateError],
        pending: Sequence[int],
        on_truncation: OnTruncation,
        timings: Timings,
        caller: Caller,
    ) -> list[Encoding | SparsegateError]:
        if encoder is None:
            return []
        texts = [
            d.text
            for d in (drafts[at] for at in pending)
            if isinstance(d, Draft) and d.text is not None
        ]
        return await self._encode.run(
            encoder,
            texts,
            Mode.DOCUMENT,
            on_truncation=on_truncation,
            timings=timings.encode,
            caller=caller,
        )

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


def _with_own_vector(
    draft: Draft, config: CollectionConfig, models: ServedModels
) -> Document | None:
    """The document when it brings a good vector of its own, None when its text must be encoded.

    Raises:
        InvalidDocument: neither text nor vector.
        FingerprintMismatch, InvalidVector, UnknownTerm: the vector is not acceptable.
    """
    if draft.vector is None:
        if draft.text is None:
            raise InvalidDocument("has neither text nor vector: give at least one", field="text")
        return None
    return Document(draft.id, draft.vector.accept(config, models), draft.text, draft.payload)
