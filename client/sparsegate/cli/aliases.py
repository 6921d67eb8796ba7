"""`sparsegate collections alias`."""

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
    Timeout,
)
from sparsegate.cli.output import answer, complain
from sparsegate.cli.render import aliases_table
from sparsegate.types import Alias

app = typer.Typer(no_args_is_help=True, help="Give collections other names.")

AliasName = Annotated[str, typer.Argument(metavar="ALIAS", help="The other name.")]


@app.command("set")
def set_one(
    alias: AliasName,
    collection: CollectionName,
    address: Address = DEFAULT_ADDRESS,
    timeout: Timeout = DEFAULT_TIMEOUT,
    as_json: AsJson = False,
) -> None:
    """Point an alias to a collection, whatever it was before."""
    with Client(address, timeout=timeout) as client:
        _show(client.set_alias(alias, collection), as_json)


@app.command("delete")
def delete(
    alias: AliasName,
    address: Address = DEFAULT_ADDRESS,
    timeout: Timeout = DEFAULT_TIMEOUT,
    as_json: AsJson = False,
) -> None:
    """Remove an alias, if there is one; the collection stays."""
    with Client(address, timeout=timeout) as client:
        before = client.list_aliases()
        _show(client.delete_alias(alias), as_json)
    if alias not in {item.alias for item in before}:
        complain(f"there was no alias {alias}")


@app.command("list")
def list_all(
    address: Address = DEFAULT_ADDRESS,
    timeout: Timeout = DEFAULT_TIMEOUT,
    as_json: AsJson = False,
) -> None:
    """List all aliases."""
    with Client(address, timeout=timeout) as client:
        _show(client.list_aliases(), as_json)


def _show(aliases: list[Alias], as_json: bool) -> None:
    answer({"aliases": aliases}, aliases_table(aliases), as_json=as_json)
