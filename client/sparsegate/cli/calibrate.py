"""`sparsegate calibrate`."""

from __future__ import annotations

import re
from typing import Annotated

import typer

from sparsegate import Client
from sparsegate.cli.jsonl import QueryLines
from sparsegate.cli.meter import waiting
from sparsegate.cli.options import (
    DEFAULT_ADDRESS,
    LONG_TIMEOUT,
    Address,
    AsJson,
    CollectionName,
    Timeout,
)
from sparsegate.cli.output import complain, show, show_json
from sparsegate.cli.render import calibration_table, targets_met
from sparsegate.errors import InvalidArgument

_QUERY = re.compile(r"queries\[(\d+)\]")


def calibrate(
    collection: CollectionName,
    file: Annotated[
        typer.FileBinaryRead,
        typer.Argument(
            metavar="FILE", help="Questions, one a line: texts or JSON objects; - reads stdin."
        ),
    ],
    limit: Annotated[
        int, typer.Option("--limit", "-n", help="Hits of which the recall is measured.")
    ] = 10,
    address: Address = DEFAULT_ADDRESS,
    timeout: Timeout = LONG_TIMEOUT,
    as_json: AsJson = False,
) -> None:
    """Measure how much effort a recall takes, for searches with --target-recall.

    Questions like those that will be asked, some hundred or more; the fewer, the wider the safety
    margin. A line that begins with { is a JSON object with a text or a vector; any other is a text.
    """
    queries = QueryLines(file)
    questions = list(queries)
    for line, error in queries.errors.items():
        complain(f"line {line}: {error}")
    if queries.errors:
        raise typer.Exit(1)
    with Client(address) as client, waiting(f"measuring {len(questions):,} questions"):
        try:
            calibration = client.calibrate(collection, questions, limit=limit, timeout=timeout)
        except InvalidArgument as error:
            if named := _QUERY.match(error.field):
                error.field = f"line {queries.lines[int(named[1])]}"
            raise
    if as_json:
        show_json(calibration)
        return
    show(calibration_table(calibration), targets_met(calibration))
