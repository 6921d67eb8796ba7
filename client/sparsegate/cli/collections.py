"""`sparsegate collections`."""

from __future__ import annotations

from typing import Annotated

import typer

from sparsegate import Client
from sparsegate.cli.options import (
    DEFAULT_ADDRESS,
    DEFAULT_TIMEOUT,
    Address,
    AsJson,
    CollectionName,
    ModelName,
    Timeout,
)
from sparsegate.cli.output import plain, show, show_json
from sparsegate.cli.render import collections_table, facts_table
from sparsegate.types import Collection

app = typer.Typer(no_args_is_help=True, help="Create, list, show and delete collections.")


@app.command("create")
def create(
    name: CollectionName,
    model: ModelName = "",
    shards: Annotated[
        int | None, typer.Option("--shards", help="Parts that are searched in parallel.")
    ] = None,
    address: Address = DEFAULT_ADDRESS,
    timeout: Timeout = DEFAULT_TIMEOUT,
    as_json: AsJson = False,
) -> None:
    """Create an empty collection."""
    with Client(address, timeout=timeout) as client:
        _show(client.create_collection(name, model=model, shards=shards), as_json)


@app.command("list")
def list_all(
    address: Address = DEFAULT_ADDRESS,
    timeout: Timeout = DEFAULT_TIMEOUT,
    as_json: AsJson = False,
) -> None:
    """List all collections."""
    with Client(address, timeout=timeout) as client:
        collections = client.list_collections()
    if as_json:
        show_json({"collections": collections})
    else:
        show(collections_table(collections))


@app.command("get")
def get(
    name: CollectionName,
    address: Address = DEFAULT_ADDRESS,
    timeout: Timeout = DEFAULT_TIMEOUT,
    as_json: AsJson = False,
) -> None:
    """Show a collection."""
    with Client(address, timeout=timeout) as client:
        _show(client.get_collection(name), as_json)


@app.command("delete")
def delete(
    name: CollectionName,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    address: Address = DEFAULT_ADDRESS,
    timeout: Timeout = DEFAULT_TIMEOUT,
    as_json: AsJson = False,
) -> None:
    """Delete a collection with all its documents."""
    if not yes:
        typer.confirm(f"Delete {name} with all its documents?", abort=True, err=True)
    with Client(address, timeout=timeout) as client:
        client.delete_collection(name)
    if as_json:
        show_json({"deleted": name})
    else:
        show(f"Deleted {name}.")


def _show(collection: Collection, as_json: bool) -> None:
    if as_json:
        show_json(collection)
    else:
        show(facts_table(plain(collection)))
