"""Refuses filters that cannot be understood, before anything is read."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

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


def _check_values(condition: Match | Except, place: str) -> None:
    number = _nan_in(condition.values)
    if number >= 0:
        raise _nan(f"{place}.values[{number}]")


def _check_bounds(condition: Range | TimeRange, place: str) -> None:
    number = _nan_in((condition.gt, condition.gte, condition.lt, condition.lte))
    if number >= 0:
        raise _nan(f"{place}.{('gt', 'gte', 'lt', 'lte')[number]}")


def _check_text(condition: MatchText, place: str) -> None:
    _check_words(condition.text, f"{place}.text")


def _check_phrase(condition: Contains, place: str) -> None:
    _check_words(condition.phrase, f"{place}.phrase")


def _check_nested(condition: Nested, place: str) -> None:
    _check(condition.filter, f"{place}.filter.", nested=True)


OPERANDS: Final[Mapping[type, Callable[[Any, str], None]]] = {
    Match: _check_values,
    Except: _check_values,
    Range: _check_bounds,
    TimeRange: _check_bounds,
    MatchText: _check_text,
    Contains: _check_phrase,
    Nested: _check_nested,
}
"""What checks a condition on a field, the field's path aside: of the condition and its place, with
which an `InvalidFilter` begins. A condition of any other type asks nothing more."""


def check_count(count: int, prefix: str = "") -> None:
    """Checks how many conditions a `min_should` asks for.

    Raises:
        InvalidFilter: as `check` does, with the `prefix` before the rest.
    """
    if count < 1:
        raise InvalidFilter(
            f"min_should asks for {count} conditions: ask for 1 or more",
            field=f"{prefix}min_should.count",
        )


def _check(filter: Filter, prefix: str, *, nested: bool) -> None:
    if filter.min_should:
        check_count(filter.min_should.count, prefix)
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
        case Contains():
            return _check_phrase(condition, place)
    _check_path(condition.field, f"{place}.field", nested=nested)
    if type(condition) in OPERANDS:
        OPERANDS[type(condition)](condition, place)
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


def _nan_in(values: Iterable[object]) -> int:
    """The place of the first NaN, or -1."""
    for number, value in enumerate(values):
        if value != value:  # noqa: PLR0124  which is so of nothing else
            return number
    return -1


def _nan(place: str) -> InvalidFilter:
    return InvalidFilter("NaN is neither equal to a number nor a bound", field=place)
