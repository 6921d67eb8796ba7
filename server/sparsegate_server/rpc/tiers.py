"""Which tier of a ladder answered, as a message."""

from __future__ import annotations

from sparsegate.v1 import search_pb2
from sparsegate_server.rpc.status import to_status
from sparsegate_server.search.resolve import Resolved


def tier_to(query: Resolved) -> search_pb2.AnsweringTier | None:
    """None where the collection has no ladder."""
    if not query.config.ladder:
        return None
    return search_pb2.AnsweringTier(
        number=query.tier,
        model=query.answering.model,
        passed_over=(
            search_pb2.PassedOverTier(model=each.model, reason=to_status(each.error))
            for each in query.passed_over
        ),
    )
