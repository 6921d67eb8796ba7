"""Options that say which documents a command touches."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Annotated, Any

import typer

from sparsegate.cli.ids import parse_id
from sparsegate.cli.options import IdType
from sparsegate.errors import InvalidArgument
from sparsegate.filters import Filter
from sparsegate.types import DocumentId

FilterOption = Annotated[
    str | None,
    typer.Option(
        "--filter",
        "-f",
        metavar="JSON",
        help="Only documents that pass this filter, as in "
        '\'{"must": [{"field": "year", "range": {"gte": 1980}}]}\' (or in Qdrant\'s JSON).',
    ),
]
MustContain = Annotated[
    list[str] | None,
    typer.Option(
        "--must-contain",
        metavar="WORDS",
        help="Words or a code that the text must have; repeatable.",
    ),
]
Offset = Annotated[int, typer.Option("--offset", min=0, help="Hits to pass over at the top.")]
Threshold = Annotated[
    float | None, typer.Option("--threshold", help="Only hits that score at least so high.")
]
Idf = Annotated[
    bool, typer.Option("--idf", help="Weigh terms by how rare they are in the collection.")
]
Effort = Annotated[
    float | None,
    typer.Option(
        "--effort", help="How hard to try, above 0 and at most 1, which is exact and the default."
    ),
]
TargetRecall = Annotated[
    float | None,
    typer.Option(
        "--target-recall",
        help="Instead of an effort, the share of the exact hits to find; needs `calibrate`.",
    ),
]
SomeIds = Annotated[list[str] | None, typer.Argument(metavar="ID...", help="Ids of documents.")]


def parse_filter(text: str | None) -> Filter | None:
    """Raises:
    typer.BadParameter: it is no filter; the message names the clause.
    """
    if text is None:
        return None
    try:
        return Filter.from_json(parse_object(text, "--filter"))
    except InvalidArgument as error:
        raise typer.BadParameter(str(error), param_hint="--filter") from None


def parse_object(text: str, hint: str) -> dict[str, Any]:
    """Raises:
    typer.BadParameter: it is no JSON object.
    """
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise typer.BadParameter(f"not JSON: {error}", param_hint=hint) from None
    if not isinstance(value, dict):
        raise typer.BadParameter("not a JSON object", param_hint=hint)
    return value


def parse_target(
    ids: Sequence[str] | None, id_type: IdType, filter: str | None
) -> tuple[list[DocumentId] | None, Filter | None]:
    """Ids, or a filter: the one that was given.

    Raises:
        typer.BadParameter: both were given, or neither.
    """
    if bool(ids) == (filter is not None):
        raise typer.BadParameter("give either ids or --filter", param_hint="ID")
    return [parse_id(text, id_type) for text in ids] if ids else None, parse_filter(filter)
