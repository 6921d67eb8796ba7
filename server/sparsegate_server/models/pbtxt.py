"""Writes protobuf's text format, as far as a config.pbtxt needs it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

_WIDTH = 100
_INDENT = "  "


class Word(str):
    """A value that stands without quotes, such as TYPE_INT32."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class Message:
    """Fields in the order in which they are written."""

    fields: tuple[tuple[str, Value], ...]


@dataclass(frozen=True, slots=True)
class Rows:
    """Messages that are written one below the other."""

    messages: tuple[Message, ...]


@dataclass(frozen=True, slots=True)
class Comment:
    """Lines of text before a field."""

    text: str


Value = bool | int | str | Message | Rows | tuple[int, ...] | tuple[Message, ...]
Line = Comment | tuple[str, Value]


def message(**fields: Value) -> Message:
    return Message(tuple(fields.items()))


def write(lines: Sequence[Line]) -> str:
    """The text of a whole file."""
    written = [
        "".join(f"# {row}\n" for row in line.text.splitlines())
        if isinstance(line, Comment)
        else _field(*line, indent="")
        for line in lines
    ]
    return "".join(written)


def _field(key: str, value: Value, indent: str) -> str:
    """A field on one line where it fits there."""
    inner = indent + _INDENT
    if isinstance(value, Rows):
        rows = ",\n".join(f"{inner}{_inline(each)}" for each in value.messages)
        return f"{indent}{key} [\n{rows}\n{indent}]\n"
    colon = "" if _has_messages(value) else ":"
    line = f"{indent}{key}{colon} {_inline(value)}\n"
    if len(line) <= _WIDTH + 1:
        return line
    if not isinstance(value, Message):
        return line
    fields = "".join(_field(name, each, inner) for name, each in value.fields)
    return f"{indent}{key} {{\n{fields}{indent}}}\n"


def _inline(value: Value) -> str:
    match value:
        case bool():
            return str(value).lower()
        case Word() | int():
            return str(value)
        case str():
            # Both languages escape quotes, backslashes and what is not ASCII, and in one way.
            return json.dumps(value)
        case Rows():
            return _inline(value.messages)
        case Message():
            fields = (
                f"{key}{'' if _has_messages(each) else ':'} {_inline(each)}"
                for key, each in value.fields
            )
            return f"{{ {' '.join(fields)} }}"
        case _:
            return f"[ {', '.join(_inline(each) for each in value)} ]"


def _has_messages(value: Value) -> bool:
    """Messages, and lists of them, follow their key without a colon."""
    if isinstance(value, tuple):
        return any(isinstance(each, Message) for each in value)
    return isinstance(value, Message | Rows)
