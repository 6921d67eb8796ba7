"""Where the commands write: results to standard output, progress and errors to standard error."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.markup import escape

from sparsegate_server.errors import SparsegateError
from sparsegate_server.models.pull import Report

out = Console()
err = Console(stderr=True)


@contextmanager
def progress(first: str) -> Iterator[Report]:
    """Shows the step that is under way, and leaves a line behind for each that is done."""
    with err.status(escape(first)) as status:

        def report(line: str) -> None:
            err.print(f"[dim]•[/dim] {escape(line)}", highlight=False, soft_wrap=True)
            status.update(escape(line))

        yield report


def fail(error: SparsegateError) -> None:
    """One clear line (with what follows it indented, for a log's last lines)."""
    message = escape(error.message)
    err.print(f"[bold red]error:[/bold red] {message}", highlight=False, soft_wrap=True)
