"""Options of the channel: a caller's own win over the client's."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import pytest

from sparsegate import Client, Unavailable


class Away(grpc.GenericRpcHandler):  # type: ignore[type-arg]
    """A server that refuses every call and counts them."""

    def __init__(self) -> None:
        self.calls = 0

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> Any:  # noqa: ARG002
        def refuse(_request: bytes, context: grpc.ServicerContext) -> bytes:
            self.calls += 1
            context.abort(grpc.StatusCode.UNAVAILABLE, "away")
            raise AssertionError

        return grpc.unary_unary_rpc_method_handler(refuse)


@pytest.fixture
def away() -> Iterator[tuple[Away, str]]:
    handler = Away()
    with ThreadPoolExecutor(1) as pool:
        server = grpc.server(pool, handlers=[handler])
        port = server.add_insecure_port("127.0.0.1:0")
        server.start()
        yield handler, f"127.0.0.1:{port}"
        server.stop(None).wait()


def test_a_call_is_tried_again_unless_the_caller_turns_it_off(away: tuple[Away, str]) -> None:
    server, address = away
    with Client(address) as client, pytest.raises(Unavailable):
        client.list_models()
    assert server.calls > 1
    server.calls = 0
    options = [("grpc.enable_retries", 0)]
    with Client(address, options=options) as client, pytest.raises(Unavailable):
        client.list_models()
    assert server.calls == 1
