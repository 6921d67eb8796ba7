"""Upsert: which documents need encoding, which are good, one write for all of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from sparsegate_server.backends.base import CollectionConfig, IndexBackend
from sparsegate_server.encoders.base import Encoding, Mode, OnTruncation
from sparsegate_server.errors import InvalidDocument, SparsegateError
from sparsegate_server.operations import Document, StreamBatch, WriteResult
from sparsegate_server.search.encode import EncodePlan
from sparsegate_server.search.models import ServedModels
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
class Upserted:
    """Attributes:
    results: one item per draft, in order.
    sequence: of the write, or of the last one before it when nothing was written.
    repeated: whether the write was applied before, and not again now.
    """

    results: tuple[Applied | SparsegateError, ...]
    sequence: int
    repeated: bool = False


class IngestPlan:
    def __init__(
        self, models: ServedModels, backend: IndexBackend, encode: EncodePlan, metrics: Metrics
    ) -> None:
        self._models = models
        self._backend = backend
        self._encode = encode
        self._metrics = metrics

    async def upsert(
        self,
        collection: str,
        drafts: Sequence[Draft | SparsegateError],
        *,
        on_truncation: OnTruncation,
        timings: Timings,
        timeout: float | None,
        request_id: str = "",
        batch: StreamBatch | None = None,
    ) -> Upserted:
        """Writes the good ones of the drafts together; items that are errors already stay so.

        A write that was applied before, by its request id or stream batch, is encoded again all the
        same, so that its results tell what they told at first.

        Errors of single documents have their field relative to the document (`vector.values[3]`).

        Raises:
            CollectionNotFound, FingerprintMismatch, ModelNotFound, and whatever the encoder raises
                for all texts at once; then nothing was written.
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
                document = _with_own_vector(draft, config)
            except SparsegateError as error:
                results.append(error)
                continue
            results.append(Applied())
            if document is None:
                pending.append(at)
            else:
                documents[at] = document
        encoded = await self._encode_texts(config, drafts, pending, on_truncation, timings, timeout)
        for at, item in zip(pending, encoded, strict=True):
            draft = drafts[at]
            assert isinstance(draft, Draft)
            if isinstance(item, SparsegateError):
                results[at] = item.under("text")
            else:
                documents[at] = Document(draft.id, item.vector, draft.text, draft.payload)
                results[at] = Applied(item.truncated, item.capped)
        good = [documents[at] for at in sorted(documents)]
        written = await self._write(config, good, timings, request_id, batch)
        return Upserted(tuple(results), written.sequence, written.repeated)

    async def _encode_texts(
        self,
        config: CollectionConfig,
        drafts: Sequence[Draft | SparsegateError],
        pending: Sequence[int],
        on_truncation: OnTruncation,
        timings: Timings,
        timeout: float | None,
    ) -> list[Encoding | SparsegateError]:
        if not pending:
            return []
        texts = [
            d.text
            for d in (drafts[at] for at in pending)
            if isinstance(d, Draft) and d.text is not None
        ]
        return await self._encode.run(
            self._models.of_collection(config.model, config.fingerprint),
            texts,
            Mode.DOCUMENT,
            on_truncation=on_truncation,
            timings=timings.encode,
            timeout=timeout,
        )

    async def _write(
        self,
        config: CollectionConfig,
        documents: Sequence[Document],
        timings: Timings,
        request_id: str,
        batch: StreamBatch | None,
    ) -> WriteResult:
        name = config.name
        if not documents:
            return WriteResult(self._backend.counts(name).sequence, 0)
        with timings.searching():
            written = await self._backend.upsert(
                name, documents, request_id=request_id, batch=batch, config=config
            )
        counts = self._backend.counts(name)
        self._metrics.collection_changed(name, counts.documents, counts.segments)
        return written


def _with_own_vector(draft: Draft, config: CollectionConfig) -> Document | None:
    """The document when it brings a good vector of its own, None when its text must be encoded.

    Raises:
        InvalidDocument: neither text nor vector.
        FingerprintMismatch, InvalidVector, UnknownTerm: the vector is not acceptable.
    """
    if draft.vector is None:
        if draft.text is None:
            raise InvalidDocument("has neither text nor vector: give at least one", field="text")
        return None
    return Document(draft.id, draft.vector.accept(config), draft.text, draft.payload)
