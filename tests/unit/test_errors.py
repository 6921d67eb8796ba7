"""The tree of errors and its one table."""

from __future__ import annotations

import inspect

import pytest

from sparsegate_server import errors
from sparsegate_server.errors import Code, SparsegateError, code_of

CLASSES = [
    cls
    for _, cls in inspect.getmembers(errors, inspect.isclass)
    if issubclass(cls, SparsegateError) and cls is not SparsegateError
]


@pytest.mark.parametrize("cls", CLASSES)
def test_every_error_is_drawn_and_has_a_reason_of_its_own(cls: type[SparsegateError]) -> None:
    assert errors.__doc__ is not None
    assert f" {cls.__name__}" in errors.__doc__
    assert [c for c in CLASSES if c.reason == cls.reason] == [cls]


def test_the_nearest_ancestor_in_the_table_gives_the_code() -> None:
    assert code_of(errors.BlankText("")) is Code.INVALID_ARGUMENT
    assert code_of(errors.FingerprintMismatch("")) is Code.FAILED_PRECONDITION
    assert code_of(errors.InferenceUnavailable("")) is Code.UNAVAILABLE
    assert code_of(SparsegateError("")) is Code.INTERNAL


def test_an_error_moves_below_a_prefix_and_keeps_the_rest() -> None:
    error = errors.Overloaded("full", field="x", metadata={"a": "b"}, retry_after=2.0)
    moved = error.under("documents[3]")
    assert type(moved) is errors.Overloaded
    assert (moved.field, moved.message) == ("documents[3].x", "full")
    assert (moved.metadata, moved.retry_after) == ({"a": "b"}, 2.0)
    assert errors.BlankText("blank").under("text").field == "text"
