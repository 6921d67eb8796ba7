"""What each kind of index makes of a value: terms of its dictionary, or a point of its order."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, Final, TypeAlias

import numpy as np

from sparsegate_server.filters import (
    Condition,
    Contains,
    Except,
    FieldKind,
    IsEmpty,
    IsNull,
    Match,
    MatchText,
    Range,
    TimeRange,
    parse_time,
)
from sparsegate_server.index.filter.match import is_number
from sparsegate_server.index.filter.points import Point, number_point, time_point
from sparsegate_server.index.filter.words import words

Key: TypeAlias = str | Point

POINT_TYPES: Final[dict[FieldKind, tuple[type[np.generic], ...]]] = {
    FieldKind.NUMBER: (np.float64, np.int16),
    FieldKind.DATETIME: (np.int64,),
}
"""The kinds whose keys are points, and the types of a point's parts; other keys are terms."""

DERIVED: Final = frozenset({FieldKind.TEXT, FieldKind.DATETIME})
"""Kinds that keep what they make of a string, so that the string itself is not known again."""

OF_STRINGS: Final = DERIVED | {FieldKind.KEYWORD}


def keys_of(kind: FieldKind, value: Any) -> Collection[Key] | None:
    """What an index of that kind files a value under, or None if it does not cover the value.

    One key, but for TEXT: any number of words.
    """
    match kind:
        case FieldKind.KEYWORD:
            return (value,) if isinstance(value, str) else None
        case FieldKind.TEXT:
            return set(words(value)) if isinstance(value, str) else None
        case FieldKind.BOOL:
            return (str(value),) if isinstance(value, bool) else None
        case FieldKind.NUMBER:
            return (number_point(value),) if is_number(value) else None
        case FieldKind.DATETIME:
            time = parse_time(value) if isinstance(value, str) else None
            return None if time is None else (time_point(time),)


def answers(kind: FieldKind, condition: Condition) -> bool:
    """Whether an index of that kind knows of every value that the condition looks for."""
    match condition:
        case Match(values=values) | Except(values=values):
            return kind not in DERIVED and all(keys_of(kind, each) is not None for each in values)
        case Range():
            return kind is FieldKind.NUMBER
        case TimeRange():
            return kind is FieldKind.DATETIME
        case MatchText() | Contains():
            return kind is FieldKind.TEXT
        case IsNull() | IsEmpty():
            return True
    return False
