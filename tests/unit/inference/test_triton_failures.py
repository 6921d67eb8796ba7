"""What Triton's own words mean. The texts are real ones, of release 24.10 and of gRPC."""

from __future__ import annotations

import pytest

from sparsegate_server.errors import (
    DeadlineExceeded,
    InferenceFailed,
    InferenceUnavailable,
    ModelNotFound,
    Overloaded,
    SparsegateError,
)
from sparsegate_server.inference.failures import ModelDied, OutOfSharedMemory, translate

REFUSED = (
    "failed to connect to all addresses; last error: UNKNOWN: ipv4:127.0.0.1:50897: Failed to "
    "connect to remote host: connect: Connection refused (111)"
)
SHARED_MEMORY = (
    "Failed to process the request(s) for model 'splade-tiny-logits_0_1', message: Failed to "
    "increase the shared memory pool size for key 'sparsegate_1' to 1048576 bytes. If you are "
    "running Triton inside docker, use '--shm-size' flag to control the shared memory region size. "
    "Error: No space left on device"
)
GRAPH = (
    "Failed to process the request(s) for model 'splade-tiny_0_0', message: onnxruntime failed: "
    "indices element out of data bounds, idx=30522 must be within the inclusive range"
)


@pytest.mark.parametrize(
    ("status", "text", "kind"),
    [
        ("UNAVAILABLE", REFUSED, InferenceUnavailable),
        ("UNAVAILABLE", "Socket closed", InferenceUnavailable),
        ("UNAVAILABLE", "recvmsg:Connection reset by peer", InferenceUnavailable),
        ("UNAVAILABLE", "keepalive watchdog timeout", InferenceUnavailable),
        (
            "UNAVAILABLE",
            "Request for unknown model: 'm' has no available versions",
            InferenceUnavailable,
        ),
        ("CANCELLED", "CANCELLED", InferenceUnavailable),
        ("UNKNOWN", "Stream removed", InferenceUnavailable),
        ("INTERNAL", "Received RST_STREAM with error code 2", InferenceUnavailable),
        ("INTERNAL", "Stub process 'splade-tiny_0_1' is not healthy.", ModelDied),
        ("INTERNAL", SHARED_MEMORY, OutOfSharedMemory),
        ("UNAVAILABLE", "[request id: <id_unknown>] Exceeds maximum queue size", Overloaded),
        ("UNAVAILABLE", "Request timeout expired", DeadlineExceeded),
        ("DEADLINE_EXCEEDED", "Deadline Exceeded", DeadlineExceeded),
        ("NOT_FOUND", "Request for unknown model: 'm' is not found", ModelNotFound),
        ("INTERNAL", GRAPH, InferenceFailed),
        ("INVALID_ARGUMENT", "unexpected shape for input 'input_ids'", InferenceFailed),
        ("", "no status at all", InferenceFailed),
    ],
)
def test_each_text_has_its_meaning(status: str, text: str, kind: type[SparsegateError]) -> None:
    error = translate("triton:8001", "m", status, text)
    assert type(error) is kind
    assert "triton:8001" in error.message
    # What may go again says when; what may not, does not.
    again = isinstance(error, InferenceUnavailable | Overloaded)
    assert (error.retry_after is not None) == again


@pytest.mark.parametrize("status", ["UNAVAILABLE", "NOT_FOUND", "DEADLINE_EXCEEDED", "INTERNAL"])
def test_every_text_says_what_to_do_next(status: str) -> None:
    message = translate("triton:8001", "m", status, "something").message
    assert any(word in message for word in ("retry", "export", "allow", "log says more"))
