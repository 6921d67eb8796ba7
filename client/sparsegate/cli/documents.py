"""`sparsegate get`, `delete`, `count` and `scroll`."""

from __future__ import annotations

from typing import Annotated

import typer

from sparsegate import Client
from sparsegate.cli.criteria import FilterOption, SomeIds, parse_filter, parse_target
from sparsegate.cli.ids import format_id, parse_id
from sparsegate.cli.options import (
    DEFAULT_ADDRESS,
    DEFAULT_TIMEOUT,
    Address,
    AsJson,
    CollectionName,
    IdType,
    IdTypeOption,
    Timeout,
    WithVector,
)
from sparsegate.cli.output import answer, complain, show, show_json
from sparsegate.cli.render import documents_table

Ids = Annotated[list[str], typer.Argument(metavar="ID...", help="Ids of documents.")]


def get(
    collection: CollectionName,
    ids: Ids,
    id_type: IdTypeOption = IdType.AUTO,
    with_vector: WithVector = False,
    address: Address = DEFAULT_ADDRESS,
    timeout: Timeout = DEFAULT_TIMEOUT,
    as_json: AsJson = False,
) -> None:
    """Show documents. Fails when one does not exist."""
    wanted = [parse_id(text, id_type) for text in ids]
    with Client(address, timeout=timeout) as client:
        result = client.get(collection, wanted, with_vector=with_vector)
    if as_json:
        show_json(result)
    elif result.documents:
        show(documents_table(result.documents, with_vector=with_vector))
    for id in result.missing:
        complain(f"{collection} has no document {format_id(id)}")
    if result.missing:
        raise typer.Exit(1)


def delete(
    collection: CollectionName,
    ids: SomeIds = None,
    filter: FilterOption = None,
    id_type: IdTypeOption = IdType.AUTO,
    address: Address = DEFAULT_ADDRESS,
    timeout: Timeout = DEFAULT_TIMEOUT,
    as_json: AsJson = False,
) -> None:
    """Delete documents, by id or all that pass a filter; ids without one are passed over."""
    wanted, passing = parse_target(ids, id_type, filter)
    with Client(address, timeout=timeout) as client:
        result = client.delete(collection, wanted, filter=passing)
    told = f"Deleted {result.deleted}{f' of {len(wanted)}' if wanted else ''}."
    answer(result, told, as_json=as_json)


def count(
    collection: CollectionName,
    filter: FilterOption = None,
    address: Address = DEFAULT_ADDRESS,
    timeout: Timeout = DEFAULT_TIMEOUT,
    as_json: AsJson = False,
) -> None:
    """Count the documents of a collection, or those that pass a filter."""
    passing = parse_filter(filter)
    with Client(address, timeout=timeout) as client:
        number = client.count(collection, filter=passing)
    answer({"count": number}, str(number), as_json=as_json)


def scroll(
    collection: CollectionName,
    after: Annotated[str | None, typer.Option("--after", help="Begin after this id.")] = None,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, help="Documents to show.")] = 20,
    filter: FilterOption = None,
    id_type: IdTypeOption = IdType.AUTO,
    with_vector: WithVector = False,
    address: Address = DEFAULT_ADDRESS,
    timeout: Timeout = DEFAULT_TIMEOUT,
    as_json: AsJson = False,
) -> None:
    """Show a page of documents, by ascending id."""
    start = None if after is None else parse_id(after, id_type)
    passing = parse_filter(filter)
    with Client(address, timeout=timeout) as client:
        page = client.scroll(
            collection, after=start, limit=limit, filter=passing, with_vector=with_vector
        )
    if as_json:
        show_json(page)
        return
    show(documents_table(page.documents, with_vector=with_vector))
    if page.next_after is not None:
        show(f"More: --after {format_id(page.next_after)}")
