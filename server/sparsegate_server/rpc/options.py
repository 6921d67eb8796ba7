"""What searches and explanations ask for besides their query."""

from __future__ import annotations

from sparsegate.v1 import search_pb2
from sparsegate_server.errors import InvalidRequest
from sparsegate_server.operations import SearchOptions
from sparsegate_server.rpc.clauses import Clauses
from sparsegate_server.rpc.filters import search_filter
from sparsegate_server.rpc.sizes import check_size
from sparsegate_server.settings import Limits


def options_from(
    request: search_pb2.SearchRequest | search_pb2.ExplainRequest, limit: int, limits: Limits
) -> SearchOptions:
    """The options that both kinds of requests have; nothing is selected.

    Raises:
        InvalidRequest: more hits than allowed, those passed over by the offset included.
        InvalidFilter: the filter, or a required word, cannot be understood.
    """
    check_size("limit", limit, limits.max_limit)
    if limit + request.offset > limits.max_limit:
        raise InvalidRequest(
            f"{request.offset} hits passed over and {limit} returned are more than the "
            f"{limits.max_limit} allowed here: page through a whole collection with Scroll",
            field="offset",
        )
    own = request.filter if request.HasField("filter") else None
    return SearchOptions(
        limit=limit,
        offset=request.offset,
        threshold=request.score_threshold if request.HasField("score_threshold") else None,
        filter=search_filter(own, request.must_contain),
        idf=request.idf,
    )


def clauses_of(
    request: search_pb2.SearchRequest | search_pb2.ExplainRequest, options: SearchOptions
) -> Clauses:
    return Clauses(options.filter, request.HasField("filter"), len(request.must_contain))
