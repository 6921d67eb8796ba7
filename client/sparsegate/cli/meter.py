"""Progress bars."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import BinaryIO

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    ProgressColumn,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
    TransferSpeedColumn,
)


class Meter:
    """Shows on stderr, where somebody watches, how far an upload has come.

    Args:
        total: what `show` counts up to; None where nobody knows.
    """

    def __init__(self, total: int | None) -> None:
        self._progress = _watched(
            TextColumn("{task.fields[applied]} applied, {task.fields[refused]} refused"),
            BarColumn(),
            TimeElapsedColumn(),
        )
        self._task = self._progress.add_task("", total=total, applied=0, refused=0)

    def __enter__(self) -> Meter:
        self._progress.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._progress.stop()

    def show(self, completed: int, applied: int, refused: int) -> None:
        self._progress.update(self._task, completed=completed, applied=applied, refused=refused)


@contextmanager
def transfer() -> Iterator[Callable[[int, int], None]]:
    """Shows how far a file has come; the function is told bytes done and bytes in all."""
    with _watched(DownloadColumn(), BarColumn(), TransferSpeedColumn()) as progress:
        task = progress.add_task("", total=None)

        def update(done: int, total: int) -> None:
            progress.update(task, completed=done, total=total)

        yield update


@contextmanager
def waiting(what: str) -> Iterator[None]:
    """Shows that something is under way, and for how long, where nobody knows how far it is."""
    with _watched(SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn()) as shown:
        shown.add_task(what, total=None)
        yield


def _watched(*columns: ProgressColumn) -> Progress:
    console = Console(stderr=True)
    return Progress(*columns, console=console, transient=True, disable=not console.is_terminal)


def size_of(file: BinaryIO) -> int | None:
    """Bytes of a file; None for what has no size, as a pipe."""
    try:
        status = os.fstat(file.fileno())
    except OSError:
        return None
    return status.st_size if stat.S_ISREG(status.st_mode) else None
