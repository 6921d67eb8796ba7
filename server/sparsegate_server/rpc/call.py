"""What belongs to one request while it is served."""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field

from sparsegate_server.errors import SparsegateError
from sparsegate_server.search.timing import Timings


@dataclass(slots=True)
class Call:
    """Attributes:
    method: `SearchService/Search`.
    request_id: the caller's `x-request-id`, or one that we made up.
    repeatable_id: the caller's `x-request-id`, by which a write that is sent again is told from a
        new one; "" where there is none, or too long a one.
    deadline: on time.monotonic's clock, or None when the caller set none.
    item_errors: items of a batch request that break a rule, by position.
    timings: filled by the plans.
    """

    method: str
    request_id: str
    deadline: float | None
    repeatable_id: str = ""
    item_errors: Mapping[int, SparsegateError] = field(default_factory=dict)
    timings: Timings = field(default_factory=Timings)

    @property
    def timeout(self) -> float | None:
        """Seconds that are left, at least zero."""
        if self.deadline is None:
            return None
        return max(0.0, self.deadline - time.monotonic())


_current: ContextVar[Call] = ContextVar("call")


def enter(call: Call) -> None:
    _current.set(call)


def current() -> Call:
    return _current.get()
