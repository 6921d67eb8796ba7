"""What Explain returns."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

from sparsegate.results import AnsweringTier
from sparsegate.types import DocumentId, ModelExecution, Timings

SourceState: TypeAlias = Literal["known", "no positions", "no text", "other vector", "unavailable"]
"""Whether the tokens that a text's terms came from are known, and if not, why:

- `no positions`: the model does not say; export it with `--positions`.
- `no text`: the query came as a vector, the document has no text, or the collection keeps none.
- `other vector`: the document's stored vector is not, or not altogether, what the model makes of
  its text: it came with the document, or was made in another precision. Only terms whose weights
  agree have a source.
- `unavailable`: the document's text could not be encoded again just now.
"""


@dataclass(frozen=True, slots=True)
class SourceToken:
    """The token of a text that put a term into its vector.

    Attributes:
        position: its place among the text's tokens, special ones included, from 0.
        text: its characters as they are in the text, of long ones the first 256; the vocabulary's
            string where it stands for none, as `[CLS]` does.
        start: first character of the text that it stands for.
        end: one past the last; equal to `start` for special tokens.
        word: the whole word that it is a piece of.
    """

    position: int
    text: str
    start: int
    end: int
    word: str


@dataclass(frozen=True, slots=True)
class TermContribution:
    """What one term brings to a score.

    Attributes:
        term_id: the term.
        term: the vocabulary's string for it.
        query_weight: its weight in the query.
        document_weight: its weight in the document; zero where the document lacks it.
        contribution: the product of the two.
        query_source: token of the query that it came from, where that is known.
        document_source: token of the document that it came from, where that is known.
    """

    term_id: int
    term: str
    query_weight: float
    document_weight: float
    contribution: float
    query_source: SourceToken | None = None
    document_source: SourceToken | None = None


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
        query_source: token of the query that it came from, where that is known.
        document_source: token of the document that it came from, where that is known.
    """

    term_id: int
    term: str
    query_weight: float
    document_weight: float
    bar_weight: float
    difference: float
    query_source: SourceToken | None = None
    document_source: SourceToken | None = None


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
        execution: how the model ran that encoded the query; None where it came as a vector.
        query_sources: whether the tokens of the query that terms came from are known; None where
            the gateway is older.
        document_sources: whether those of the document are.
        tier: of the collection's ladder that it is about; None where that has no ladder.
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
    execution: ModelExecution | None = None
    query_sources: SourceState | None = None
    document_sources: SourceState | None = None
    tier: AnsweringTier | None = None
