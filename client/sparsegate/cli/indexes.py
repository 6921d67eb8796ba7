"""`sparsegate collections index`."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from sparsegate import Client
from sparsegate.cli.options import (
    DEFAULT_ADDRESS,
    DEFAULT_TIMEOUT,
    Address,
    AsJson,
    CollectionName,
    Timeout,
)
from sparsegate.cli.output import answer, complain
from sparsegate.cli.render import indexes_table
from sparsegate.types import PayloadIndex

app = typer.Typer(no_args_is_help=True, help="Index payload fields, so that filters are fast.")

Field = Annotated[
    str, typer.Argument(metavar="FIELD", help="Path into the payload, as in a filter: a.b[].c")
]


class Kind(StrEnum):
    KEYWORD = "keyword"
    NUMBER = "number"
    BOOL = "bool"
    DATETIME = "datetime"
    TEXT = "text"


@app.command("create")
def create(
    collection: CollectionName,
    field: Field,
    kind: Annotated[Kind, typer.Option("--kind", "-k", help="What to look for in the field.")],
    address: Address = DEFAULT_ADDRESS,
    timeout: Timeout = DEFAULT_TIMEOUT,
    as_json: AsJson = False,
) -> None:
    """Declare an index, which is built in the background."""
    with Client(address, timeout=timeout) as client:
        client.create_payload_index(collection, field, kind.value)
        _show(client.get_collection(collection).payload_indexes, as_json)


@app.command("delete")
def delete(
    collection: CollectionName,
    field: Field,
    address: Address = DEFAULT_ADDRESS,
    timeout: Timeout = DEFAULT_TIMEOUT,
    as_json: AsJson = False,
) -> None:
    """Drop an index; nothing happens if there is none."""
    with Client(address, timeout=timeout) as client:
        deleted = client.delete_payload_index(collection, field)
        _show(client.get_collection(collection).payload_indexes, as_json)
    if not deleted:
        complain(f"{collection} had no index of {field}")


@app.command("list")
def list_all(
    collection: CollectionName,
    address: Address = DEFAULT_ADDRESS,
    timeout: Timeout = DEFAULT_TIMEOUT,
    as_json: AsJson = False,
) -> None:
    """List the indexes of a collection."""
    with Client(address, timeout=timeout) as client:
        _show(client.get_collection(collection).payload_indexes, as_json)


def _show(indexes: tuple[PayloadIndex, ...], as_json: bool) -> None:
    answer({"payload_indexes": indexes}, indexes_table(indexes), as_json=as_json)
