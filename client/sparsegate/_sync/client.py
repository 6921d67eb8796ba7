"""The client."""

from __future__ import annotations

from sparsegate._sync.aliases import AliasCalls
from sparsegate._sync.collections import CollectionCalls
from sparsegate._sync.documents import DocumentCalls
from sparsegate._sync.encode import EncodeCalls
from sparsegate._sync.models import ModelCalls
from sparsegate._sync.payloads import PayloadCalls
from sparsegate._sync.search import SearchCalls
from sparsegate._sync.snapshots import SnapshotCalls
from sparsegate._sync.uploads import UploadCalls


class Client(
    EncodeCalls,
    CollectionCalls,
    AliasCalls,
    SnapshotCalls,
    DocumentCalls,
    UploadCalls,
    PayloadCalls,
    SearchCalls,
    ModelCalls,
):
    """A client of the gateway, to be closed or used in a `with` block.

    Every call has a deadline: `timeout` seconds, the client's or the call's own. A call that fails
    with UNAVAILABLE is sent again up to four times within its deadline, with growing pauses. Only
    that code says that nothing is wrong with the request; a write sent twice is applied once,
    because the gateway knows it by its request id. RESOURCE_EXHAUSTED is an overloaded gateway,
    which retries would load further: it is raised, and `retry_after` says when to come back.

    `sparsegate.Client` may be shared by threads; `sparsegate.aio.Client` belongs to the event loop
    that it was made in.
    """
