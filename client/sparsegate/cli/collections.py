"""`sparsegate collections`."""

from __future__ import annotations

from typing import Annotated

import typer

from sparsegate import Client
from sparsegate.cli import aliases, copy, indexes
from sparsegate.cli.options import (
    DEFAULT_ADDRESS,
    DEFAULT_TIMEOUT,
    LONG_TIMEOUT,
    Address,
    AsJson,
    CollectionName,
    ModelName,
    Timeout,
)
from sparsegate.cli.output import answer, complain
from sparsegate.cli.render import collection_table, collections_table
from sparsegate.cli.tiers import Ladder
from sparsegate.types import Collection

app = typer.Typer(no_args_is_help=True, help="Create, list, show, copy and delete collections.")
app.command("copy")(copy.copy)
app.add_typer(aliases.app, name="alias")
app.add_typer(indexes.app, name="index")


@app.command("create")
def create(
    name: CollectionName,
    model: ModelName = "",
    shards: Annotated[
        int | None, typer.Option("--shards", help="Parts that are searched in parallel.")
    ] = None,
    no_text: Annotated[
        bool,
        typer.Option("--no-text", help="Forget texts once they are encoded: smaller, but mute."),
    ] = False,
    ladder: Ladder = None,
    address: Address = DEFAULT_ADDRESS,
    timeout: Timeout = DEFAULT_TIMEOUT,
    as_json: AsJson = False,
) -> None:
    """Create an empty collection."""
    with Client(address, timeout=timeout) as client:
        created = client.create_collection(
            name, model=model, shards=shards, keep_text=not no_text, ladder=ladder or ()
        )
    _show(created, as_json)


@app.command("list")
def list_all(
    address: Address = DEFAULT_ADDRESS,
    timeout: Timeout = DEFAULT_TIMEOUT,
    as_json: AsJson = False,
) -> None:
    """List all collections."""
    with Client(address, timeout=timeout) as client:
        collections = client.list_collections()
        problems = client.collection_problems()
    every = {"collections": collections, "problems": problems}
    answer(every, collections_table(collections), as_json=as_json)
    for collection in collections:
        if collection.problem:
            complain(f"{collection.name} has a problem: {collection.problem}")
        if collection.model_problem:
            complain(f"{collection.name} cannot encode texts: {collection.model_problem}")
    for name, problem in problems.items():
        complain(f"{name} cannot be read: {problem}")


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


@app.command("optimize")
def optimize(
    name: CollectionName,
    address: Address = DEFAULT_ADDRESS,
    timeout: Timeout = LONG_TIMEOUT,
    as_json: AsJson = False,
) -> None:
    """Merge each shard to one segment without dead documents, and wait until that is done."""
    with Client(address) as client:
        _show(client.optimize(name, timeout=timeout), as_json)


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
    answer({"deleted": name}, f"Deleted {name}.", as_json=as_json)


def _show(collection: Collection, as_json: bool) -> None:
    answer(collection, collection_table(collection), as_json=as_json)
