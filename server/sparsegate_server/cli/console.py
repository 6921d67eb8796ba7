"""Where the commands write: results to standard output, progress and errors to standard error."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.markup import escape
from rich.measure import Measurement
from rich.status import Status
from rich.table import Table

out = Console()
err = Console(stderr=True)

_UNLIMITED = 100_000
"""Columns, more than any table has."""


class Steps:
    """A `Report` that leaves a line behind for each step."""

    def __init__(self, status: Status) -> None:
        self._status = status

    def __call__(self, line: str) -> None:
        err.print(f"[dim]•[/dim] {escape(line)}", highlight=False, soft_wrap=True)
        self._status.update(escape(line))

    @contextmanager
    def paused(self) -> Iterator[None]:
        """While something else moves on the screen: a console shows one such thing at a time."""
        self._status.stop()
        try:
            yield
        finally:
            self._status.start()


def show(*tables: Table, console: Console = out) -> None:
    """Prints tables and cuts nothing off: a terminal folds what is too wide for it, and elsewhere
    each row is one line, for grep and the like."""
    for table in tables:
        for column in table.columns:
            column.overflow = "fold"
        if not console.is_terminal:
            table.width = _natural_width(table, console)
        console.print(table, crop=False)


def fits(table: Table) -> bool:
    """Whether `show` need not fold a table's cells."""
    return not out.is_terminal or _natural_width(table, out) <= out.width


def _natural_width(table: Table, console: Console) -> int:
    unlimited = console.options.update(max_width=_UNLIMITED)
    return Measurement.get(console, unlimited, table).maximum


@contextmanager
def progress(first: str) -> Iterator[Steps]:
    """Shows the step that is under way."""
    with err.status(escape(first)) as status:
        yield Steps(status)


def fail(message: str) -> None:
    """One clear line (with what follows it indented, for a log's last lines)."""
    err.print(f"[bold red]error:[/bold red] {escape(message)}", highlight=False, soft_wrap=True)
