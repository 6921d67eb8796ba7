"""An explanation in tables and in words."""

from __future__ import annotations

from collections.abc import Sequence

from rich.table import Table
from rich.text import Text

from sparsegate.cli.ids import format_id
from sparsegate.cli.output import cell
from sparsegate.cli.render import make_table, tell_rest
from sparsegate.explanation import Explanation, SourceState, SourceToken, TermContribution

_LONGEST = 24
"""Characters of a token that are shown."""

_REASONS: dict[SourceState, str] = {
    "no positions": "export the model with --positions",
    "no text": "its text is not kept",
    "other vector": "its vector is not what the model makes of its text",
    "unavailable": "its text could not be encoded again just now",
}


def explanation_table(
    explanation: Explanation, limit: int | None = None, *, title: str | None = None
) -> Table:
    """Query weight × document weight = contribution, term by term, and their sum, the score; and
    the tokens that the terms came from, as far as they are known.

    Args:
        explanation: of one document.
        limit: greatest number of terms to show; the sum is always of all.
        title: above the table.
    """
    table = make_table(title, show_footer=True)
    table.add_column("term")
    told = "sum, the score" if explanation.matched else "no shared term"
    table.add_column("query × document", told, justify="right", no_wrap=True)
    table.add_column("contribution", f"{explanation.score:.4f}", justify="right", no_wrap=True)
    in_query, in_document = _add_sources(table, explanation.terms)
    for term in explanation.terms[:limit]:
        cells = [
            cell(term.term),
            Text(f"{term.query_weight:.4f} × {term.document_weight:.4f}"),
            Text(f"{term.contribution:.4f}"),
        ]
        if in_query:
            cells.append(_token(term.query_source))
        if in_document:
            cells.append(_token(term.document_source))
        table.add_row(*cells)
    tell_rest(table, len(explanation.terms), limit)
    return table


def missing_terms(explanation: Explanation, limit: int = 10) -> Text:
    """The query's terms that the document lacks, in one line."""
    if not explanation.missing:
        return Text("The document has every term of the query.")
    named = ", ".join(
        f"{term.term} {term.query_weight:.2f}" for term in explanation.missing[:limit]
    )
    more = len(explanation.missing) - limit
    return cell(f"Not in the document: {named}{f' and {more} more' if more > 0 else ''}.")


def standing(explanation: Explanation) -> Text:
    """Where the document stands in the search, in one line or two."""
    lines = []
    if explanation.rank is not None:
        verb = "returned" if explanation.returned else "not returned"
        lines.append(f"Rank {explanation.rank}, {verb}.")
    if explanation.dropped_by:
        lines.append(f"Dropped by {explanation.dropped_by}.")
    if explanation.below_threshold:
        lines.append("Its score is below the threshold.")
    if explanation.bar is not None and explanation.gap is not None:
        bar = f"the last hit, {format_id(explanation.bar.id)} ({explanation.bar.score:.4f})"
        lines.append(f"{explanation.gap:.4f} below {bar}.")
    return cell(" ".join(lines))


def unknown_sources(explanation: Explanation) -> Text:
    """Why it is not told which words the terms came from; empty where it is."""
    query, document = explanation.query_sources, explanation.document_sources
    if query == document and query in _REASONS:
        return Text(f"Which words the terms came from is not known: {_REASONS[query]}.")
    return Text("\n".join(_unknown("query", query) + _unknown("document", document)))


def closing_table(explanation: Explanation, *, title: str | None = None) -> Table:
    """The terms that would close the gap to the last hit."""
    table = make_table(title)
    table.add_column("term")
    for heading in ("query", "document", "last hit", "difference"):
        table.add_column(heading, justify="right", no_wrap=True)
    # The document has few of them: only the query's tokens are told.
    in_query = any(term.query_source for term in explanation.closing)
    if in_query:
        table.add_column("in the query")
    for term in explanation.closing:
        weights = (term.query_weight, term.document_weight, term.bar_weight, term.difference)
        cells = [cell(term.term), *(Text(f"{weight:.4f}") for weight in weights)]
        table.add_row(*cells, *([_token(term.query_source)] if in_query else []))
    return table


def _unknown(whose: str, state: SourceState | None) -> list[str]:
    if state not in _REASONS:
        return []
    known = "known for all" if state == "other vector" else "known"
    reason = _REASONS[state]
    return [f"Which words of the {whose} its terms came from is not {known}: {reason}."]


def _add_sources(table: Table, terms: Sequence[TermContribution]) -> tuple[bool, bool]:
    """Adds a column for each text of which any source is known; whether it did."""
    in_query = any(term.query_source for term in terms)
    in_document = any(term.document_source for term in terms)
    for heading, known in (("in the query", in_query), ("in the document", in_document)):
        if known:
            table.add_column(heading)
    return in_query, in_document


def _token(source: SourceToken | None) -> Text:
    """`band (17–21)`, `ing (21–24) of singing`, or the name alone of what has no characters."""
    if source is None:
        return Text("")
    if source.start == source.end:
        return cell(source.text)
    whole = "" if source.word == source.text else f" of {_short(source.word)}"
    return cell(f"{_short(source.text)} ({source.start}–{source.end}){whole}")


def _short(text: str) -> str:
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"
