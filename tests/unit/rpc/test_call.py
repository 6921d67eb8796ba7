"""What is known of a request before it is parsed."""

from __future__ import annotations

import time

import pytest

from sparsegate_server.encoders.base import Caller
from sparsegate_server.rpc.call import Call, client_key


def test_connections_of_one_address_are_one_client_unless_they_say_otherwise() -> None:
    one, other = "ipv4:10.0.0.7:50312", "ipv4:10.0.0.7:50313"
    assert client_key(one, "") == client_key(other, "")
    assert client_key(one, "a") != client_key(other, "b")
    assert client_key(one, "") != client_key("ipv4:10.0.0.8:50312", "")
    assert client_key("ipv6:[::1]:50312", "") == client_key("ipv6:[::1]:50313", "")


@pytest.mark.parametrize(("seconds", "late"), [(-1, True), (100, False), (None, False)])
def test_the_caller_carries_the_deadline(seconds: float | None, late: bool) -> None:
    deadline = None if seconds is None else time.monotonic() + seconds
    call = Call("SearchService/Search", "id", deadline, client="me")
    assert call.caller == Caller("me", deadline)
    assert call.late is late
