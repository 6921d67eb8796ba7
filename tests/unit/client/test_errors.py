"""google.rpc details become errors."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from typing import Any

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration
from google.rpc.status_pb2 import Status

import sparsegate
from sparsegate._status import error_from_status
from sparsegate.results import UploadSummary

MakeStatus = Callable[..., Status]


@pytest.mark.parametrize("code", [c for c in grpc.StatusCode if c is not grpc.StatusCode.OK])
def test_every_code_is_an_error(code: grpc.StatusCode, status_of: MakeStatus) -> None:
    error = error_from_status(status_of(code, "why"))
    assert error.code is code
    assert error.message == "why"


def test_details_are_read(status_of: MakeStatus, details: Any) -> None:
    violation = details.BadRequest.FieldViolation
    error = error_from_status(
        status_of(
            grpc.StatusCode.INVALID_ARGUMENT,
            "texts[1]: is blank",
            details.ErrorInfo(reason="BLANK_TEXT", domain="sparsegate", metadata={"a": "b"}),
            details.BadRequest(
                field_violations=[
                    violation(field="texts[1]", description="is blank"),
                    violation(field="model", description="too long", reason="MAX_LEN"),
                ]
            ),
            details.RequestInfo(request_id="r1"),
        )
    )
    assert type(error) is sparsegate.InvalidArgument
    assert (error.reason, error.metadata, error.request_id) == ("BLANK_TEXT", {"a": "b"}, "r1")
    assert error.field == "texts[1]"
    assert error.violations == (
        sparsegate.Violation("texts[1]", "is blank"),
        sparsegate.Violation("model", "too long", "MAX_LEN"),
    )
    assert error.message == "is blank"
    assert str(error) == "texts[1]: is blank"
    assert error.retry_after is None


def test_a_retry_hint_is_seconds(status_of: MakeStatus, details: Any) -> None:
    hint = details.RetryInfo(retry_delay=Duration(seconds=1, nanos=500_000_000))
    error = error_from_status(status_of(grpc.StatusCode.RESOURCE_EXHAUSTED, "full", hint))
    assert isinstance(error, sparsegate.ResourceExhausted)
    assert error.retry_after == 1.5


def test_details_of_others_are_passed_over(status_of: MakeStatus) -> None:
    error = error_from_status(status_of(grpc.StatusCode.NOT_FOUND, "why", Duration(seconds=1)))
    assert isinstance(error, sparsegate.NotFound)


def test_an_unknown_code_is_an_error_still() -> None:
    assert error_from_status(Status(code=99, message="why")).code is grpc.StatusCode.UNKNOWN


def test_errors_can_be_pickled() -> None:
    cause = sparsegate.NotFound("gone", reason="COLLECTION_NOT_FOUND", request_id="r")
    summary = UploadSummary(5, 5, {}, 1, 9, 0, 0)
    for error in (cause, sparsegate.UploadInterrupted.of(cause, summary)):
        back = pickle.loads(pickle.dumps(error))  # noqa: S301 (our own bytes)
        assert type(back) is type(error)
        assert back.__dict__ == error.__dict__
        assert str(back) == str(error)


def test_the_tree_names_every_error() -> None:
    tree = sparsegate.errors.__doc__ or ""
    classes = [
        value
        for value in vars(sparsegate.errors).values()
        if isinstance(value, type) and issubclass(value, sparsegate.SparsegateError)
    ]
    assert len(classes) > 10
    for cls in classes:
        assert cls.__name__ in tree
        assert getattr(sparsegate, cls.__name__) is cls


def test_a_batch_gives_its_results_or_its_first_error() -> None:
    error = sparsegate.InvalidArgument("bad")
    batch = sparsegate.Batch((1, error, 3))
    assert batch.errors == {1: error}
    with pytest.raises(sparsegate.InvalidArgument):
        batch.unwrap()
    assert sparsegate.Batch((1, 2)).unwrap() == [1, 2]
