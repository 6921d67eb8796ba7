"""What belongs to one request while it is served."""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field

from sparsegate_server.encoders.base import Caller
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
    client: who shares fairly with other clients.
    item_errors: items of a batch request that break a rule, by position.
    timings: filled by the plans.
    """

    method: str
    request_id: str
    deadline: float | None
    client: str = ""
    repeatable_id: str = ""
    item_errors: Mapping[int, SparsegateError] = field(default_factory=dict)
    timings: Timings = field(default_factory=Timings)

    @property
    def caller(self) -> Caller:
        return Caller(self.client, self.deadline)

    @property
    def late(self) -> bool:
        """Whether the deadline has passed."""
        return self.deadline is not None and self.deadline <= time.monotonic()


def client_key(peer: str, named: str) -> str:
    """Who shares fairly with others: an address without its port, and a name below it.

    A name is taken on trust: who makes many up gets as many shares, as with many addresses.

    Args:
        peer: as grpc writes it, `ipv4:10.0.0.7:50312`.
        named: what the caller calls itself, or "".
    """
    return f"{peer.rpartition(':')[0]} {named}"


_current: ContextVar[Call] = ContextVar("call")


def enter(call: Call) -> None:
    _current.set(call)


def current() -> Call:
    return _current.get()
