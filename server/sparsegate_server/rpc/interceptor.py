"""Around every method: admission, parsing, rules, deadlines, errors, metrics, logs.

Messages come as bytes from grpc and are parsed here, so that a large one is parsed, checked and
serialized in a thread and never holds the event loop.
"""

from __future__ import annotations

import asyncio
import logging
import re
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeAlias, TypeVar, cast

import grpc
from google.protobuf.message import DecodeError, Message

from sparsegate_server.errors import (
    DeadlineExceeded,
    Internal,
    InvalidRequest,
    Overloaded,
    ReplyTooLarge,
    SparsegateError,
    code_of,
)
from sparsegate_server.rpc import call as calls
from sparsegate_server.rpc.call import Call, client_key
from sparsegate_server.rpc.contract import violations
from sparsegate_server.rpc.status import DETAILS_KEY, BrokenRules, to_status
from sparsegate_server.settings import Settings
from sparsegate_server.telemetry import logs
from sparsegate_server.telemetry.metrics import Metrics

logger = logging.getLogger(__name__)

T = TypeVar("T")
Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"
Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"
Receive: TypeAlias = Callable[[Any, Handler, Call], Awaitable[Any]]
"""What was sent, as bytes or as a stream of bytes, to a message or a stream of messages."""

PACKAGE = "/sparsegate.v1."
REQUEST_ID = "x-request-id"
CLIENT_ID = "x-client-id"
"""Metadata by which clients behind one address tell that they are several."""

LONGEST_ID = 128
LARGE = 65_536
"""Bytes past which serializing a message is worth a thread of its own."""

LARGE_REQUEST = 4_096
"""The same for parsing and checking, whose time grows with the items, however small they are."""

_ITEMS = re.compile(r"^(?:upsert\.)?(?:documents|searches)\[(\d+)\]")
"""Paths below which a broken rule is the fault of one item, not of its batch."""


class Gatekeeper(grpc.aio.ServerInterceptor):
    """Wraps the methods of Sparsegate's own services; health and reflection pass untouched."""

    def __init__(self, settings: Settings, metrics: Metrics) -> None:
        self._most = settings.server.max_concurrent_requests
        self._largest = settings.limits.max_message_bytes
        self._metrics = metrics
        self._serving = 0

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Handler | None]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Handler | None:
        handler = await continuation(handler_call_details)
        path = handler_call_details.method
        if handler is None or not path.startswith(PACKAGE):
            return handler
        method = path.removeprefix(PACKAGE)
        return self._wrapped(method, handler)

    def _wrapped(self, method: str, handler: Handler) -> Handler:
        """The same kind of method, from bytes to bytes."""
        match bool(handler.request_streaming), bool(handler.response_streaming):
            case False, False:
                serve = self._one_reply(method, handler, handler.unary_unary, _receive)
                return grpc.unary_unary_rpc_method_handler(serve)
            case True, False:
                serve = self._one_reply(method, handler, handler.stream_unary, _receive_stream)
                return grpc.stream_unary_rpc_method_handler(serve)
            case False, True:
                serve = self._many_replies(method, handler, handler.unary_stream, _receive)
                return grpc.unary_stream_rpc_method_handler(serve)
            case _:
                serve = self._many_replies(method, handler, handler.stream_stream, _receive_stream)
                return grpc.stream_stream_rpc_method_handler(serve)

    def _one_reply(
        self, method: str, handler: Handler, function: object, receive: Receive
    ) -> Callable[..., Any]:
        behaviour = cast(Callable[..., Awaitable[Message]], function)

        async def serve(sent: Any, context: Context) -> bytes:
            call = _begin(method, context)

            async def work() -> bytes:
                with self._admitted():
                    request = await receive(sent, handler, call)
                    _check_deadline(call)
                    reply = await behaviour(request, context)
                    return await self._serialize(reply, handler)

            return await self._guard(call, context, work)

        return serve

    def _many_replies(
        self, method: str, handler: Handler, function: object, receive: Receive
    ) -> Callable[..., Any]:
        """Takes no place among the requests being served: a stream may last for hours, and its
        client is held back by flow control."""
        behaviour = cast(Callable[..., AsyncIterator[Message]], function)

        async def serve(sent: Any, context: Context) -> None:
            call = _begin(method, context)

            async def work() -> None:
                request = await receive(sent, handler, call)
                async for reply in behaviour(request, context):
                    await context.write(await self._serialize(reply, handler))

            await self._guard(call, context, work)

        return serve

    @contextmanager
    def _admitted(self) -> Iterator[None]:
        """Raises Overloaded at once rather than let requests pile up behind one another."""
        if self._serving >= self._most:
            raise Overloaded(
                f"{self._most} requests are being served already: retry with back-off",
                retry_after=0.1,
            )
        self._serving += 1
        self._metrics.in_flight.set(self._serving)
        try:
            yield
        finally:
            self._serving -= 1
            self._metrics.in_flight.set(self._serving)

    async def _serialize(self, reply: Message, handler: Handler) -> bytes:
        size = reply.ByteSize()
        if size > self._largest:
            raise ReplyTooLarge(
                f"the reply has {size} bytes, more than the {self._largest} of one message: ask "
                "for fewer items, or without vectors, texts and payloads"
            )
        serialize = cast(Callable[[Message], bytes], handler.response_serializer)
        return await offload(size, serialize, reply)

    async def _guard(self, call: Call, context: Context, work: Callable[[], Awaitable[T]]) -> T:
        """Runs a method to its end and turns whatever it raises into a status."""
        try:
            result = await work()
        except SparsegateError as error:
            failure = error
        except asyncio.CancelledError:
            self._finish(call, "CANCELLED")
            raise
        except Exception:
            logger.exception("unexpected error", extra={"method": call.method})
            failure = Internal(
                f"internal error: look for request {call.request_id} in the gateway's log"
            )
        else:
            self._finish(call, "OK")
            return result
        self._finish(call, code_of(failure).name, failure)
        return cast(T, await _abort(context, failure, call))

    def _finish(self, call: Call, code: str, error: SparsegateError | None = None) -> None:
        total = call.timings.total()
        self._metrics.requests.labels(call.method, code).inc()
        self._metrics.latency.labels(call.method).observe(total)
        for stage, seconds in call.timings.stages().items():
            if seconds:
                self._metrics.stages.labels(call.method, stage).observe(seconds)
        logger.log(
            logging.INFO if code in {"OK", "CANCELLED"} else logging.WARNING,
            "request",
            extra={
                "method": call.method,
                "code": code,
                "milliseconds": round(total * 1e3, 3),
                **({"error": error.message, "reason": error.reason} if error else {}),
            },
        )


def _begin(method: str, context: Context) -> Call:
    remaining = context.time_remaining()
    metadata = dict(context.invocation_metadata() or ())
    given = str(metadata.get(REQUEST_ID, ""))
    call = Call(
        method=method,
        request_id=given[:LONGEST_ID] or uuid.uuid4().hex,
        deadline=None if remaining is None else time.monotonic() + remaining,
        client=client_key(context.peer(), str(metadata.get(CLIENT_ID, ""))[:LONGEST_ID]),
        repeatable_id=given if len(given) <= LONGEST_ID else "",
    )
    calls.enter(call)
    logs.request_id.set(call.request_id)
    context.set_trailing_metadata(((REQUEST_ID, call.request_id),))
    return call


def _check_deadline(call: Call) -> None:
    if call.late:
        raise DeadlineExceeded("the deadline had passed before the work began: allow more time")


async def offload(size: int, function: Callable[..., T], *args: object, large: int = LARGE) -> T:
    """Calls a function here when its work is small, else in a thread."""
    if size < large:
        return function(*args)
    return await asyncio.to_thread(function, *args)


async def _receive(raw: bytes, handler: Handler, call: Call) -> Message:
    parse = cast(Callable[[bytes], Message], handler.request_deserializer)
    request, broken = await offload(len(raw), _parse, raw, parse, large=LARGE_REQUEST)
    call.item_errors = _by_item(broken)
    return request


async def _receive_stream(
    raws: AsyncIterator[bytes], handler: Handler, call: Call
) -> AsyncIterator[Message]:
    """The messages of a stream; each is received only when it is asked for."""

    async def messages() -> AsyncIterator[Message]:
        async for raw in raws:
            yield await _receive(raw, handler, call)

    return messages()


def _parse(raw: bytes, parse: Callable[[bytes], Message]) -> tuple[Message, list[tuple[str, str]]]:
    """The message of the stubs, and the rules that it breaks.

    Raises:
        InvalidRequest: the bytes are no such message.
    """
    try:
        request = parse(raw)
        return request, violations(request.DESCRIPTOR.full_name, raw)
    except DecodeError as error:
        raise InvalidRequest(f"the request cannot be parsed: {error}") from error


def _by_item(broken: list[tuple[str, str]]) -> dict[int, SparsegateError]:
    """Sorts broken rules by the item of the batch that breaks them.

    Raises:
        BrokenRules: the request itself breaks a rule.
    """
    whole: list[tuple[str, str]] = []
    items: dict[int, list[tuple[str, str]]] = {}
    for path, text in broken:
        if match := _ITEMS.match(path):
            items.setdefault(int(match[1]), []).append((path, text))
        else:
            whole.append((path, text))
    if whole:
        raise BrokenRules(whole)
    return {at: BrokenRules(those) for at, those in items.items()}


async def _abort(context: Context, error: SparsegateError, call: Call) -> None:
    status = to_status(error, call.request_id)
    code = next(c for c in grpc.StatusCode if c.value[0] == status.code)
    trailing = ((REQUEST_ID, call.request_id), (DETAILS_KEY, status.SerializeToString()))
    await context.abort(code, status.message, trailing)
