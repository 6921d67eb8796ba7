"""Refuses filters that cannot be understood, before anything is read."""

from __future__ import annotations

import math
from collections.abc import Iterable

from sparsegate_server.errors import InvalidFilter
from sparsegate_server.filters import (
    TEXT_FIELD,
    Condition,
    Contains,
    Except,
    Filter,
    HasId,
    Match,
    MatchText,
    Nested,
    Range,
    TimeRange,
)
from sparsegate_server.index.filter.paths import canonical
from sparsegate_server.index.filter.words import phrase_words


def check(filter: Filter) -> None:
    """Checks field paths, phrases, bounds and counts of a filter and all within.

    Raises:
        InvalidFilter: names the clause in its `field`, as `must[1].field`.
    """
    _check(filter, "", nested=False)


def clauses(filter: Filter) -> Iterable[tuple[str, Condition]]:
    """Every condition with its place, as `should[2]`; those within are not walked."""
    for number, condition in enumerate(filter.must):
        yield f"must[{number}]", condition
    for number, condition in enumerate(filter.should):
        yield f"should[{number}]", condition
    for number, condition in enumerate(filter.must_not):
        yield f"must_not[{number}]", condition
    if filter.min_should:
        for number, condition in enumerate(filter.min_should.conditions):
            yield f"min_should.conditions[{number}]", condition


def _check(filter: Filter, prefix: str, *, nested: bool) -> None:
    if filter.min_should and filter.min_should.count < 1:
        raise InvalidFilter(
            f"min_should asks for {filter.min_should.count} conditions: ask for 1 or more",
            field=f"{prefix}min_should.count",
        )
    for place, condition in clauses(filter):
        _check_condition(condition, prefix + place, nested=nested)


def _check_condition(condition: Condition, place: str, *, nested: bool) -> None:
    match condition:
        case Filter():
            return _check(condition, f"{place}.", nested=nested)
        case HasId() | Contains() if nested:
            raise InvalidFilter(
                "an element of a nested field has neither an id nor a text: ask for them outside",
                field=place,
            )
        case HasId():
            return None
        case Contains(phrase):
            return _check_words(phrase, f"{place}.phrase")
    _check_path(condition.field, f"{place}.field", nested=nested)
    match condition:
        case MatchText(text=text):
            _check_words(text, f"{place}.text")
        case Match(values=values) | Except(values=values):
            for number, value in enumerate(values):
                if _is_nan(value):
                    raise _nan(f"{place}.values[{number}]")
        case Range() | TimeRange():
            for name in ("gt", "gte", "lt", "lte"):
                if _is_nan(getattr(condition, name)):
                    raise _nan(f"{place}.{name}")
        case Nested(filter=inner):
            _check(inner, f"{place}.filter.", nested=True)
    return None


def _check_path(path: str, place: str, *, nested: bool) -> None:
    try:
        spelled = canonical(path)
    except InvalidFilter as error:
        raise InvalidFilter(error.message, field=place) from None
    if nested and spelled == TEXT_FIELD:
        raise InvalidFilter(
            f"an element of a nested field has no {TEXT_FIELD}: ask for it outside", field=place
        )


def _check_words(text: str, place: str) -> None:
    if not phrase_words(text):
        raise InvalidFilter(
            f"{text!r} has no word: give at least one letter, digit or underscore", field=place
        )


def _is_nan(value: object) -> bool:
    return isinstance(value, float) and math.isnan(value)


def _nan(place: str) -> InvalidFilter:
    return InvalidFilter("NaN is neither equal to a number nor a bound", field=place)
