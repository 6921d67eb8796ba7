"""What a condition means, on one document: the slow truth that every index must agree with."""

from __future__ import annotations

import math
import operator
from collections.abc import Iterable
from typing import Any

from sparsegate_server.filters import (
    TEXT_FIELD,
    Condition,
    Contains,
    Except,
    Filter,
    HasId,
    IsEmpty,
    IsNull,
    Match,
    MatchText,
    MatchValue,
    MinShould,
    Nested,
    Range,
    TimeRange,
    parse_time,
)
from sparsegate_server.index.filter.paths import resolve
from sparsegate_server.index.filter.words import contains_phrase, phrase_words, words
from sparsegate_server.types import DocumentId, Payload, PayloadValue


def matches(condition: Condition, id: DocumentId, text: str | None, payload: Payload) -> bool:
    """Whether a document passes a condition that `check` has found well formed."""
    match condition:
        case Filter():
            return not dropped_by(condition, id, text, payload)
        case HasId(ids):
            return any(type(each) is type(id) and each == id for each in ids)
        case Contains(phrase):
            return text is not None and contains_phrase(text, phrase)
        case _:
            return _holds(condition, values_of(condition.field, text, payload), id)


def dropped_by(filter: Filter, id: DocumentId, text: str | None, payload: Payload) -> str:
    """The clause that drops a document, or "" if it passes.

    `must[1]` and `must_not[0]` name a condition, `should` and `min_should` say that too few of
    theirs hold. A filter among `must` names its own clause: `must[0].must_not[2]`.
    """

    def held(conditions: Iterable[Condition]) -> Iterable[bool]:
        return (matches(each, id, text, payload) for each in conditions)

    for number, condition in enumerate(filter.must):
        if isinstance(condition, Filter):
            if inner := dropped_by(condition, id, text, payload):
                return f"must[{number}].{inner}"
        elif not matches(condition, id, text, payload):
            return f"must[{number}]"
    if filter.should and not any(held(filter.should)):
        return "should"
    for number, holds in enumerate(held(filter.must_not)):
        if holds:
            return f"must_not[{number}]"
    match filter.min_should:
        case MinShould(conditions, count) if sum(held(conditions)) < count:
            return "min_should"
    return ""


def values_of(field: str, text: str | None, payload: Payload) -> list[PayloadValue]:
    """The values that a condition on `field` looks at: of the payload, or the document's text."""
    if field == TEXT_FIELD:
        return [] if text is None else [text]
    return resolve(payload, field)


def is_number(value: PayloadValue) -> bool:
    """Whether a value compares as a number: a boolean does not, nor does NaN."""
    if isinstance(value, float):
        return not math.isnan(value)
    return isinstance(value, int) and not isinstance(value, bool)


def equal(value: PayloadValue, wanted: MatchValue) -> bool:
    """Whether two values are of one kind and the same; integers and floats are one kind."""
    if is_number(wanted):
        return is_number(value) and value == wanted
    return type(value) is type(wanted) and value == wanted


def _holds(
    condition: Match | Except | MatchText | Range | TimeRange | IsNull | IsEmpty | Nested,
    values: list[PayloadValue],
    id: DocumentId,
) -> bool:
    match condition:
        case IsEmpty():
            return all(value is None for value in values)
        case MatchText(text=wanted):
            there = {word for value in values if isinstance(value, str) for word in words(value)}
            return phrase_words(wanted) <= there
        case _:
            return any(_holds_for(condition, value, id) for value in values)


def _holds_for(
    condition: Match | Except | Range | TimeRange | IsNull | Nested,
    value: PayloadValue,
    id: DocumentId,
) -> bool:
    match condition:
        case Match(values=wanted):
            return any(equal(value, each) for each in wanted)
        case Except(values=barred):
            return value is not None and not any(equal(value, each) for each in barred)
        case Range():
            return is_number(value) and _within(value, condition)
        case TimeRange():
            time = parse_time(value) if isinstance(value, str) else None
            return time is not None and _within(time, condition)
        case IsNull():
            return value is None
        case Nested(filter=inner):
            return isinstance(value, dict) and matches(inner, id, None, value)


def _within(value: Any, bounds: Range | TimeRange) -> bool:
    limits = (
        (operator.gt, bounds.gt),
        (operator.ge, bounds.gte),
        (operator.lt, bounds.lt),
        (operator.le, bounds.lte),
    )
    return all(limit is None or holds(value, limit) for holds, limit in limits)
