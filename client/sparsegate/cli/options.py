"""The options that commands share."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from sparsegate.types import OnTruncation

DEFAULT_ADDRESS = "127.0.0.1:50051"
DEFAULT_TIMEOUT = 30.0
LONG_TIMEOUT = 3600.0
"""For commands whose work grows with a whole collection."""


class IdType(StrEnum):
    AUTO = "auto"
    INTEGER = "integer"
    STRING = "string"


Address = Annotated[
    str,
    typer.Option("--address", "-a", envvar="SPARSEGATE_ADDRESS", help="host:port of the gateway."),
]
Timeout = Annotated[
    float, typer.Option("--timeout", min=0.001, help="Seconds to wait for an answer.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]
CollectionName = Annotated[
    str, typer.Argument(metavar="COLLECTION", help="Name of the collection.")
]
ModelName = Annotated[
    str, typer.Option("--model", help="Name of a served model; the only one when not given.")
]
IdTypeOption = Annotated[IdType, typer.Option("--id-type", help="How to read ids.")]
WithVector = Annotated[bool, typer.Option("--vector", help="Also show the stored vectors.")]
RefuseLong = Annotated[
    bool,
    typer.Option("--refuse-long", help="Refuse texts that are too long, instead of cutting them."),
]


def on_truncation(refuse_long: bool) -> OnTruncation:
    return "error" if refuse_long else "flag"
