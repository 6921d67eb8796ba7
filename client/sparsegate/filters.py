"""Filters: which documents a call may touch.

    from sparsegate.filters import DatetimeRange, Filter, Match, Range

    Filter(
        must=[Match("genre", "comedy"), Range("year", gte=1980)],
        must_not=[Match("language", any=["fr", "de"])],
    )

Where a filter is asked for, a single condition will do. A field is a path into the payload: names
joined by dots, `[]` after a name for every element of a list (`a.b[].c`), a name in double quotes
where it holds dots or brackets itself. A list at the end of a path counts as its elements; a
condition on several values holds if it holds for one of them.

`Filter.from_json` reads the same from JSON's own types.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from dataclasses import field as attribute
from datetime import datetime
from typing import Any, TypeAlias

from sparsegate.errors import InvalidArgument
from sparsegate.types import DocumentId

MatchValue: TypeAlias = bool | int | float | str


@dataclass(frozen=True, slots=True)
class _Values:
    field: str
    value: MatchValue | None = None
    any: Sequence[MatchValue] | None = attribute(default=None, kw_only=True)

    def __post_init__(self) -> None:
        if (self.value is None) == (self.any is None):
            raise InvalidArgument(
                f"{type(self).__name__} takes one value, or several as any=[...]", field=self.field
            )
        if isinstance(self.any, str):
            raise TypeError("any is a sequence of values: give a single one as it is")

    @property
    def values(self) -> tuple[MatchValue, ...]:
        """All values, one or several."""
        if self.any is not None:
            return tuple(self.any)
        return () if self.value is None else (self.value,)


@dataclass(frozen=True, slots=True)
class Match(_Values):
    """A value equals `value`, or one of `any`. 5 equals 5.0, but not "5"."""


@dataclass(frozen=True, slots=True)
class Except(_Values):
    """A value that is not null equals neither `value` nor one of `any`."""


@dataclass(frozen=True, slots=True)
class MatchText:
    """Every word of `text` is a word of the field's strings."""

    field: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Range:
    """A number lies within the bounds, of which at least one is given. Integers are exact."""

    field: str = attribute(kw_only=False)
    gt: int | float | None = None
    gte: int | float | None = None
    lt: int | float | None = None
    lte: int | float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class DatetimeRange:
    """A string is a date and lies within the bounds, of which at least one is given.

    Bounds are strings in RFC 3339, as "2024-05-01T12:00:00+02:00", or datetimes with a time zone.
    """

    field: str = attribute(kw_only=False)
    gt: str | datetime | None = None
    gte: str | datetime | None = None
    lt: str | datetime | None = None
    lte: str | datetime | None = None


@dataclass(frozen=True, slots=True)
class IsNull:
    """A value of the field is null."""

    field: str


@dataclass(frozen=True, slots=True)
class IsEmpty:
    """The field has no value that is not null: it is missing, null or an empty list."""

    field: str


@dataclass(frozen=True, slots=True)
class HasId:
    """The document is one of these."""

    ids: Sequence[DocumentId]


@dataclass(frozen=True, slots=True)
class Contains:
    """The document's own text holds these words or this code in a row, letter case aside."""

    phrase: str


@dataclass(frozen=True, slots=True)
class Nested:
    """An element of the field is an object whose own fields pass the filter, all by the same one.

    The filter's fields begin at the element.
    """

    field: str
    filter: Filter | Condition


@dataclass(frozen=True, slots=True)
class MinShould:
    """At least `count` of the conditions hold."""

    conditions: Sequence[Condition]
    count: int


@dataclass(frozen=True, slots=True)
class Filter:
    """Without any condition it lets everything pass.

    Attributes:
        must: all of these hold.
        should: at least one of these holds, if there are any.
        must_not: none of these holds.
        min_should: at least so many of these hold.
    """

    must: Sequence[Condition] = ()
    should: Sequence[Condition] = ()
    must_not: Sequence[Condition] = ()
    min_should: MinShould | None = None

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Filter:
        """Reads a filter, or a single condition, of JSON's own types.

            {"must": [{"field": "year", "range": {"gte": 1980}},
                      {"field": "color", "match": ["red", "blue"]}],
             "should": [{"field": "title", "text": "rock band"}, {"contains": "AB-12"}],
             "must_not": [{"is_empty": "genre"}, {"has_id": [1, "b"]}],
             "min_should": {"count": 1, "conditions": [{"is_null": "note"}]}}

        Conditions of a field are `match`, `except`, `text`, `range` and `datetime`; the others are
        `is_null`, `is_empty`, `has_id`, `contains`, `nested` (of `field` and `filter`), and a
        filter of its own.

        Qdrant's spelling is read as well: `key` for `field`; a `match` of {"value": 1},
        {"any": [1, 2]}, {"except": [1]} or {"text": "rock band"}; a `range` of dates; `is_null` and
        `is_empty` of {"key": "note"}; `min_count` for `count`.

        Raises:
            InvalidArgument: it is none; `field` is the path of the clause, as in `filter.must[0]`.
        """
        from sparsegate._filter_json import read_filter  # noqa: PLC0415 (it imports this module)

        return read_filter(value)


Condition: TypeAlias = (
    Filter
    | Match
    | Except
    | MatchText
    | Range
    | DatetimeRange
    | IsNull
    | IsEmpty
    | HasId
    | Contains
    | Nested
)
