"""`sparsegate encode` and `sparsegate tokenize`."""

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
    ModelName,
    RefuseLong,
    Timeout,
    on_truncation,
)
from sparsegate.cli.output import complain, show, show_json
from sparsegate.cli.render import expansion_table, tokens_table
from sparsegate.errors import SparsegateError
from sparsegate.results import EncodeResult

Texts = Annotated[list[str], typer.Argument(metavar="TEXT...", help="Texts, each in quotes.")]


class Mode(StrEnum):
    QUERY = "query"
    DOCUMENT = "document"


def encode(
    texts: Texts,
    mode: Annotated[
        Mode, typer.Option("--mode", "-m", help="What the texts are: to search with, or to find.")
    ],
    model: ModelName = "",
    top_k: Annotated[
        int | None, typer.Option("--top-k", min=1, help="Keep only so many terms.")
    ] = None,
    threshold: Annotated[
        float | None, typer.Option("--threshold", min=0, help="Keep only terms that weigh more.")
    ] = None,
    refuse_long: RefuseLong = False,
    address: Address = DEFAULT_ADDRESS,
    timeout: Timeout = DEFAULT_TIMEOUT,
    as_json: AsJson = False,
) -> None:
    """Show the weighted terms that texts become."""
    with Client(address, timeout=timeout) as client:
        result = client.encode(
            texts,
            mode="query" if mode is Mode.QUERY else "document",
            model=model,
            top_k=top_k,
            threshold=threshold,
            with_terms=True,
            on_truncation=on_truncation(refuse_long),
        )
    if as_json:
        show_json(result)
    else:
        _show_tables(texts, result)
    for error in result.errors.values():
        complain(str(error))
    if result.errors:
        raise typer.Exit(1)


def _show_tables(texts: list[str], result: EncodeResult) -> None:
    for text, item in zip(texts, result.items, strict=True):
        if isinstance(item, SparsegateError):
            continue
        show(expansion_table(item, title=text))
        if item.truncated:
            show(f"Only the first {item.tokens_used} tokens were read.")
        if item.capped:
            show("Terms were dropped: the model's greatest number was reached.")


def tokenize(
    texts: Texts,
    model: ModelName = "",
    address: Address = DEFAULT_ADDRESS,
    timeout: Timeout = DEFAULT_TIMEOUT,
    as_json: AsJson = False,
) -> None:
    """Show the tokens that the model reads."""
    with Client(address, timeout=timeout) as client:
        result = client.tokenize(texts, model=model)
    if as_json:
        show_json(result)
        return
    for text, tokens in zip(texts, result.texts, strict=True):
        show(tokens_table(tokens, title=text))
