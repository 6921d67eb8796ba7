"""`sparsegate upsert`."""

from __future__ import annotations

import re
import shlex
from typing import Annotated

import typer

from sparsegate import Client
from sparsegate.cli.jsonl import DocumentLines, json_lines
from sparsegate.cli.meter import Meter, size_of
from sparsegate.cli.options import (
    DEFAULT_ADDRESS,
    DEFAULT_TIMEOUT,
    Address,
    AsJson,
    CollectionName,
    RefuseLong,
    Timeout,
    on_truncation,
)
from sparsegate.cli.output import complain, plain_error, show, show_json
from sparsegate.errors import SparsegateError, UploadInterrupted
from sparsegate.results import UploadProgress, UploadSummary

INTERRUPTED = 130
"""The exit code of a command that Ctrl-C ended, as shells have it."""
MOST_ERRORS = 10
"""Lines that are listed."""


def upsert(
    collection: CollectionName,
    file: Annotated[
        typer.FileBinaryRead,
        typer.Argument(metavar="FILE", help="JSON Lines, one document a line; - reads stdin."),
    ],
    join_title: Annotated[
        bool, typer.Option("--join-title", help="Put the field `title` before the text.")
    ] = False,
    batch_size: Annotated[
        int, typer.Option("--batch-size", min=1, help="Documents sent at a time.")
    ] = 256,
    stream: Annotated[
        str | None,
        typer.Option(
            "--stream",
            metavar="NAME",
            help="Your name for the upload of this file: given again with the same file, it goes "
            "on where it was interrupted, counting the file's documents. Refused ones count, too, "
            "and are not sent again: give a corrected or other file another name.",
        ),
    ] = None,
    refuse_long: RefuseLong = False,
    address: Address = DEFAULT_ADDRESS,
    timeout: Timeout = DEFAULT_TIMEOUT,
    as_json: AsJson = False,
) -> None:
    """Insert or replace documents.

    A line is a JSON object, as in {"id": 1, "text": "A film about a band"}. Its fields: id or _id
    (a number is an integer id, a string a string id), text or vector or both, and payload; without
    payload, all other fields are the payload. Refused documents are listed with their line, the
    first ten of them or with --json all, and the others are applied all the same.
    """
    documents = DocumentLines(json_lines(file, file.name), join_title)
    interruption, acknowledged = None, 0
    with Client(address, timeout=timeout) as client, Meter(size_of(file)) as meter:

        def update(progress: UploadProgress) -> None:
            nonlocal acknowledged
            acknowledged = progress.acknowledged
            refused = progress.failed + len(documents.errors)
            meter.show(documents.bytes_read, progress.applied, refused)

        try:
            summary = client.upload(
                collection,
                documents,
                batch_size=batch_size,
                on_truncation=on_truncation(refuse_long),
                on_progress=update,
                stream=stream,
            )
        except UploadInterrupted as error:
            interruption, summary = error, error.summary
        except KeyboardInterrupt:
            complain(f"interrupted: {acknowledged:,} acknowledged{_way_on(stream)}")
            raise typer.Exit(INTERRUPTED) from None
    failed = _by_line(documents, summary)
    _report(collection, summary, failed, complete=interruption is None, as_json=as_json)
    if interruption is not None:
        raise interruption
    if failed:
        raise typer.Exit(1)


def _way_on(stream: str | None) -> str:
    if stream is None:
        return ""
    return f"; the same command, with --stream {shlex.quote(stream)}, goes on from there"


def _by_line(documents: DocumentLines, summary: UploadSummary) -> dict[int, SparsegateError]:
    failed: dict[int, SparsegateError] = dict(documents.errors)
    for at, error in summary.errors.items():
        # The line already says which document.
        error.field = re.sub(r"^documents\[\d+\]\.?", "", error.field)
        failed[documents.lines[at]] = error
    return dict(sorted(failed.items()))


def _complain(failed: dict[int, SparsegateError], *, as_json: bool) -> None:
    """The first errors: a file whose every line is wrong says nothing new after them."""
    for line, error in list(failed.items())[:MOST_ERRORS]:
        complain(f"line {line}: {error}")
    if (more := len(failed) - MOST_ERRORS) > 0:
        way = "standard output has them all" if as_json else "--json lists them all"
        complain(f"and {more:,} more lines are refused; {way}")


def _report(
    collection: str,
    summary: UploadSummary,
    failed: dict[int, SparsegateError],
    *,
    complete: bool,
    as_json: bool,
) -> None:
    _complain(failed, as_json=as_json)
    if as_json:
        show_json(
            {
                "collection": collection,
                "complete": complete,
                "applied": summary.applied,
                "failed": len(failed),
                "skipped": summary.skipped,
                "sequence": summary.sequence,
                "truncated": summary.truncated,
                "capped": summary.capped,
                "errors": [{"line": line, **plain_error(e)} for line, e in failed.items()],
            }
        )
        return
    parts = [f"{summary.applied} applied", f"{len(failed)} refused"]
    if summary.skipped:
        parts.append(f"{summary.skipped:,} passed over (acknowledged before under this stream)")
    if summary.truncated:
        parts.append(f"{summary.truncated} longer than the model takes, cut")
    if summary.capped:
        parts.append(f"{summary.capped} with terms dropped")
    show(", ".join(parts))
