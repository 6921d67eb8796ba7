"""`sparsegate models`."""

from __future__ import annotations

from typing import Annotated

import typer

from sparsegate import Client
from sparsegate.cli.options import DEFAULT_ADDRESS, DEFAULT_TIMEOUT, Address, AsJson, Timeout
from sparsegate.cli.output import plain, show, show_json
from sparsegate.cli.render import facts_table, models_table

app = typer.Typer(no_args_is_help=True, help="List and show the served models.")


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
    name: Annotated[str, typer.Argument(metavar="MODEL", help="Name of the model.")],
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
        show(facts_table(plain(model)))
