"""Every error that the client raises.

    SparsegateError
    ├── InvalidArgument       the request is wrong in itself (also a ValueError)
    ├── NotFound              no such collection, document, model or snapshot
    ├── AlreadyExists         the collection's name is taken
    ├── FailedPrecondition    the state of the service forbids it: a vector of another model, …
    ├── DataLoss              a file of the gateway is damaged; the message names the way out
    ├── ResourceExhausted     refused early; `retry_after` says when to come back
    ├── DeadlineExceeded      no answer in time
    ├── Unavailable           nobody answers at the address, or the gateway is going away
    ├── Cancelled             the call was cancelled
    ├── PermissionDenied
    ├── Unauthenticated
    ├── Unimplemented         the gateway is older than this client, or is not a gateway
    ├── Internal              the gateway's fault
    └── UploadInterrupted     a bulk upload broke off; `summary` says what was acknowledged

An error is a plain value as well: a batch call returns one in the place of an item that failed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import grpc

if TYPE_CHECKING:
    from sparsegate.results import UploadSummary


@dataclass(frozen=True, slots=True)
class Violation:
    """One field that breaks a rule.

    Attributes:
        field: path of the field in the request, as in `documents[3].vector.values`.
        description: what is wrong with it.
        reason: machine-readable name of the rule, or "".
    """

    field: str
    description: str
    reason: str = ""


class SparsegateError(Exception):
    """Base of every error of the client.

    Attributes:
        message: what went wrong and what to do next.
        code: gRPC status code.
        reason: machine-readable cause, as in `COLLECTION_NOT_FOUND`, or "".
        field: path of the offending request field, or "".
        violations: every field that breaks a rule.
        metadata: machine-readable facts about the cause.
        retry_after: seconds after which a retry makes sense, or None.
        request_id: what the request is called in the gateway's logs, or "".
    """

    code: grpc.StatusCode = grpc.StatusCode.UNKNOWN

    def __init__(
        self,
        message: str,
        *,
        code: grpc.StatusCode | None = None,
        reason: str = "",
        field: str = "",
        violations: tuple[Violation, ...] = (),
        metadata: Mapping[str, str] | None = None,
        retry_after: float | None = None,
        request_id: str = "",
    ) -> None:
        super().__init__(message)
        self.message = message
        self.code = type(self).code if code is None else code
        self.reason = reason
        self.field = field
        self.violations = violations
        self.metadata = dict(metadata or {})
        self.retry_after = retry_after
        self.request_id = request_id

    def __str__(self) -> str:
        return f"{self.field}: {self.message}" if self.field else self.message


class InvalidArgument(SparsegateError, ValueError):
    """The request is wrong in itself; sending it again cannot help."""

    code = grpc.StatusCode.INVALID_ARGUMENT


class NotFound(SparsegateError):
    """No such collection, document, model or snapshot."""

    code = grpc.StatusCode.NOT_FOUND


class AlreadyExists(SparsegateError):
    """The name is taken."""

    code = grpc.StatusCode.ALREADY_EXISTS


class FailedPrecondition(SparsegateError):
    """The state of the service forbids it.

    Where the reason is `FINGERPRINT_MISMATCH`, `metadata` has the fingerprints of both models as
    `given` and `expected`, and where the gateway knows both, as `differs` a JSON list with `field`,
    `given` and `expected` of all that is not the same.
    """

    code = grpc.StatusCode.FAILED_PRECONDITION


class DataLoss(SparsegateError):
    """A file of the gateway is damaged. The message names it and the way out."""

    code = grpc.StatusCode.DATA_LOSS


class ResourceExhausted(SparsegateError):
    """Refused early, or too large a message. Where `retry_after` is set, come back then."""

    code = grpc.StatusCode.RESOURCE_EXHAUSTED


class DeadlineExceeded(SparsegateError):
    """No answer came in time. A write may have been applied all the same."""

    code = grpc.StatusCode.DEADLINE_EXCEEDED


class Unavailable(SparsegateError):
    """Nobody answers at the address, or a part that the gateway needs is away."""

    code = grpc.StatusCode.UNAVAILABLE


class Cancelled(SparsegateError):
    """The call was cancelled."""

    code = grpc.StatusCode.CANCELLED


class PermissionDenied(SparsegateError):
    """The caller may not do this."""

    code = grpc.StatusCode.PERMISSION_DENIED


class Unauthenticated(SparsegateError):
    """The caller did not say who it is."""

    code = grpc.StatusCode.UNAUTHENTICATED


class Unimplemented(SparsegateError):
    """The server does not know the call."""

    code = grpc.StatusCode.UNIMPLEMENTED


class Internal(SparsegateError):
    """The gateway's fault."""

    code = grpc.StatusCode.INTERNAL


class UploadInterrupted(SparsegateError):
    """A bulk upload broke off. Its cause is `__cause__`, whose code and reason it shares.

    Attributes:
        summary: what the gateway acknowledged. To resume, upload the same source with
            `stream=summary.stream`; or begin with the document at position
            `summary.acknowledged`: those after it may have been applied, and upserting them again
            does no harm.
    """

    summary: UploadSummary

    @classmethod
    def of(cls, cause: SparsegateError, summary: UploadSummary) -> UploadInterrupted:
        """The error that says how far an upload came before `cause` ended it."""
        error = cls(
            f"{cause.message} (upload interrupted: {summary.acknowledged} documents were "
            "acknowledged)",
            code=cause.code,
            reason=cause.reason,
            field=cause.field,
            violations=cause.violations,
            metadata=cause.metadata,
            retry_after=cause.retry_after,
            request_id=cause.request_id,
        )
        error.summary = summary
        return error
