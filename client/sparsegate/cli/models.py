"""`sparsegate models`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import typer

from sparsegate import Client
from sparsegate.cli.options import (
    DEFAULT_ADDRESS,
    DEFAULT_TIMEOUT,
    LONG_TIMEOUT,
    Address,
    AsJson,
    Timeout,
)
from sparsegate.cli.output import complain, show, show_json
from sparsegate.cli.render import model_table, models_table
from sparsegate.types import LoadOutcome

_OUTCOMES: dict[LoadOutcome, str] = {
    "loaded": "{} is served.",
    "replaced": "{} is served in the place of an earlier one.",
    "unchanged": "{} was served already.",
}

ModelArgument = Annotated[str, typer.Argument(metavar="MODEL", help="Name of the model.")]

app = typer.Typer(no_args_is_help=True, help="List, show, load and unload models.")


@app.command("list")
def list_all(
    address: Address = DEFAULT_ADDRESS,
    timeout: Timeout = DEFAULT_TIMEOUT,
    as_json: AsJson = False,
) -> None:
    """List all served models."""
    with Client(address, timeout=timeout) as client:
        models = client.list_models()
    if as_json:
        show_json({"models": models})
    else:
        show(models_table(models))


@app.command("get")
def get(
    name: ModelArgument,
    address: Address = DEFAULT_ADDRESS,
    timeout: Timeout = DEFAULT_TIMEOUT,
    as_json: AsJson = False,
) -> None:
    """Show a served model."""
    with Client(address, timeout=timeout) as client:
        model = client.get_model(name)
    if as_json:
        show_json(model)
    else:
        show(model_table(model))


@app.command("load")
def load(
    name: ModelArgument,
    address: Address = DEFAULT_ADDRESS,
    timeout: Timeout = LONG_TIMEOUT,
    as_json: AsJson = False,
) -> None:
    """Serve a model of the gateway's repository, as its folder has it now."""
    with Client(address, timeout=timeout) as client:
        result = client.load_model(name)
    if as_json:
        show_json(result)
    else:
        show(model_table(result.model), _OUTCOMES[result.outcome].format(name))
    if result.collections:
        complain(
            f"texts are refused by {_named(result.collections, result.collection_count)}, with "
            f"vectors of another model of the name {name}: fill a new collection"
        )


@app.command("unload")
def unload(
    name: ModelArgument,
    address: Address = DEFAULT_ADDRESS,
    timeout: Timeout = LONG_TIMEOUT,
    as_json: AsJson = False,
) -> None:
    """Serve a model no more and free its memory. Its collections stay."""
    with Client(address, timeout=timeout) as client:
        result = client.unload_model(name)
    if as_json:
        show_json(result)
    else:
        show(f"{name} is served no more.")
    if result.collections:
        complain(
            f"texts of {_named(result.collections, result.collection_count)} cannot be encoded "
            f"until {name} is loaded again"
        )


def _named(collections: Sequence[str], count: int, most: int = 10) -> str:
    """The first few, as in `the collections films, books and 3 more`."""
    what = "the collection" if count == 1 else "the collections"
    more = count - len(collections[:most])
    return f"{what} {', '.join(collections[:most])}{f' and {more} more' if more else ''}"
