"""The progress bar of an upload."""

from __future__ import annotations

import os
import stat
from types import TracebackType
from typing import BinaryIO

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from sparsegate.cli.jsonl import DocumentLines
from sparsegate.results import UploadProgress


class Meter:
    """Shows on stderr, where somebody watches, how far an upload has come."""

    def __init__(self, file: BinaryIO, documents: DocumentLines) -> None:
        self._documents = documents
        console = Console(stderr=True)
        self._progress = Progress(
            TextColumn("{task.fields[applied]} applied, {task.fields[refused]} refused"),
            BarColumn(),
            TimeElapsedColumn(),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )
        self._task = self._progress.add_task("", total=_size(file), applied=0, refused=0)

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

    def update(self, progress: UploadProgress) -> None:
        self._progress.update(
            self._task,
            completed=self._documents.bytes_read,
            applied=progress.applied,
            refused=progress.failed + len(self._documents.errors),
        )


def _size(file: BinaryIO) -> int | None:
    """Bytes of a file; None for what has no size, as a pipe."""
    try:
        status = os.fstat(file.fileno())
    except OSError:
        return None
    return status.st_size if stat.S_ISREG(status.st_mode) else None
