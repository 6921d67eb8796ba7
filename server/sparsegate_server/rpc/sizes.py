"""The gateway's own limits, which may be tighter than those of the contract."""

from __future__ import annotations

from sparsegate_server.errors import InvalidRequest


def check_size(field: str, size: int, limit: int) -> None:
    """Raises InvalidRequest: a list has more items, or a number is greater, than allowed here."""
    if size > limit:
        raise InvalidRequest(f"{size} is more than the {limit} allowed here", field=field)
