"""How the client's channels are set up, synchronous or not."""

from __future__ import annotations

import json
from typing import Any, TypeAlias

MAX_MESSAGE_BYTES = 64 * 2**20

Options: TypeAlias = list[tuple[str, Any]]

_SERVICE_CONFIG = {
    "methodConfig": [
        {
            "name": [{}],
            "retryPolicy": {
                "maxAttempts": 5,
                "initialBackoff": "0.2s",
                "maxBackoff": "5s",
                "backoffMultiplier": 2,
                # Only this one says that nothing is wrong with the request and that nobody worked
                # on it for long. RESOURCE_EXHAUSTED is an overloaded gateway, which retries would
                # only load further: the caller decides, knowing `retry_after`.
                "retryableStatusCodes": ["UNAVAILABLE"],
            },
        }
    ]
}


def channel_options(extra: Options) -> Options:
    """Options of every channel; of two with one name gRPC takes the first, so that `extra` win."""
    return [
        *extra,
        ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
        ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
        ("grpc.enable_retries", 1),
        ("grpc.service_config", json.dumps(_SERVICE_CONFIG)),
        # A request that does not fit into this buffer is never retried; the default is 256 KiB.
        ("grpc.per_rpc_retry_buffer_size", MAX_MESSAGE_BYTES),
        # The default first waits a second before it connects again, longer than the first retries.
        ("grpc.initial_reconnect_backoff_ms", 100),
        ("grpc.max_reconnect_backoff_ms", 5000),
    ]
