"""google.rpc details to errors."""

from __future__ import annotations

from typing import Any

import grpc
from google.protobuf.message import DecodeError
from google.rpc import error_details_pb2 as details_pb
from google.rpc.status_pb2 import Status

from sparsegate import errors
from sparsegate.errors import SparsegateError, Violation

DETAILS_KEY = "grpc-status-details-bin"

_CODES = {code.value[0]: code for code in grpc.StatusCode}

_CLASSES: dict[grpc.StatusCode, type[SparsegateError]] = {
    cls.code: cls
    for cls in (
        errors.InvalidArgument,
        errors.NotFound,
        errors.AlreadyExists,
        errors.FailedPrecondition,
        errors.DataLoss,
        errors.ResourceExhausted,
        errors.DeadlineExceeded,
        errors.Unavailable,
        errors.Cancelled,
        errors.PermissionDenied,
        errors.Unauthenticated,
        errors.Unimplemented,
        errors.Internal,
    )
}


def error_from_status(status: Status, request_id: str = "") -> SparsegateError:
    """The error that a google.rpc.Status describes."""
    code = _CODES.get(status.code, grpc.StatusCode.UNKNOWN)
    facts: dict[str, Any] = {"request_id": request_id}
    for detail in status.details:
        facts.update(_facts(detail))
    # The gateway puts the field before the text, for clients that read nothing but the text.
    message = status.message.removeprefix(f"{facts.get('field', '')}: ")
    return _CLASSES.get(code, SparsegateError)(message, code=code, **facts)


def error_from_call(error: grpc.RpcError, request_id: str = "") -> SparsegateError:
    """The error of a failed call, with its details where the server sent any."""
    # Every RpcError that a call raises is also a Call, synchronous or not.
    call: Any = error
    for key, value in call.trailing_metadata() or ():
        if key == DETAILS_KEY:
            try:
                return error_from_status(Status.FromString(value), request_id)
            except DecodeError:
                break  # not ours: a proxy's, perhaps; code and message remain
    code = call.code()
    message = call.details() or code.name
    return _CLASSES.get(code, SparsegateError)(message, code=code, request_id=request_id)


def _facts(detail: Any) -> dict[str, Any]:
    """What one detail says, as arguments of the error."""
    if detail.Is(details_pb.ErrorInfo.DESCRIPTOR):
        info = details_pb.ErrorInfo()
        detail.Unpack(info)
        return {"reason": info.reason, "metadata": dict(info.metadata)}
    if detail.Is(details_pb.BadRequest.DESCRIPTOR):
        bad = details_pb.BadRequest()
        detail.Unpack(bad)
        violations = tuple(
            Violation(v.field, v.description, v.reason) for v in bad.field_violations
        )
        return {"violations": violations, "field": violations[0].field if violations else ""}
    if detail.Is(details_pb.RetryInfo.DESCRIPTOR):
        retry = details_pb.RetryInfo()
        detail.Unpack(retry)
        return {"retry_after": retry.retry_delay.ToTimedelta().total_seconds()}
    if detail.Is(details_pb.RequestInfo.DESCRIPTOR):
        request = details_pb.RequestInfo()
        detail.Unpack(request)
        return {"request_id": request.request_id}
    return {}
