"""Sparsegate: neural sparse search as a service. This is its client.

    import sparsegate

    with sparsegate.Client("127.0.0.1:50051") as client:
        client.create_collection("movies")
        film = sparsegate.Document(id=1, text="A rock band on tour", payload={"year": 1984})
        client.upsert("movies", [film]).raise_for_errors()
        for hit in client.search("movies", "A movie about music", with_payload=True).hits:
            print(hit.score, hit.id, hit.payload)

`sparsegate.aio.Client` has the same methods for asyncio.
"""

from sparsegate import aio
from sparsegate._sync.client import Client
from sparsegate.errors import (
    AlreadyExists,
    Cancelled,
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
from sparsegate.results import (
    DeleteResult,
    EncodedQuery,
    EncodeResult,
    Encoding,
    Explanation,
    GetResult,
    Hit,
    ScrollPage,
    SearchBatchResult,
    SearchResult,
    TermContribution,
    Token,
    TokenizedText,
    TokenizeResult,
    UploadProgress,
    UploadSummary,
    UpsertResult,
)
from sparsegate.types import (
    Batch,
    CallOptions,
    Collection,
    Document,
    DocumentId,
    EncodeMode,
    Model,
    OnTruncation,
    Payload,
    Search,
    SparseVector,
    Timings,
)

__all__ = [
    "AlreadyExists",
    "Batch",
    "CallOptions",
    "Cancelled",
    "Client",
    "Collection",
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
    "GetResult",
    "Hit",
    "Internal",
    "InvalidArgument",
    "Model",
    "NotFound",
    "OnTruncation",
    "Payload",
    "PermissionDenied",
    "ResourceExhausted",
    "ScrollPage",
    "Search",
    "SearchBatchResult",
    "SearchResult",
    "SparseVector",
    "SparsegateError",
    "TermContribution",
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
]
