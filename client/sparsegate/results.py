"""What the calls return."""

from __future__ import annotations

from dataclasses import dataclass

from sparsegate.errors import SparsegateError
from sparsegate.types import (
    Batch,
    Document,
    DocumentId,
    LoadOutcome,
    Model,
    ModelExecution,
    Payload,
    SparseVector,
    Timings,
)


@dataclass(frozen=True, slots=True)
class Encoding:
    """One encoded text.

    Attributes:
        vector: its weighted terms; empty when `threshold` left none.
        terms: the vocabulary's strings, parallel to the vector's indices, where asked for.
        tokens_used: tokens that the model read, special tokens included.
        truncated: whether the text was longer than that.
        capped: whether terms were dropped because the model's greatest number was reached.
    """

    vector: SparseVector
    terms: tuple[str, ...]
    tokens_used: int
    truncated: bool
    capped: bool


@dataclass(frozen=True, slots=True)
class EncodeResult(Batch[Encoding]):
    """Encoded texts.

    Attributes:
        model: name of the model.
        fingerprint: of the model's identity.
        timings: where the time went.
        execution: how the model ran; None where the gateway is older.
    """

    model: str
    fingerprint: str
    timings: Timings
    execution: ModelExecution | None = None


@dataclass(frozen=True, slots=True)
class Token:
    """One token.

    Attributes:
        id: in the model's vocabulary.
        text: its string in the vocabulary.
        start: first character of the text that it stands for.
        end: one past the last; equal to `start` for special tokens.
    """

    id: int
    text: str
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class TokenizedText:
    """One split text: its tokens, special tokens included, and whether the text had more."""

    tokens: tuple[Token, ...]
    truncated: bool


@dataclass(frozen=True, slots=True)
class TokenizeResult:
    """Split texts, in order, and the name of the model."""

    texts: tuple[TokenizedText, ...]
    model: str


@dataclass(frozen=True, slots=True)
class LoadResult:
    """A model that is served now.

    Attributes:
        model: the model.
        outcome: what there was to do: `loaded`, `replaced` (another of that name, or the same from
            other files), or `unchanged`.
        collections: the first collections, by name, whose vectors another model of that name made,
            and which refuse texts therefore.
        collection_count: how many such collections there are.
    """

    model: Model
    outcome: LoadOutcome
    collections: tuple[str, ...] = ()
    collection_count: int = 0


@dataclass(frozen=True, slots=True)
class UnloadResult:
    """A model is served no more.

    Attributes:
        collections: its first collections, by name: their texts cannot be encoded until it is back.
        collection_count: how many collections it has.
    """

    collections: tuple[str, ...] = ()
    collection_count: int = 0


@dataclass(frozen=True, slots=True)
class UpsertResult:
    """What became of the documents of one upsert.

    Attributes:
        errors: of the refused documents, by position; empty when all were applied.
        applied: number of documents applied.
        sequence: number of the write.
        truncated: positions of documents whose text was longer than the model takes.
        capped: positions of documents that lost terms to the model's greatest number.
        timings: where the time went.
        repeated: whether they were applied before, under the same request id, and not again now.
        fingerprint: of the identity of the collection's model.
        execution: how the model ran; None where every document came with a vector.
    """

    errors: dict[int, SparsegateError]
    applied: int
    sequence: int
    truncated: tuple[int, ...]
    capped: tuple[int, ...]
    timings: Timings
    repeated: bool = False
    fingerprint: str = ""
    execution: ModelExecution | None = None

    def raise_for_errors(self) -> UpsertResult:
        """Itself, when every document was applied.

        Raises:
            SparsegateError: the error of the first refused document.
        """
        for _, error in sorted(self.errors.items()):
            raise error
        return self


@dataclass(frozen=True, slots=True)
class UploadProgress:
    """How far a bulk upload has come.

    Attributes:
        acknowledged: documents read from the source whose fate is known.
        applied: of these, applied.
        failed: of these, refused.
        batches: batches acknowledged.
        skipped: of the acknowledged documents, those passed over, because an earlier upload of the
            same stream had an answer to them.
    """

    acknowledged: int
    applied: int
    failed: int
    batches: int
    skipped: int = 0


@dataclass(frozen=True, slots=True)
class UploadSummary:
    """What became of a bulk upload.

    Attributes:
        acknowledged: documents read from the source whose fate is known, from the first on.
        applied: number of documents applied.
        errors: of the refused documents, by position in the source.
        batches: batches acknowledged.
        sequence: number of the last write; 0 when there was none.
        truncated: number of documents whose text was longer than the model takes.
        capped: number of documents that lost terms to the model's greatest number.
        skipped: of the acknowledged documents, those passed over, because an earlier upload of the
            same stream had an answer to them, applied or refused; which, was its to tell.
        stream: name of the stream, by which an interrupted upload can be resumed.
    """

    acknowledged: int
    applied: int
    errors: dict[int, SparsegateError]
    batches: int
    sequence: int
    truncated: int
    capped: int
    skipped: int = 0
    stream: str = ""


@dataclass(frozen=True, slots=True)
class GetResult:
    """The documents that exist, in the order asked for, and the ids that have none, as of the write
    with number `sequence`."""

    documents: tuple[Document, ...]
    missing: tuple[DocumentId, ...]
    sequence: int = 0


@dataclass(frozen=True, slots=True)
class DeleteResult:
    """How many documents were deleted, and the number of the write."""

    deleted: int
    sequence: int


@dataclass(frozen=True, slots=True)
class PayloadResult:
    """Of how many documents the payload was changed, and the number of the write."""

    affected: int
    sequence: int


@dataclass(frozen=True, slots=True)
class ScrollPage:
    """A page of documents in ascending id order.

    Attributes:
        documents: the documents.
        next_after: `after` of the next page; None at the end.
        sequence: number of the last write that the page shows.
        unindexed: fields of the filter that no index covers.
    """

    documents: tuple[Document, ...]
    next_after: DocumentId | None
    sequence: int
    unindexed: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Hit:
    """A found document; payload, text and vector where asked for."""

    id: DocumentId
    score: float
    payload: Payload
    text: str | None
    vector: SparseVector | None


@dataclass(frozen=True, slots=True)
class EncodedQuery:
    """A query as the index sees it: its vector and the vocabulary's strings, in parallel."""

    vector: SparseVector
    terms: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class PassedOver:
    """A model of a ladder that could not encode a query, and why."""

    model: str
    error: SparsegateError


@dataclass(frozen=True, slots=True)
class AnsweringTier:
    """The tier of a collection's ladder that answered.

    Attributes:
        number: its place; 0 is the collection's own model.
        model: name of its model.
        passed_over: the tiers before it, where it stands in for them.
    """

    number: int
    model: str
    passed_over: tuple[PassedOver, ...] = ()


@dataclass(frozen=True, slots=True)
class SearchResult:
    """The result of a search.

    Attributes:
        hits: by descending score; ties by ascending id.
        query: the encoded query, where asked for.
        timings: where the time went.
        truncated: whether the text was longer than the model takes.
        capped: whether query terms were dropped because the model's greatest number was reached.
        fingerprint: of the identity of the model whose vectors were searched.
        sequence: number of the last write that the whole result shows.
        postings_scored: stored term weights that were read.
        unindexed: fields of the filter that no index covers, so that it was evaluated document by
            document; `create_payload_index` makes it fast.
        approximate: whether documents that score higher may have been missed; never so for an exact
            search.
        missed_score: where it is approximate, no missed document scores above it.
        blocks_skipped: blocks of documents that were passed over without reading their weights.
        effort: that was made; 1 is exact.
        execution: how the model ran that encoded the query; None where it came as a vector.
        tier: of the collection's ladder that answered; None where it has no ladder. Scores of
            different tiers are not comparable.
    """

    hits: tuple[Hit, ...]
    query: EncodedQuery | None
    timings: Timings
    truncated: bool
    capped: bool
    fingerprint: str
    sequence: int
    postings_scored: int
    unindexed: tuple[str, ...] = ()
    approximate: bool = False
    missed_score: float | None = None
    blocks_skipped: int = 0
    effort: float = 1.0
    execution: ModelExecution | None = None
    tier: AnsweringTier | None = None


@dataclass(frozen=True, slots=True)
class SearchBatchResult(Batch[SearchResult]):
    """The results of many searches, and where the time of the whole batch went."""

    timings: Timings
