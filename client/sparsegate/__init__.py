"""Sparsegate: neural sparse search as a service. This is its client.

    import sparsegate

    with sparsegate.Client("127.0.0.1:50051") as client:
        client.create_collection("movies")
        film = sparsegate.Document(id=1, text="A rock band on tour", payload={"year": 1984})
        client.upsert("movies", [film]).raise_for_errors()
        for hit in client.search("movies", "A movie about music", with_payload=True).hits:
            print(hit.score, hit.id, hit.payload)

`sparsegate.filters` says which documents a call may touch. `sparsegate.aio.Client` has the same
methods for asyncio.
"""

from sparsegate import aio, filters
from sparsegate._sync.client import Client
from sparsegate.errors import (
    AlreadyExists,
    Cancelled,
    DataLoss,
    DeadlineExceeded,
    FailedPrecondition,
    Internal,
    InvalidArgument,
    NotFound,
    PermissionDenied,
    ResourceExhausted,
    SparsegateError,
    Unauthenticated,
    Unavailable,
    Unimplemented,
    UploadInterrupted,
    Violation,
)
from sparsegate.filters import Filter
from sparsegate.results import (
    Bar,
    DeleteResult,
    EncodedQuery,
    EncodeResult,
    Encoding,
    Explanation,
    GetResult,
    Hit,
    PayloadResult,
    ScrollPage,
    SearchBatchResult,
    SearchResult,
    TermContribution,
    TermGap,
    Token,
    TokenizedText,
    TokenizeResult,
    UploadProgress,
    UploadSummary,
    UpsertResult,
)
from sparsegate.types import (
    Alias,
    AliasChange,
    Batch,
    CallOptions,
    Collection,
    Document,
    DocumentId,
    EncodeMode,
    FieldKind,
    Model,
    OnTruncation,
    Payload,
    PayloadIndex,
    PayloadMode,
    Search,
    Snapshot,
    SparseVector,
    Timings,
)

__all__ = [
    "Alias",
    "AliasChange",
    "AlreadyExists",
    "Bar",
    "Batch",
    "CallOptions",
    "Cancelled",
    "Client",
    "Collection",
    "DataLoss",
    "DeadlineExceeded",
    "DeleteResult",
    "Document",
    "DocumentId",
    "EncodeMode",
    "EncodeResult",
    "EncodedQuery",
    "Encoding",
    "Explanation",
    "FailedPrecondition",
    "FieldKind",
    "Filter",
    "GetResult",
    "Hit",
    "Internal",
    "InvalidArgument",
    "Model",
    "NotFound",
    "OnTruncation",
    "Payload",
    "PayloadIndex",
    "PayloadMode",
    "PayloadResult",
    "PermissionDenied",
    "ResourceExhausted",
    "ScrollPage",
    "Search",
    "SearchBatchResult",
    "SearchResult",
    "Snapshot",
    "SparseVector",
    "SparsegateError",
    "TermContribution",
    "TermGap",
    "Timings",
    "Token",
    "TokenizeResult",
    "TokenizedText",
    "Unauthenticated",
    "Unavailable",
    "Unimplemented",
    "UploadInterrupted",
    "UploadProgress",
    "UploadSummary",
    "UpsertResult",
    "Violation",
    "aio",
    "filters",
]
