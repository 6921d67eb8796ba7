"""Filters: which documents an operation may touch. Qdrant's language as plain values.

A condition looks at the values of a field. A field is a path into the payload: names joined by
dots, `[]` after a name for every element of a list (`a.b[].c`), a name in double quotes where it
holds dots or brackets itself. A list at the end of a path counts as its elements, so that
`tags` and `tags[]` are the same for `{"tags": ["a", "b"]}`; a condition on several values holds if
it holds for one of them.

    Filter       must: all hold; should: one holds, if there are any; must_not: none holds;
                 min_should: at least so many of these hold
    Match        a value equals one of these: strings, booleans, numbers (5 equals 5.0, not "5")
    Except       a value that is not null equals none of these
    MatchText    every word of the text is a word of the field's strings
    Range        a number lies within the bounds; integers and floats compare exactly
    TimeRange    a string is an RFC 3339 date and lies within the bounds, in UTC microseconds
    IsNull       a value is null
    IsEmpty      there is no value that is not null: the field is missing, null or an empty list
    HasId        the document is one of these
    Contains     the document's own text holds the words or the code, letter case aside
    Nested       an element of the field is an object whose own fields pass the filter
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import TypeAlias

from sparsegate_server.types import DocumentId

TEXT_FIELD = "$text"
"""Names the document's own text where a payload field is expected."""

MatchValue: TypeAlias = bool | int | float | str


class FieldKind(StrEnum):
    """What a payload index looks for in a field; values of any other kind are noted, not indexed.

    KEYWORD strings as they are; NUMBER integers and floats; BOOL; DATETIME strings in RFC 3339;
    TEXT the words of strings.
    """

    KEYWORD = "keyword"
    NUMBER = "number"
    BOOL = "bool"
    DATETIME = "datetime"
    TEXT = "text"


@dataclass(frozen=True, slots=True)
class Match:
    field: str
    values: tuple[MatchValue, ...]


@dataclass(frozen=True, slots=True)
class Except:
    field: str
    values: tuple[MatchValue, ...]


@dataclass(frozen=True, slots=True)
class MatchText:
    field: str
    text: str


@dataclass(frozen=True, slots=True)
class Range:
    """Bounds that are None do not bind."""

    field: str
    gt: int | float | None = None
    gte: int | float | None = None
    lt: int | float | None = None
    lte: int | float | None = None


@dataclass(frozen=True, slots=True)
class TimeRange:
    """Bounds in microseconds since 1970 UTC; None does not bind."""

    field: str
    gt: int | None = None
    gte: int | None = None
    lt: int | None = None
    lte: int | None = None


@dataclass(frozen=True, slots=True)
class IsNull:
    field: str


@dataclass(frozen=True, slots=True)
class IsEmpty:
    field: str


@dataclass(frozen=True, slots=True)
class HasId:
    ids: tuple[DocumentId, ...]


@dataclass(frozen=True, slots=True)
class Contains:
    phrase: str


@dataclass(frozen=True, slots=True)
class Nested:
    field: str
    filter: Filter


@dataclass(frozen=True, slots=True)
class MinShould:
    conditions: tuple[Condition, ...]
    count: int


@dataclass(frozen=True, slots=True)
class Filter:
    """Without any condition it lets everything pass."""

    must: tuple[Condition, ...] = ()
    should: tuple[Condition, ...] = ()
    must_not: tuple[Condition, ...] = ()
    min_should: MinShould | None = None


Condition: TypeAlias = (
    Filter
    | Match
    | Except
    | MatchText
    | Range
    | TimeRange
    | IsNull
    | IsEmpty
    | HasId
    | Contains
    | Nested
)

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_RFC3339 = re.compile(
    r"(\d{4}-\d{2}-\d{2})"
    r"(?:[Tt ](\d{2}:\d{2}(?::\d{2})?)(?:\.(\d{1,9}))?([Zz]|[+-]\d{2}:?\d{2})?)?",
    re.ASCII,
)


def parse_time(text: str) -> int | None:
    """Microseconds since 1970 UTC of an RFC 3339 date, or None if it is none.

    As Qdrant does, a date may come without its time (midnight), without seconds, or without its
    offset (UTC). Digits past the microsecond are cut off.
    """
    match = _RFC3339.fullmatch(text)
    if match is None:
        return None
    day, clock, fraction, offset = match.groups()
    zone = "+00:00" if offset in {None, "Z", "z"} else offset
    try:
        moment = datetime.fromisoformat(f"{day}T{clock or '00:00'}{zone}")
    except ValueError:
        return None
    whole = (moment - _EPOCH) // _MICROSECOND
    return whole + int((fraction or "0").ljust(6, "0")[:6])
