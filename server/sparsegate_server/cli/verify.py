"""`sparsegate-server model verify`, and the same gate before a model is exported."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer
from pydantic import ValidationError
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as RichProgress
from rich.table import Table

from sparsegate_server import settings
from sparsegate_server.cli.console import Steps, err, out, progress, show
from sparsegate_server.cli.options import Repository, repository_of
from sparsegate_server.errors import InferenceFailed, InvalidRequest, ModelSourceError
from sparsegate_server.inference.triton import TritonBackend
from sparsegate_server.models import repository as exporting
from sparsegate_server.models.execution import export_command
from sparsegate_server.models.originals import Originals, originals_of
from sparsegate_server.models.spec import ModelSpec
from sparsegate_server.models.verification import Verification
from sparsegate_server.parity import gate
from sparsegate_server.parity.compare import Progress, Subject, compare
from sparsegate_server.parity.docstrings import docstrings
from sparsegate_server.parity.served import ServedGraphs, connect
from sparsegate_server.parity.texts import read_beir
from sparsegate_server.parity.vectors import Advance

Data = Annotated[
    Path | None,
    typer.Option(
        metavar="BEIR_FOLDER",
        help="The text that graphs are compared on: a folder with corpus.jsonl, queries.jsonl and "
        "qrels/test.tsv.",
        show_default="600 docstrings of Python's standard library",
    ),
]


_TRITON_SECONDS = 120.0
"""For one batch, whatever else the server does."""


class ReferenceChoice(StrEnum):
    """What a graph is compared with."""

    GRAPH = "graph"
    NUMPY = "numpy"
    TORCH = "torch"


def verify(
    name: Annotated[str, typer.Argument(help="An exported model.", show_default=False)],
    data: Data = None,
    reference: Annotated[
        ReferenceChoice | None,
        typer.Option(
            help="graph: the same checkpoint's float32 graph. numpy: the checkpoint's tensors in "
            "float64, on a sample of the text. torch: the checkpoint's files as PyTorch and "
            "transformers run them, which `pip install 'sparsegate\\[server,verify]'` brings.",
            show_default="numpy for a model in fp32, else graph",
        ),
    ] = None,
    triton: Annotated[
        str,
        typer.Option(
            metavar="HOST:PORT",
            help="Compare what this Triton server answers: the graph as its own backend and device "
            "run it, a GPU for instance.",
            show_default="run the graph in this process",
        ),
    ] = "",
    json_file: Annotated[
        Path | None, typer.Option("--json", metavar="FILE", help="Write the figures there as well.")
    ] = None,
    repository: Repository = None,
) -> None:
    """Compare an exported model's graph with its checkpoint, on real text.

    Texts are encoded by both, through the code that serves, and searched with both. fp32 must give
    the same weights to 1e-4; fp16 and int8 must find 98 % of the same ten documents, and keep
    nDCG@10 within 0.005; int8 must be 1.2 times as fast as fp32 besides.

    A model that is not fp32 is served only once it has passed: `model export` does this by itself,
    or takes it with --force. What passes here is recorded beside the graph, in parity.json, and
    `model list` shows it; it counts as long as the files stay what they were. The exit code is 1
    when a limit is missed, also of a model that --force accepted: it is served, and this command
    says so, but it does not keep the limits.

    \b
    model verify splade-tiny
    model verify splade-tiny-int8 --data ./scifact
    """
    folder = repository_of(repository)
    if json_file is not None and not json_file.absolute().parent.is_dir():
        raise InvalidRequest(f"--json {json_file}: there is no such folder: make it first")
    spec = exporting.load_spec(folder, name)
    # Before anything is read of them: an export may write others meanwhile.
    state = exporting.current_state(folder, spec)
    with progress(f"Reading the checkpoint of {name}") as report:
        originals = originals_of(spec, report)
    with served(triton, spec) as graphs, bars() as shown, _running(spec, triton):
        found = compare(
            Subject(folder, spec, originals, graphs),
            docstrings() if data is None else read_beir(data),
            None if reference is None else reference.value,
            progress=shown,
        )
    show(results(spec, found))
    if json_file is not None:
        _write_figures(json_file, gate.as_json(name, spec.fingerprint, found))
    if failures := gate.failed(found):
        _refuse(spec, failures)
    _keep(folder, spec, found, state)
    out.print(f"{name}: passed", markup=False)


@contextmanager
def _running(spec: ModelSpec, triton: str) -> Iterator[None]:
    """Raises ModelSourceError where this process cannot run the graph at all."""
    try:
        yield
    except InferenceFailed as error:
        if triton:
            raise
        raise ModelSourceError(
            f"the graph of {spec.name!r} does not run: {error.message}. It is not the one that was "
            f"exported under this name, or is damaged: run `{export_command(spec)}`"
        ) from error


def _write_figures(file: Path, figures: dict[str, Any]) -> None:
    try:
        file.write_text(json.dumps(figures, indent=2) + "\n")
    except OSError as error:
        raise InvalidRequest(
            f"--json {file} cannot be written ({error.strerror}): name a file in a folder that "
            "exists and that this user may write to"
        ) from error


def _refuse(spec: ModelSpec, failures: Sequence[gate.Check]) -> NoReturn:
    """Ends the command with exit code 1, and says what there is to do.

    Raises:
        ModelSourceError: nobody has accepted what fails.
        typer.Exit: --force did, at the model's export.
    """
    accepted = spec.verified.failed if spec.verified is not None else ()
    if not all(each.name in accepted for each in failures):
        raise ModelSourceError(gate.refusal(spec, failures))
    out.print(
        f"{spec.name}: failed, and accepted with --force: {gate.reasons(failures)}. It is served "
        "all the same; --precision fp32 exports one that is exact",
        markup=False,
        soft_wrap=True,
    )
    raise typer.Exit(1)


def _keep(repository: Path, spec: ModelSpec, found: gate.Findings, state: exporting.State) -> None:
    """Records what was found. float32 is served without it, from a read-only disk for instance.

    Raises:
        ModelSourceError: it cannot be written, and the model is not served without it.
    """
    try:
        exporting.record(repository, spec, gate.record(found), state)
    except OSError as error:
        problem = f"what was found cannot be recorded in {repository / spec.name}: {error}"
        if spec.precision != "fp32":
            raise ModelSourceError(f"{spec.name!r} passed, but {problem}") from error
        err.print(f"Note: {escape(problem)}", soft_wrap=True)


def export_gate(data: Path | None, report: Steps, *, force: bool) -> exporting.Gate:
    """What `model export` lets a graph pass before its folder is in place.

    Args:
        data: a BEIR folder, or None for the text that is built in.
        report: gives way to the gate's own progress.
        force: whether a graph that fails passes all the same, and is recorded as such.
    """

    own_text = None if data is None else read_beir(data)

    def passes(repository: Path, spec: ModelSpec, originals: Originals) -> Verification:
        with report.paused(), bars() as shown:
            texts = own_text or docstrings()
            found = compare(Subject(repository, spec, originals), texts, progress=shown)
        show(results(spec, found), console=err)
        return gate.admit(spec.name, found, force=force)

    return passes


@contextmanager
def served(triton: str, spec: ModelSpec) -> Iterator[ServedGraphs | None]:
    """The graphs of a Triton server; None without an address.

    Raises:
        InvalidRequest: it is no host:port.
        InferenceUnavailable: no server that has the model answers there.
    """
    if not triton:
        yield None
        return
    try:
        settings.Triton(urls=[triton])
    except ValidationError as error:
        raise InvalidRequest(
            f"--triton {triton!r} is not host:port of a gRPC endpoint, as in 127.0.0.1:8001"
        ) from error
    with connect(lambda: TritonBackend([triton], timeout=_TRITON_SECONDS), triton) as graphs:
        # Before the reference takes its time.
        graphs.graph(spec)
        yield graphs


def results(spec: ModelSpec, found: gate.Findings) -> Table:
    """All measures with their limits."""
    title = (
        f"{spec.name}, {spec.precision} ({found.runtime}) against {found.reference}\n"
        f"{found.documents} documents and {found.queries} queries: {found.text}"
    )
    table = Table("measure", "found", "limit", "", title=escape(title))
    for check in gate.checks(found):
        verdict = ("[green]ok[/green]" if check.passed else "[red]missed[/red]") * bool(check.limit)
        table.add_row(check.label, check.value, check.limit or "none", verdict)
    return table


@contextmanager
def bars() -> Iterator[Progress]:
    """A progress bar for each step, which go when all are done."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with RichProgress(
        *columns,
        TimeRemainingColumn(),
        console=err,
        transient=True,
        disable=not err.is_terminal,
    ) as shown:
        yield _Bars(shown)


class _Bars:
    def __init__(self, shown: RichProgress) -> None:
        self._shown = shown

    def step(self, name: str, total: int) -> Advance:
        task = self._shown.add_task(escape(name), total=total)
        return lambda done: self._shown.advance(task, done)
