"""Every error that the gateway raises on purpose, and the one table that maps them to gRPC codes.

    SparsegateError
    ├── InvalidArgument          the request is wrong in itself; retrying it cannot help
    │   ├── BlankText                empty or only white space
    │   ├── NoKnownTokens            nothing but unknown wordpieces
    │   ├── TextTooLong              over the model's length, with on_truncation = ERROR
    │   ├── InvalidVector            NaN, infinite, negative, too large, duplicate or unequal
    │   ├── UnknownTerm              a term id outside the model's vocabulary
    │   ├── InvalidDocument          neither text nor vector, payload too large or too deep
    │   ├── InvalidFilter            a field path, a date or a bound that cannot be understood
    │   ├── SnapshotRefused          an archive that is damaged, too large, or not one of ours
    │   └── InvalidRequest           a field breaks a rule of the contract (names, limits, sizes)
    ├── NotFound
    │   ├── CollectionNotFound
    │   ├── DocumentNotFound
    │   ├── ModelNotFound
    │   └── SnapshotNotFound
    ├── AlreadyExists
    │   └── CollectionExists
    ├── FailedPrecondition       the state of the service forbids it
    │   ├── FingerprintMismatch      a vector, or a collection, made by another model
    │   ├── ModelSourceError         a model's files are missing, altered or not understood
    │   ├── ModelLoadFailed          the server that runs models did not load one
    │   ├── UnindexedFilter          a filter would read too many documents: create an index
    │   ├── NotCalibrated            a target recall, but nobody measured what effort it takes
    │   ├── DataFolderLocked         another process has the data folder open
    │   ├── DataFolderUnusable       missing rights, a read-only disk, a newer format
    │   └── TritonPreflightError     this machine cannot run the packaged Triton
    ├── ResourceExhausted
    │   ├── Overloaded               refused early; retry later
    │   ├── ReplyTooLarge            ask for less at a time
    │   └── StorageFull              no room on the disk; nothing was written
    ├── DataLoss                 a file is damaged; names it and the way out
    │   ├── CorruptIndex             `sparsegate-server index rebuild` makes the index anew
    │   └── CorruptStore             restore a snapshot
    ├── DeadlineExceeded         the caller's deadline had passed before the work began
    ├── Unavailable              a part that we need is away; retrying may help
    │   ├── InferenceUnavailable
    │   └── ShuttingDown
    └── Internal                 our fault
        └── InferenceFailed

An error is a plain value as well: batch calls return one in the place of an item that failed.
"""

from __future__ import annotations

from enum import IntEnum
from typing import ClassVar


class Code(IntEnum):
    """The numbers of google.rpc.Code that the gateway uses."""

    INVALID_ARGUMENT = 3
    DEADLINE_EXCEEDED = 4
    NOT_FOUND = 5
    ALREADY_EXISTS = 6
    RESOURCE_EXHAUSTED = 8
    FAILED_PRECONDITION = 9
    INTERNAL = 13
    UNAVAILABLE = 14
    DATA_LOSS = 15


class SparsegateError(Exception):
    """Base of every deliberate error.

    Attributes:
        message: what went wrong and what to do next, in one sentence or two.
        field: path of the offending request field (`documents[3].vector.values`), or "".
        metadata: machine-readable facts, sent as google.rpc.ErrorInfo metadata.
        retry_after: seconds after which a retry makes sense, or None.
    """

    reason: ClassVar[str] = "UNKNOWN"

    def __init__(
        self,
        message: str,
        *,
        field: str = "",
        metadata: dict[str, str] | None = None,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.field = field
        self.metadata = metadata or {}
        self.retry_after = retry_after

    def under(self, prefix: str) -> SparsegateError:
        """The same error with `field` moved below `prefix`: `values` becomes `vector.values`."""
        joined = f"{prefix}.{self.field}" if self.field else prefix
        return type(self)(
            self.message, field=joined, metadata=self.metadata, retry_after=self.retry_after
        )


class InvalidArgument(SparsegateError):
    reason = "INVALID_ARGUMENT"


class BlankText(InvalidArgument):
    reason = "BLANK_TEXT"


class NoKnownTokens(InvalidArgument):
    reason = "NO_KNOWN_TOKENS"


class TextTooLong(InvalidArgument):
    reason = "TEXT_TOO_LONG"


class InvalidVector(InvalidArgument):
    reason = "INVALID_VECTOR"


class UnknownTerm(InvalidArgument):
    reason = "UNKNOWN_TERM"


class InvalidDocument(InvalidArgument):
    reason = "INVALID_DOCUMENT"


class InvalidRequest(InvalidArgument):
    reason = "INVALID_REQUEST"


class InvalidFilter(InvalidArgument):
    reason = "INVALID_FILTER"


class SnapshotRefused(InvalidArgument):
    reason = "SNAPSHOT_REFUSED"


class NotFound(SparsegateError):
    reason = "NOT_FOUND"


class CollectionNotFound(NotFound):
    reason = "COLLECTION_NOT_FOUND"


class DocumentNotFound(NotFound):
    reason = "DOCUMENT_NOT_FOUND"


class ModelNotFound(NotFound):
    reason = "MODEL_NOT_FOUND"


class SnapshotNotFound(NotFound):
    reason = "SNAPSHOT_NOT_FOUND"


class AlreadyExists(SparsegateError):
    reason = "ALREADY_EXISTS"


class CollectionExists(AlreadyExists):
    reason = "COLLECTION_EXISTS"


class FailedPrecondition(SparsegateError):
    reason = "FAILED_PRECONDITION"


class FingerprintMismatch(FailedPrecondition):
    reason = "FINGERPRINT_MISMATCH"


class ModelSourceError(FailedPrecondition):
    reason = "MODEL_SOURCE"


class ModelLoadFailed(FailedPrecondition):
    reason = "MODEL_LOAD_FAILED"


class TritonPreflightError(FailedPrecondition):
    reason = "TRITON_PREFLIGHT"


class UnindexedFilter(FailedPrecondition):
    reason = "UNINDEXED_FILTER"


class NotCalibrated(FailedPrecondition):
    reason = "NOT_CALIBRATED"


class DataFolderLocked(FailedPrecondition):
    reason = "DATA_FOLDER_LOCKED"


class DataFolderUnusable(FailedPrecondition):
    reason = "DATA_FOLDER_UNUSABLE"


class ResourceExhausted(SparsegateError):
    reason = "RESOURCE_EXHAUSTED"


class Overloaded(ResourceExhausted):
    reason = "OVERLOADED"


class ReplyTooLarge(ResourceExhausted):
    reason = "REPLY_TOO_LARGE"


class StorageFull(ResourceExhausted):
    reason = "STORAGE_FULL"


class DataLoss(SparsegateError):
    reason = "DATA_LOSS"


class CorruptIndex(DataLoss):
    reason = "CORRUPT_INDEX"


class CorruptStore(DataLoss):
    reason = "CORRUPT_STORE"


class DeadlineExceeded(SparsegateError):
    reason = "DEADLINE_EXCEEDED"


class Unavailable(SparsegateError):
    reason = "UNAVAILABLE"


class InferenceUnavailable(Unavailable):
    reason = "INFERENCE_UNAVAILABLE"


class ShuttingDown(Unavailable):
    reason = "SHUTTING_DOWN"


class Internal(SparsegateError):
    reason = "INTERNAL"


class InferenceFailed(Internal):
    reason = "INFERENCE_FAILED"


_CODES: dict[type[SparsegateError], Code] = {
    InvalidArgument: Code.INVALID_ARGUMENT,
    NotFound: Code.NOT_FOUND,
    AlreadyExists: Code.ALREADY_EXISTS,
    FailedPrecondition: Code.FAILED_PRECONDITION,
    ResourceExhausted: Code.RESOURCE_EXHAUSTED,
    DataLoss: Code.DATA_LOSS,
    DeadlineExceeded: Code.DEADLINE_EXCEEDED,
    Unavailable: Code.UNAVAILABLE,
    Internal: Code.INTERNAL,
}


def code_of(error: SparsegateError) -> Code:
    """The gRPC code of an error: that of its nearest ancestor in the table."""
    for cls in type(error).__mro__:
        if cls in _CODES:
            return _CODES[cls]
    return Code.INTERNAL
