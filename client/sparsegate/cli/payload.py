"""`sparsegate payload`."""

from __future__ import annotations

from typing import Annotated

import typer

from sparsegate import Client
from sparsegate.cli.criteria import FilterOption, SomeIds, parse_object, parse_target
from sparsegate.cli.options import (
    DEFAULT_ADDRESS,
    DEFAULT_TIMEOUT,
    Address,
    AsJson,
    CollectionName,
    IdType,
    IdTypeOption,
    Timeout,
)
from sparsegate.cli.output import answer
from sparsegate.results import PayloadResult
from sparsegate.types import DocumentId

app = typer.Typer(no_args_is_help=True, help="Change payloads in place.")


@app.command("set")
def set_fields(
    collection: CollectionName,
    payload: Annotated[
        str, typer.Argument(metavar="PAYLOAD", help='A JSON object: \'{"genre": "comedy"}\'.')
    ],
    ids: SomeIds = None,
    filter: FilterOption = None,
    replace: Annotated[
        bool, typer.Option("--replace", help="Set the whole payload; lose all other fields.")
    ] = False,
    id_type: IdTypeOption = IdType.AUTO,
    address: Address = DEFAULT_ADDRESS,
    timeout: Timeout = DEFAULT_TIMEOUT,
    as_json: AsJson = False,
) -> None:
    """Set fields of payloads; the other fields stay."""
    fields = parse_object(payload, "PAYLOAD")
    wanted, passing = parse_target(ids, id_type, filter)
    with Client(address, timeout=timeout) as client:
        result = client.set_payload(
            collection,
            fields,
            ids=wanted,
            filter=passing,
            mode="replace" if replace else "merge",
        )
    _show(result, wanted, as_json)


@app.command("remove")
def remove_fields(
    collection: CollectionName,
    ids: SomeIds = None,
    keys: Annotated[
        list[str] | None,
        typer.Option("--key", "-k", metavar="FIELD", help="Field to remove; repeatable."),
    ] = None,
    filter: FilterOption = None,
    id_type: IdTypeOption = IdType.AUTO,
    address: Address = DEFAULT_ADDRESS,
    timeout: Timeout = DEFAULT_TIMEOUT,
    as_json: AsJson = False,
) -> None:
    """Remove top-level fields of payloads."""
    if not keys:
        raise typer.BadParameter("name at least one field", param_hint="--key")
    wanted, passing = parse_target(ids, id_type, filter)
    with Client(address, timeout=timeout) as client:
        result = client.remove_payload(collection, keys, ids=wanted, filter=passing)
    _show(result, wanted, as_json)


def _show(result: PayloadResult, ids: list[DocumentId] | None, as_json: bool) -> None:
    told = f"Changed {result.affected}{f' of {len(set(ids))}' if ids else ''}."
    answer(result, told, as_json=as_json)
