"""What the calls return."""

from __future__ import annotations

from dataclasses import dataclass

from sparsegate.errors import SparsegateError
from sparsegate.types import Batch, Document, DocumentId, Payload, SparseVector, Timings


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
    """

    model: str
    fingerprint: str
    timings: Timings


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
    """

    errors: dict[int, SparsegateError]
    applied: int
    sequence: int
    truncated: tuple[int, ...]
    capped: tuple[int, ...]
    timings: Timings
    repeated: bool = False

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
class SearchResult:
    """The result of a search.

    Attributes:
        hits: by descending score; ties by ascending id.
        query: the encoded query, where asked for.
        timings: where the time went.
        truncated: whether the text was longer than the model takes.
        capped: whether query terms were dropped because the model's greatest number was reached.
        fingerprint: of the model's identity.
        sequence: number of the last write that the whole result shows.
        postings_scored: stored term weights that were read.
        unindexed: fields of the filter that no index covers, so that it was evaluated document by
            document; `create_payload_index` makes it fast.
        approximate: whether documents that score higher may have been missed; never so for an exact
            search.
        missed_score: where it is approximate, no missed document scores above it.
        blocks_skipped: blocks of documents that were passed over without reading their weights.
        effort: that was made; 1 is exact.
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


@dataclass(frozen=True, slots=True)
class SearchBatchResult(Batch[SearchResult]):
    """The results of many searches, and where the time of the whole batch went."""

    timings: Timings


@dataclass(frozen=True, slots=True)
class TermContribution:
    """What one term brings to a score.

    Attributes:
        term_id: the term.
        term: the vocabulary's string for it.
        query_weight: its weight in the query.
        document_weight: its weight in the document; zero where the document lacks it.
        contribution: the product of the two.
    """

    term_id: int
    term: str
    query_weight: float
    document_weight: float
    contribution: float


@dataclass(frozen=True, slots=True)
class TermGap:
    """How one term sets a document back behind another.

    Attributes:
        term_id: the term.
        term: the vocabulary's string for it.
        query_weight: its weight in the query.
        document_weight: its weight in the document; zero where the document lacks it.
        bar_weight: its weight in the other; zero where that lacks it.
        difference: query_weight × (bar_weight - document_weight).
    """

    term_id: int
    term: str
    query_weight: float
    document_weight: float
    bar_weight: float
    difference: float


@dataclass(frozen=True, slots=True)
class Bar:
    """The last hit of a search, which a document must pass to be returned."""

    id: DocumentId
    score: float


@dataclass(frozen=True, slots=True)
class Explanation:
    """A score, term by term, and where it stands in the search.

    Attributes:
        id: the document.
        score: its score, the same as a search returns. Zero where no term is shared.
        matched: whether the document shares a term with the query, and so can be found by it.
        terms: shared terms, by descending contribution.
        missing: the query's terms that the document lacks, by descending query weight.
        fingerprint: of the model's identity.
        truncated: whether the query was longer than the model takes.
        capped: whether query terms were dropped because the model's greatest number was reached.
        sequence: number of the last write that the explanation shows.
        timings: where the time went.
        rank: its place, from 1, among all documents that match and pass; None if it is not one.
        returned: whether the search returns it.
        dropped_by: the clause that drops it, as in `filter.must[1]` or `must_contain[0]`, or "".
        below_threshold: whether the threshold drops it.
        bar: the last hit that the search returns, if there is any.
        gap: by how much its score is below the bar's; None where it is returned, or not below.
        closing: the smallest set of terms, the greatest difference first, that would close the gap
            if the document had the bar's weights there.
        unindexed: fields of the filter that no index covers.
    """

    id: DocumentId
    score: float
    matched: bool
    terms: tuple[TermContribution, ...]
    missing: tuple[TermContribution, ...]
    fingerprint: str
    truncated: bool
    capped: bool
    sequence: int
    timings: Timings
    rank: int | None = None
    returned: bool = False
    dropped_by: str = ""
    below_threshold: bool = False
    bar: Bar | None = None
    gap: float | None = None
    closing: tuple[TermGap, ...] = ()
    unindexed: tuple[str, ...] = ()
