"""What goes to stdout and stderr."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass
from datetime import datetime
from typing import Any

from rich.console import Console, RenderableType
from rich.text import Text

from sparsegate.errors import SparsegateError


def show(*renderables: RenderableType) -> None:
    """Prints tables and text."""
    console = Console()
    for renderable in renderables:
        console.print(cell(renderable) if isinstance(renderable, str) else renderable)


def cell(text: str) -> Text:
    """Text as it is: no markup is read in it, and no control characters reach the terminal."""
    return Text(_printable(text))


def show_json(value: object) -> None:
    """Prints one JSON document, with the fields of the results as its keys."""
    print(json.dumps(plain(value), ensure_ascii=False, indent=2))


def answer(value: object, *renderables: RenderableType, as_json: bool) -> None:
    """Prints what a command found: the value itself as JSON, or else the tables and text of it."""
    if as_json:
        show_json(value)
    else:
        show(*renderables)


def complain(message: str) -> None:
    """Prints one line to stderr."""
    print(f"sparsegate: {' '.join(_printable(message).split())}", file=sys.stderr)


def _printable(text: str) -> str:
    return "".join(char if char.isprintable() else " " for char in text)


def plain(value: Any) -> Any:
    """A result as JSON's own types."""
    if isinstance(value, SparsegateError):
        return {"error": plain_error(value)}
    if is_dataclass(value):
        return {field.name: plain(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [plain(item) for item in value]
    return value


def plain_error(error: SparsegateError) -> dict[str, Any]:
    return {
        "code": error.code.name,
        "reason": error.reason,
        "field": error.field,
        "message": error.message,
    }
