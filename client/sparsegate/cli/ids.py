"""Document ids on the command line.

Digits without a leading zero are an integer, anything else is a string; digits in double quotes are
a string, too. `--id-type` overrules this.
"""

from __future__ import annotations

import re

import typer

from sparsegate.cli.options import IdType
from sparsegate.types import DocumentId

_INTEGER = re.compile(r"0|[1-9][0-9]*")


def parse_id(text: str, kind: IdType = IdType.AUTO) -> DocumentId:
    """Raises:
    typer.BadParameter: an integer was asked for, and this is none.
    """
    if kind is IdType.STRING:
        return text
    if _INTEGER.fullmatch(text):
        return int(text)
    if kind is IdType.INTEGER:
        raise typer.BadParameter(f"{text!r} is not an integer id", param_hint="ID")
    return text[1:-1] if _is_quoted(text) else text


def format_id(id: DocumentId) -> str:
    """The id as `parse_id` reads it."""
    if isinstance(id, str) and (_INTEGER.fullmatch(id) or _is_quoted(id)):
        return f'"{id}"'
    return str(id)


def _is_quoted(text: str) -> bool:
    return len(text) > 2 and text[0] == text[-1] == '"'
