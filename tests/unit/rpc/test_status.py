"""Errors as they go onto the wire: whole where there is room, and never too large for it."""

from __future__ import annotations

import base64
from urllib.parse import quote

import pytest
from google.rpc import error_details_pb2
from google.rpc.status_pb2 import Status

from sparsegate_server.errors import InvalidRequest, SparsegateError
from sparsegate_server.rpc.status import MOST_VIOLATIONS, BrokenRules, describe, to_status

METADATA = 8192
"""Bytes past which gRPC may refuse it."""


def on_the_wire(status: Status) -> int:
    """Bytes of the two headers that carry it: gRPC escapes the message and has the rest in
    base64."""
    return len(quote(status.message)) + len(base64.b64encode(status.SerializeToString()))


def violations(status: Status) -> list[tuple[str, str]]:
    bad = error_details_pb2.BadRequest()
    assert any(detail.Unpack(bad) for detail in status.details)
    return [(each.field, each.description) for each in bad.field_violations]


@pytest.mark.parametrize("letter", ["a", "я", "🎬"])
@pytest.mark.parametrize("length", [10, 199, 200, 201, 300, 5000])
def test_long_names_and_texts_leave_room_for_the_rest(letter: str, length: int) -> None:
    paths = [f'payload["{letter * length}"]' for _ in range(20)]
    errors: list[SparsegateError] = [
        BrokenRules([(path, letter * length) for path in paths]),
        InvalidRequest(letter * length, field=letter * length),
        InvalidRequest(letter * length),
    ]
    for error in errors:
        status = to_status(error, "r" * 128)
        assert on_the_wire(status) < METADATA - 500
        assert status.message == describe(error)
        if error.field:
            told = violations(status)
            assert 1 <= len(told) <= MOST_VIOLATIONS
            assert status.message.startswith(told[0][0])


def test_a_field_that_is_cut_does_not_hide_what_is_wrong_with_it() -> None:
    path = f'payload["{"ключ" * 1000}"]'
    status = to_status(BrokenRules([(path, "is too long")]))
    ((field, description),) = violations(status)
    assert path.startswith(field)
    assert (status.message, description) == (f"{field}: is too long", "is too long")


def test_what_is_short_enough_stays_whole() -> None:
    status = to_status(InvalidRequest("is no id: give a number", field="documents[3].id"))
    assert status.message == "documents[3].id: is no id: give a number"
    assert violations(status) == [("documents[3].id", "is no id: give a number")]
    assert describe(InvalidRequest("id is missing", field="id")) == "id is missing"
