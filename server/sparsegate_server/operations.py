"""What a collection is asked and what it answers: plain values between plans and index."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TypeAlias

from sparsegate_server.filters import Filter
from sparsegate_server.types import DocumentId, Payload, SparseVector


@dataclass(frozen=True, slots=True)
class Document:
    """A document to write.

    Attributes:
        vector: of the collection's own model.
        ladder: of the models of its ladder, in order.
    """

    id: DocumentId
    vector: SparseVector
    text: str | None = None
    payload: Payload = field(default_factory=dict)
    ladder: tuple[SparseVector, ...] = ()


@dataclass(frozen=True, slots=True)
class Selection:
    """Which parts of documents a read returns. What is left out is None or empty.

    Attributes:
        include: top-level payload fields to return; empty means all.
        exclude: top-level payload fields to leave out; wins over `include`.
        terms: whose weights a vector has; None means all.
    """

    text: bool = False
    payload: bool = False
    vector: bool = False
    include: frozenset[str] = frozenset()
    exclude: frozenset[str] = frozenset()
    terms: range | None = None

    def __bool__(self) -> bool:
        return self.text or self.payload or self.vector

    def of(self, payload: Payload) -> Payload:
        """The selected fields of a payload."""
        if not self.include and not self.exclude:
            return payload
        return {
            key: value
            for key, value in payload.items()
            if (not self.include or key in self.include) and key not in self.exclude
        }

    def of_vector(self, vector: SparseVector) -> SparseVector:
        """The selected weights of a vector."""
        return vector if self.terms is None else vector.within(self.terms)


WHOLE = Selection(text=True, payload=True, vector=True)


@dataclass(frozen=True, slots=True)
class Found:
    """A document as a read returns it; `vector` and `text` only where they were selected."""

    id: DocumentId
    vector: SparseVector | None = None
    text: str | None = None
    payload: Payload = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class SearchOptions:
    """What a search asks for besides its query.

    Attributes:
        limit, offset: hits `offset` + 1 to `offset` + `limit` of the ranking.
        threshold: only scores at or above it.
        filter: only documents that pass it; it acts while scoring, so that `limit` hits come
            whenever so many pass.
        idf: multiply each query weight by ln(1 + (N - n + 0.5) / (n + 0.5)), N live documents of
            the whole collection, n of them with the term, and round it to float32.
        select: which parts of the hits' documents come along.
        max_bytes: refuse the reply when its estimated size is above it; 0 means never.
        effort: how hard to try, above 0 and at most 1. At 1 the hits are exact; below, a search
            reads less and the result says what it may have missed.
        target_recall: instead of `effort`, the recall to aim at, by the collection's calibration.
        tier: whose vectors are searched, and come along; the collection's own model is 0.
    """

    limit: int
    offset: int = 0
    threshold: float | None = None
    filter: Filter | None = None
    idf: bool = False
    select: Selection = Selection()
    max_bytes: int = 0
    effort: float = 1.0
    target_recall: float | None = None
    tier: int = 0

    @property
    def exact(self) -> bool:
        """Whether it asks for all the effort there is."""
        return self.effort == 1 and self.target_recall is None


@dataclass(frozen=True, slots=True)
class Hit:
    """A found document and its score: float32, as a Python float that holds it exactly."""

    id: DocumentId
    score: float


@dataclass(frozen=True, slots=True)
class SearchResult:
    """Hits by descending score, ties by ascending id, all as of `sequence`.

    Attributes:
        ids, scores: of each hit; a score is a float32, as a Python float that holds it exactly.
        postings_scored: how many stored weights were read.
        query: the vector that was scored, after `idf`.
        documents: parallel to `ids` when the caller selected something, else empty.
        unindexed: fields of the filter that no index covers, evaluated document by document.
        blocks_skipped: how many blocks of documents were passed over because none of theirs could
            be among the hits.
        approximate: whether a better document may have been missed.
        missed_score: where `approximate`, no missed document scores above it; a float32, too, so
            that no rounding on its way to the caller makes it untrue.
        effort: that was made; 1 is exact.
    """

    ids: Sequence[DocumentId]
    scores: Sequence[float]
    sequence: int
    postings_scored: int
    query: SparseVector
    documents: tuple[Found, ...] = ()
    unindexed: tuple[str, ...] = ()
    blocks_skipped: int = 0
    approximate: bool = False
    missed_score: float | None = None
    effort: float = 1.0

    @property
    def hits(self) -> tuple[Hit, ...]:
        return tuple(map(Hit, self.ids, self.scores))


@dataclass(frozen=True, slots=True)
class EffortPoint:
    """What one effort cost and found, in the mean of all measured queries.

    Attributes:
        recall: share of the exact hits that were found; a document that scores as high as the last
            exact hit counts as one of them.
        recall_bound: the recall of other queries of the kind is above it, with the calibration's
            confidence.
        postings_scored: stored weights that were read.
        milliseconds: time in the index.
    """

    effort: float
    recall: float
    recall_bound: float
    postings_scored: float
    milliseconds: float


@dataclass(frozen=True, slots=True)
class Calibration:
    """How much effort a recall takes in a collection.

    Attributes:
        points: by ascending effort, neither recall nor its bound ever falling; the last is exact.
        limit: hits of each measured search.
        queries: how many were measured.
        confidence: how sure the bounds of the recall are.
        documents, sequence: of the collection then.
    """

    points: tuple[EffortPoint, ...]
    limit: int
    queries: int
    confidence: float
    documents: int
    sequence: int


@dataclass(frozen=True, slots=True)
class Standing:
    """Where one document stands in a search, all as of `sequence`.

    Attributes:
        query: the vector that was scored, after `idf`.
        vector: of the document.
        score: of the document, whether it was returned or not; None if it shares no term.
        rank: its place, from 1, among all documents that match and pass; None if it is not one.
        returned: whether the search returns it.
        dropped_by: path of the filter clause that drops it (`must[1].should`), "" if none does.
        below_threshold: whether the threshold drops it.
        bar_id, bar_score, bar_vector: the last document that the search returns, if any.
    """

    query: SparseVector
    vector: SparseVector
    score: float | None
    rank: int | None
    returned: bool
    dropped_by: str
    below_threshold: bool
    bar_id: DocumentId | None
    bar_score: float | None
    bar_vector: SparseVector | None
    sequence: int
    unindexed: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class WriteResult:
    """Attributes:
    sequence: the write is visible to every read that pins this number or a later one.
    affected: how many documents existed before (replaced, deleted or changed).
    repeated: it was applied before, under the same request id or stream batch; nothing was done
        now.
    """

    sequence: int
    affected: int
    repeated: bool = False


@dataclass(frozen=True, slots=True)
class StreamBatch:
    """Batch `number`, counted upwards by the client, of a stream that it named."""

    stream: str
    number: int


class PayloadMode(StrEnum):
    """MERGE sets top-level fields and leaves the others; REPLACE sets the whole payload; REMOVE
    removes the named top-level fields."""

    MERGE = "merge"
    REPLACE = "replace"
    REMOVE = "remove"


@dataclass(frozen=True, slots=True)
class PayloadChange:
    """`payload` for MERGE and REPLACE, `keys` for REMOVE."""

    mode: PayloadMode
    payload: Payload = field(default_factory=dict)
    keys: tuple[str, ...] = ()

    def of(self, payload: Payload) -> Payload:
        """The changed payload."""
        match self.mode:
            case PayloadMode.MERGE:
                return {**payload, **self.payload}
            case PayloadMode.REPLACE:
                return self.payload
            case PayloadMode.REMOVE:
                return {key: value for key, value in payload.items() if key not in self.keys}


Target: TypeAlias = Sequence[DocumentId] | Filter
"""Documents by id, unknown ids passed over, or all that pass a filter."""


@dataclass(frozen=True, slots=True)
class Fetched:
    """Documents by id, parallel to the ids asked for; None where there is no such document."""

    documents: tuple[Found | None, ...]
    sequence: int


@dataclass(frozen=True, slots=True)
class Page:
    """Documents in ascending id order; `next_after` goes into the next call, None at the end."""

    documents: tuple[Found, ...]
    next_after: DocumentId | None
    sequence: int
    unindexed: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Counts:
    """What is known of a collection without waiting for anything."""

    sequence: int
    documents: int
    segments: int


@dataclass(frozen=True, slots=True)
class Counted:
    count: int
    sequence: int
    unindexed: tuple[str, ...] = ()
