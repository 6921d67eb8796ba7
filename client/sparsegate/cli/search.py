"""`sparsegate search` and `sparsegate explain`."""

from __future__ import annotations

from typing import Annotated

import typer

from sparsegate import Client
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
from sparsegate.cli.render import expansion_table, explanation_table, missing_terms, search_table
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
    refuse_long: RefuseLong = False,
    address: Address = DEFAULT_ADDRESS,
    timeout: Timeout = DEFAULT_TIMEOUT,
    as_json: AsJson = False,
) -> None:
    """Show the documents that score highest."""
    with Client(address, timeout=timeout) as client:
        result = client.search(
            collection,
            query,
            limit=limit,
            with_payload=True,
            with_text=True,
            with_query=expansion,
            on_truncation=on_truncation(refuse_long),
        )
    if as_json:
        show_json(result)
        return
    show(search_table(result, payload or ()), _summary(result))
    if result.query is not None:
        show(expansion_table(result.query, title="The query's terms"))


def _summary(result: SearchResult) -> str:
    parts = [f"{len(result.hits)} hits in {result.timings.total_ms:.1f} ms"]
    if result.truncated:
        parts.append("only the beginning of the query was read")
    if result.capped:
        parts.append("some of the query's terms were dropped")
    return "; ".join(parts)


def explain(
    collection: CollectionName,
    query: Query,
    id: Annotated[str, typer.Argument(metavar="ID", help="Id of the document.")],
    id_type: IdTypeOption = IdType.AUTO,
    refuse_long: RefuseLong = False,
    address: Address = DEFAULT_ADDRESS,
    timeout: Timeout = DEFAULT_TIMEOUT,
    as_json: AsJson = False,
) -> None:
    """Show term by term how a document scores for a query."""
    wanted = parse_id(id, id_type)
    with Client(address, timeout=timeout) as client:
        explanation = client.explain(
            collection, query, wanted, on_truncation=on_truncation(refuse_long)
        )
    if as_json:
        show_json(explanation)
        return
    title = f"{format_id(explanation.id)} for “{query}”"
    show(explanation_table(explanation, title=title), missing_terms(explanation))
