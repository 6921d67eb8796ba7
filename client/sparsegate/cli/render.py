"""Tables of results."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from datetime import UTC
from typing import Any

from rich import filesize
from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from sparsegate.cli.identity import identity_words
from sparsegate.cli.ids import format_id
from sparsegate.cli.output import cell, plain
from sparsegate.results import EncodedQuery, Encoding, Hit, SearchResult, TokenizedText
from sparsegate.types import (
    Alias,
    Calibration,
    Collection,
    Document,
    PayloadIndex,
    Snapshot,
    SparseVector,
)

SNIPPET = 80
BAR = 20
TARGETS = (0.9, 0.95, 0.97, 0.99)


def search_table(
    result: SearchResult, fields: Sequence[str] = (), *, title: str | None = None, offset: int = 0
) -> Table:
    """Hits by rank.

    Args:
        result: searched with payload and text, as far as they are to be shown.
        fields: payload fields to show, each in a column; none shows the beginning of the text, or
            of the payload where there is none.
        title: above the table.
        offset: hits that were passed over.
    """
    table = make_table(title)
    table.add_column("rank", justify="right")
    table.add_column("score", justify="right")
    table.add_column("id")
    for name in fields or (_gist_heading(result),):
        table.add_column(cell(name))
    for rank, hit in enumerate(result.hits, offset + 1):
        shown = [hit.payload.get(name) for name in fields] if fields else [_gist(hit)]
        table.add_row(
            str(rank), f"{hit.score:.4f}", cell(format_id(hit.id)), *map(_value_cell, shown)
        )
    return table


def expansion_table(
    query: EncodedQuery | Encoding, limit: int | None = None, *, title: str | None = None
) -> Table:
    """Terms by descending weight, the greatest `limit` of them."""
    table = make_table(title)
    table.add_column("term")
    table.add_column("term id", justify="right")
    table.add_column("weight", justify="right")
    table.add_column("")
    terms = query.terms or ("",) * len(query.vector)
    rows = sorted(
        zip(query.vector.values, query.vector.indices, terms, strict=True),
        key=lambda row: (-row[0], row[1]),
    )
    greatest = rows[0][0] if rows else 1.0
    for weight, term_id, term in rows[:limit]:
        table.add_row(cell(term), str(term_id), f"{weight:.4f}", _bar(weight / greatest))
    tell_rest(table, len(rows), limit)
    return table


def tokens_table(text: TokenizedText, *, title: str | None = None) -> Table:
    table = make_table(title)
    for heading in ("token", "token id", "start", "end"):
        table.add_column(heading, justify="left" if heading == "token" else "right")
    for token in text.tokens:
        table.add_row(cell(token.text), str(token.id), str(token.start), str(token.end))
    if text.truncated:
        table.caption = "The text had more tokens than the model takes."
    return table


def collections_table(collections: Iterable[Collection]) -> Table:
    table = make_table()
    table.add_column("collection")
    table.add_column("model")
    for heading in ("documents", "shards", "sequence"):
        table.add_column(heading, justify="right")
    table.add_column("aliases")
    for item in collections:
        table.add_row(
            cell(item.name),
            cell(item.model),
            f"{item.documents:,}",
            str(item.shards),
            str(item.sequence),
            cell(", ".join(item.aliases)),
        )
    return table


def collection_table(collection: Collection) -> Table:
    """One collection, field by field."""
    facts = plain(collection)
    facts["payload_indexes"] = ", ".join(
        f"{index.field} ({index.kind}{'' if index.ready else ', building'})"
        for index in collection.payload_indexes
    )
    facts["aliases"] = ", ".join(collection.aliases)
    if measured := collection.calibration:
        sample = f"{measured.queries:,} queries, {measured.limit} hits each"
        facts["calibration"] = f"{sample}, {measured.documents:,} documents then"
    facts["identity"] = identity_words(collection.identity)
    if not collection.model_problem:
        del facts["model_problem"]
    facts["ladder"] = ", ".join(tier.model for tier in collection.ladder)
    ran = collection.execution
    facts["execution"] = f"{ran.precision} on {ran.backend}, when it was created" if ran else ""
    return facts_table(facts)


def calibration_table(calibration: Calibration) -> Table:
    """What each effort found and cost."""
    table = make_table()
    headings = ("effort", f"recall@{calibration.limit}", "at least", "postings", "ms")
    for heading in headings:
        table.add_column(heading, justify="right")
    for point in calibration.points:
        table.add_row(
            f"{point.effort:g}",
            f"{point.recall:.4f}",
            f"{point.recall_bound:.4f}",
            f"{point.postings_scored:,.0f}",
            f"{point.milliseconds:.3f}",
        )
    table.caption = (
        f"means of {calibration.queries:,} queries; “at least” holds with"
        f" {calibration.confidence:.0%} confidence"
    )
    return table


def targets_met(calibration: Calibration) -> Text:
    """The efforts that usual targets take, in one line."""
    chosen = [(target, calibration.effort_for(target)) for target in TARGETS]
    told = ", ".join(
        f"{target:g} → {'exact' if effort == 1 else f'{effort:g}'}" for target, effort in chosen
    )
    return cell(f"Target recall → effort: {told}.")


def aliases_table(aliases: Iterable[Alias]) -> Table:
    table = make_table()
    table.add_column("alias")
    table.add_column("collection")
    for item in aliases:
        table.add_row(cell(item.alias), cell(item.collection))
    return table


def indexes_table(indexes: Iterable[PayloadIndex]) -> Table:
    table = make_table()
    for heading in ("field", "kind", "ready"):
        table.add_column(heading)
    for item in indexes:
        table.add_row(cell(item.field), item.kind, "yes" if item.ready else "no")
    return table


def snapshots_table(snapshots: Iterable[Snapshot]) -> Table:
    table = make_table()
    table.pad_edge = False
    # Its whole name is what other commands ask for; where it is too long, it alone is folded.
    table.add_column("snapshot", overflow="fold")
    for heading in ("documents", "size"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("created (UTC)", no_wrap=True)
    for item in snapshots:
        table.add_row(
            cell(item.name),
            f"{item.documents:,}",
            filesize.decimal(item.bytes),
            f"{item.created.astimezone(UTC):%Y-%m-%d %H:%M}",
        )
    return table


def documents_table(documents: Iterable[Document], *, with_vector: bool = False) -> Table:
    table = make_table()
    for heading in ("id", "text", "payload", *(["terms"] if with_vector else [])):
        table.add_column(heading)
    for document in documents:
        cells = [
            format_id(document.id),
            _snippet(document.text or ""),
            _snippet(_json(document.payload)) if document.payload else "",
        ]
        if with_vector:
            cells.append(_snippet(_weights(document.vector)))
        table.add_row(*map(cell, cells))
    return table


def facts_table(facts: dict[str, Any]) -> Table:
    """One thing, field by field."""
    table = make_table(show_header=False)
    table.add_column("field", style="bold")
    table.add_column("value")
    for name, value in facts.items():
        table.add_row(name.replace("_", " "), _value_cell(value))
    return table


def make_table(
    title: str | None = None, *, show_header: bool = True, show_footer: bool = False
) -> Table:
    return Table(
        title=None if title is None else cell(title),
        title_justify="left",
        caption_justify="left",
        box=SIMPLE_HEAD,
        show_header=show_header,
        show_footer=show_footer,
    )


def tell_rest(table: Table, total: int, limit: int | None) -> None:
    if limit is not None and total > limit:
        table.caption = f"and {total - limit} more"


def _gist_heading(result: SearchResult) -> str:
    """What the gists are."""
    with_text = [bool(hit.text) for hit in result.hits if hit.text or hit.payload]
    return "text" if all(with_text) else "text or payload" if any(with_text) else "payload"


def _gist(hit: Hit) -> str:
    return _snippet(hit.text) if hit.text else _snippet(_json(hit.payload)) if hit.payload else ""


def _snippet(text: str) -> str:
    line = " ".join(text[: 4 * SNIPPET].split())
    return line if len(line) <= SNIPPET else f"{line[: SNIPPET - 1]}…"


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def _weights(vector: SparseVector | None) -> str:
    """Term ids with their weights, the greatest first."""
    if vector is None:
        return ""
    pairs = sorted(zip(vector.values, vector.indices, strict=True), reverse=True)
    return ", ".join(f"{term_id}: {weight:.2f}" for weight, term_id in pairs)


def _value_cell(value: Any) -> Text:
    if value is None:
        return Text("")
    return cell(value if isinstance(value, str) else _json(value))


def _bar(share: float) -> str:
    return "━" * max(1, round(share * BAR))
