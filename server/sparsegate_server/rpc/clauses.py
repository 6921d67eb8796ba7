"""Where the clauses of the filter that was run stand in the request that it came from."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from sparsegate_server.errors import InvalidFilter, SparsegateError, UnindexedFilter
from sparsegate_server.filters import (
    Condition,
    Contains,
    Except,
    Filter,
    HasId,
    IsEmpty,
    IsNull,
    Match,
    MatchText,
    Nested,
    Range,
    TimeRange,
)

_CLAUSE = re.compile(r"(must|should|must_not|min_should\.conditions)\[(\d+)\](?:\.|\Z)")

_NAMES: dict[type, str] = {
    Filter: "filter",
    Match: "match",
    Except: "match_except",
    MatchText: "match_text",
    Range: "range",
    TimeRange: "datetime_range",
    IsNull: "is_null",
    IsEmpty: "is_empty",
    HasId: "has_id",
    Contains: "contains",
    Nested: "nested",
}


@dataclass(frozen=True, slots=True)
class Clauses:
    """The filter of a request, and where it came from.

    With required words, the filter that is run has the request's own one as its first condition,
    where there is one, and the words as the others.

    Attributes:
        run: the filter that is run, if any.
        own: whether the request has a filter.
        words: number of words that it requires.
    """

    run: Filter | None
    own: bool = True
    words: int = 0

    def place(self, path: str) -> str:
        """Path in the request of a clause of the filter that was run; "" for none.

        `must[1].field` becomes `filter.must[1].match.field`, or `must_contain[0]`.
        """
        path = path.removeprefix("filter.")
        if self.run is None or not path:
            return path
        if not self.words:
            return f"filter.{_in_request(self.run, path)}"
        first = _CLAUSE.match(path)
        if first is None:
            return path
        at, rest = int(first[2]), path[first.end() :]
        if self.own and at == 0:
            own = self.run.must[0]
            assert isinstance(own, Filter)
            return f"filter.{_in_request(own, rest)}" if rest else "filter"
        return f"must_contain[{at - self.own}]"

    def blame(self, error: SparsegateError) -> SparsegateError:
        """The error, with the field of the request where the filter is to blame."""
        if not isinstance(error, InvalidFilter | UnindexedFilter):
            return error
        field = self.place(error.field) if _is_clause(error.field) else error.field
        if field == "filter" and not self.own:
            field = "must_contain"
        if field == error.field:
            return error
        return type(error)(
            error.message,
            field=field,
            metadata=error.metadata,
            retry_after=error.retry_after,
        )

    @contextmanager
    def blaming(self) -> Iterator[None]:
        """Errors of the block blame fields of the request."""
        try:
            yield
        except SparsegateError as error:
            blamed = self.blame(error)
            if blamed is error:
                raise
            raise blamed from error


def _is_clause(path: str) -> bool:
    return path.removeprefix("filter.").startswith(("must", "should", "min_should"))


def _in_request(filter: Filter, path: str) -> str:
    clause = _CLAUSE.match(path)
    if clause is None:
        return path
    head, rest = path[: clause.end()].removesuffix("."), path[clause.end() :]
    condition = _group(filter, clause[1])[int(clause[2])]
    if not rest:
        return head
    head = f"{head}.{_NAMES[type(condition)]}"
    match condition:
        case Filter():
            return f"{head}.{_in_request(condition, rest)}"
        case Nested(filter=inner) if rest.startswith("filter."):
            return f"{head}.filter.{_in_request(inner, rest.removeprefix('filter.'))}"
        case IsNull() | IsEmpty() | Contains():
            return head
    return f"{head}.{rest}"


def _group(filter: Filter, name: str) -> tuple[Condition, ...]:
    if name == "min_should.conditions":
        return filter.min_should.conditions if filter.min_should else ()
    group: tuple[Condition, ...] = getattr(filter, name)
    return group
