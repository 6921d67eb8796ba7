"""Errors to google.rpc.Status, the form that every gRPC client can read."""

from __future__ import annotations

from google.protobuf.any_pb2 import Any
from google.protobuf.duration_pb2 import Duration
from google.rpc import error_details_pb2
from google.rpc.status_pb2 import Status

from sparsegate_server.errors import InvalidRequest, SparsegateError, code_of

DOMAIN = "sparsegate"
MOST_VIOLATIONS = 6
LONGEST_FIELD = 200
LONGEST_TEXT = 400
"""Bytes of UTF-8. Past 8 KiB of metadata, in which the message comes once in plain and once in
base64, the caller's gRPC may put an error of its own in the place of the status."""

DETAILS_KEY = "grpc-status-details-bin"
"""Trailing metadata that carries the Status; the name is gRPC's."""


class BrokenRules(InvalidRequest):
    """A request that breaks one or more rules of the contract; names every field."""

    def __init__(self, violations: list[tuple[str, str]]) -> None:
        field, problem = violations[0]
        more = f" (and {len(violations) - 1} more)" if len(violations) > 1 else ""
        super().__init__(f"{field}: {problem}{more}" if field else problem + more, field=field)
        self.violations = violations

    def under(self, prefix: str) -> BrokenRules:
        """Itself: rules are checked on the whole request, so the paths are whole already."""
        return self


def to_status(error: SparsegateError, request_id: str = "") -> Status:
    """Details: ErrorInfo always; BadRequest where a field is to blame; RetryInfo where a retry
    makes sense; RequestInfo where there is a request id."""
    info = error_details_pb2.ErrorInfo(reason=error.reason, domain=DOMAIN, metadata=error.metadata)
    details = [_pack(info)]
    blamed = error.violations if isinstance(error, BrokenRules) else [(error.field, error.message)]
    if error.field:
        details.append(
            _pack(
                error_details_pb2.BadRequest(
                    field_violations=[
                        error_details_pb2.BadRequest.FieldViolation(
                            field=_cut(f, LONGEST_FIELD), description=_cut(text, LONGEST_TEXT)
                        )
                        for f, text in blamed[:MOST_VIOLATIONS]
                    ]
                )
            )
        )
    if error.retry_after is not None:
        delay = Duration()
        delay.FromNanoseconds(int(error.retry_after * 1e9))
        details.append(_pack(error_details_pb2.RetryInfo(retry_delay=delay)))
    if request_id:
        details.append(_pack(error_details_pb2.RequestInfo(request_id=request_id)))
    return Status(code=int(code_of(error)), message=describe(error), details=details)


def describe(error: SparsegateError) -> str:
    """The message, naming the field where the text does not already begin with it. Both are cut at
    what a status may hold."""
    field = _cut(error.field, LONGEST_FIELD)
    told = error.message.removeprefix(error.field)
    if error.field and told == error.message:
        told = f": {told}"
    return _cut(field + told, LONGEST_TEXT)


def _cut(text: str, most: int) -> str:
    """The beginning of a text that has too many bytes."""
    encoded = text.encode()
    return text if len(encoded) <= most else encoded[:most].decode(errors="ignore")


def _pack(
    detail: error_details_pb2.ErrorInfo
    | error_details_pb2.BadRequest
    | error_details_pb2.RetryInfo
    | error_details_pb2.RequestInfo,
) -> Any:
    packed = Any()
    packed.Pack(detail)
    return packed
