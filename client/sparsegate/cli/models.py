"""`sparsegate models`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Annotated, Any

import typer
from rich.table import Table

from sparsegate import Client
from sparsegate.cli.identity import model_facts
from sparsegate.cli.options import (
    DEFAULT_ADDRESS,
    DEFAULT_TIMEOUT,
    LONG_TIMEOUT,
    Address,
    AsJson,
    Timeout,
)
from sparsegate.cli.output import answer, cell, complain
from sparsegate.cli.render import facts_table, make_table
from sparsegate.types import LoadOutcome, Model

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
    answer({"models": models}, models_table(models), as_json=as_json)


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
    answer(model, model_table(model), as_json=as_json)


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
    told = _OUTCOMES[result.outcome].format(name)
    answer(result, model_table(result.model), told, as_json=as_json)
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
    answer(result, f"{name} is served no more.", as_json=as_json)
    if result.collections:
        complain(
            f"texts of {_named(result.collections, result.collection_count)} cannot be encoded "
            f"until {name} is loaded again"
        )


def models_table(models: Iterable[Model]) -> Table:
    """A row a model, in the words of `sparsegate-server model list`."""
    table = make_table()
    headings = ("model", "family", "queries", "inference", "precision", "ready", "max length")
    for heading in headings:
        # No name is cut short where the terminal is narrow.
        table.add_column(heading, overflow="fold")
    for model in models:
        facts = in_words(model)
        table.add_row(
            cell(model.name),
            cell(facts["family"]),
            cell(facts.get("queries", "")),
            cell(model.backend),
            cell(model.precision),
            "yes" if model.ready else "no",
            str(model.max_length),
        )
    return table


def model_table(model: Model) -> Table:
    """One model, field by field."""
    return facts_table(in_words(model))


def in_words(model: Model) -> dict[str, Any]:
    """A model's fields as `sparsegate-server model list` and its options call them.

    `inference` is where the gateway has graphs run; `triton backend`, and `device`, are what runs
    this one where that is Triton.
    """
    facts = model_facts(model)
    summed = model.identity is not None and model.identity.pooling == "sum"
    words = {"family": f"{model.family}-sum" if summed else model.family}
    names = {"backend": "inference"}
    return {names.get(name, name): value for name, value in (facts | words).items()}


def _named(collections: Sequence[str], count: int, most: int = 10) -> str:
    """The first few, as in `the collections films, books and 3 more`."""
    what = "the collection" if count == 1 else "the collections"
    more = count - len(collections[:most])
    return f"{what} {', '.join(collections[:most])}{f' and {more} more' if more else ''}"
