"""Where the commands write: results to standard output, progress and errors to standard error."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console

from sparsegate_server.errors import SparsegateError
from sparsegate_server.models.pull import Report

out = Console()
err = Console(stderr=True)


@contextmanager
def progress(first: str) -> Iterator[Report]:
    """Shows the step that is under way, and leaves a line behind for each that is done."""
    with err.status(first) as status:

        def report(line: str) -> None:
            err.print(f"[dim]•[/dim] {line}", highlight=False)
            status.update(line)

        yield report


def fail(error: SparsegateError) -> None:
    err.print("[bold red]error:[/bold red]", error.message, markup=True, highlight=False)
