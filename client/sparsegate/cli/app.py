"""All commands, and how they fail."""

from __future__ import annotations

import sys
from importlib.metadata import version
from typing import Annotated

import typer

from sparsegate.cli import (
    calibrate,
    collections,
    documents,
    encode,
    models,
    payload,
    search,
    snapshots,
    upsert,
)
from sparsegate.cli.output import complain
from sparsegate.errors import SparsegateError, Unavailable

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Neural sparse search: text in, ranked and explained results out.",
    epilog="Where an ID is asked for, digits are an integer and anything else is a string; "
    "quoted digits ('\"42\"') or --id-type string are a string.",
)
app.command("encode")(encode.encode)
app.command("tokenize")(encode.tokenize)
app.add_typer(collections.app, name="collections")
app.command("upsert")(upsert.upsert)
app.command("get")(documents.get)
app.command("delete")(documents.delete)
app.command("count")(documents.count)
app.command("scroll")(documents.scroll)
app.add_typer(payload.app, name="payload")
app.command("search")(search.search)
app.command("explain")(search.explain)
app.command("calibrate")(calibrate.calibrate)
app.add_typer(snapshots.app, name="snapshots")
app.add_typer(models.app, name="models")


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"sparsegate {version('sparsegate')}")
        raise typer.Exit


@app.callback()
def root(
    show_version: Annotated[
        bool,
        typer.Option("--version", callback=_print_version, is_eager=True, help="Show the version."),
    ] = False,
) -> None:
    """Options of no command."""


def run() -> None:
    try:
        app()
    except SparsegateError as error:
        complain(f"{error}{_hint(error)}")
        sys.exit(1)


def _hint(error: SparsegateError) -> str:
    """What to do when nobody answered; a gateway that answers gives its reason itself."""
    if isinstance(error, Unavailable) and not error.reason:
        return " (is a gateway running there? --address or SPARSEGATE_ADDRESS name another)"
    return ""
