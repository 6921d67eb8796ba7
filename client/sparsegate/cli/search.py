"""`sparsegate search` and `sparsegate explain`."""

from __future__ import annotations

from typing import Annotated

import typer

from sparsegate import Client
from sparsegate.cli.criteria import (
    Effort,
    FilterOption,
    Idf,
    MustContain,
    Offset,
    TargetRecall,
    Threshold,
    parse_filter,
)
from sparsegate.cli.explanation import (
    closing_table,
    explanation_table,
    missing_terms,
    standing,
    unknown_sources,
)
from sparsegate.cli.ids import format_id, parse_id
from sparsegate.cli.options import (
    DEFAULT_ADDRESS,
    DEFAULT_TIMEOUT,
    Address,
    AsJson,
    CollectionName,
    IdType,
    IdTypeOption,
    RefuseLong,
    Timeout,
    on_truncation,
)
from sparsegate.cli.output import show, show_json
from sparsegate.cli.render import expansion_table, search_table
from sparsegate.cli.tiers import Tier, tell_fallback
from sparsegate.results import SearchResult

Query = Annotated[str, typer.Argument(metavar="QUERY", help="What to search for, in quotes.")]


def search(
    collection: CollectionName,
    query: Query,
    limit: Annotated[int, typer.Option("--limit", "-n", help="Greatest number of hits.")] = 10,
    payload: Annotated[
        list[str] | None,
        typer.Option("--payload", "-p", metavar="FIELD", help="Payload field to show; repeatable."),
    ] = None,
    expansion: Annotated[
        bool, typer.Option("--expansion", "-e", help="Also show the query's weighted terms.")
    ] = False,
    filter: FilterOption = None,
    must_contain: MustContain = None,
    offset: Offset = 0,
    threshold: Threshold = None,
    idf: Idf = False,
    effort: Effort = None,
    target_recall: TargetRecall = None,
    tier: Tier = None,
    refuse_long: RefuseLong = False,
    address: Address = DEFAULT_ADDRESS,
    timeout: Timeout = DEFAULT_TIMEOUT,
    as_json: AsJson = False,
) -> None:
    """Show the documents that score highest."""
    passing = parse_filter(filter)
    with Client(address, timeout=timeout) as client:
        result = client.search(
            collection,
            query,
            limit=limit,
            offset=offset,
            score_threshold=threshold,
            filter=passing,
            must_contain=must_contain or (),
            idf=idf,
            with_payload=True,
            with_text=True,
            with_query=expansion,
            on_truncation=on_truncation(refuse_long),
            effort=effort,
            target_recall=target_recall,
            tier=tier,
        )
    if as_json:
        show_json(result)
        return
    show(search_table(result, payload or (), offset=offset), _summary(result))
    if result.query is not None:
        show(expansion_table(result.query, title="The query's terms"))
    tell_fallback(result.tier)


def _summary(result: SearchResult) -> str:
    count = len(result.hits)
    hits = "1 hit" if count == 1 else f"{count} hits"
    parts = [f"{hits} in {result.timings.total_ms:.1f} ms"]
    if result.approximate:
        parts.append(_approximation(result))
    if result.truncated:
        parts.append("only the beginning of the query was read")
    if result.capped:
        parts.append("some of the query's terms were dropped")
    if result.unindexed:
        parts.append(f"no index covers {', '.join(result.unindexed)}")
    return "; ".join(parts)


def _approximation(result: SearchResult) -> str:
    """What may be missing."""
    what = f"approximate, with effort {result.effort:g}"
    if result.missed_score is None:
        return what
    return f"{what}: no missed document scores above {result.missed_score:.4f}"


def explain(
    collection: CollectionName,
    query: Query,
    id: Annotated[str, typer.Argument(metavar="ID", help="Id of the document.")],
    limit: Annotated[
        int, typer.Option("--limit", "-n", help="Hits of the search that this is about.")
    ] = 10,
    filter: FilterOption = None,
    must_contain: MustContain = None,
    offset: Offset = 0,
    threshold: Threshold = None,
    idf: Idf = False,
    tier: Tier = None,
    id_type: IdTypeOption = IdType.AUTO,
    refuse_long: RefuseLong = False,
    address: Address = DEFAULT_ADDRESS,
    timeout: Timeout = DEFAULT_TIMEOUT,
    as_json: AsJson = False,
) -> None:
    """Show term by term how a document scores for a query, and what keeps it out of the hits.

    It is about the search that has the same options.
    """
    wanted, passing = parse_id(id, id_type), parse_filter(filter)
    with Client(address, timeout=timeout) as client:
        explanation = client.explain(
            collection,
            query,
            wanted,
            limit=limit,
            offset=offset,
            score_threshold=threshold,
            filter=passing,
            must_contain=must_contain or (),
            idf=idf,
            on_truncation=on_truncation(refuse_long),
            tier=tier,
        )
    if as_json:
        show_json(explanation)
        return
    tell_fallback(explanation.tier)
    title = f"{format_id(explanation.id)} for “{query}”"
    show(explanation_table(explanation, title=title), missing_terms(explanation))
    show(standing(explanation))
    if explanation.closing:
        show(closing_table(explanation, title="The terms that would close the gap"))
    if unknown := unknown_sources(explanation):
        show(unknown)
