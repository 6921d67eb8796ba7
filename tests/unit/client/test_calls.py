"""Deadlines, retries, headers and readiness, with both clients."""

from __future__ import annotations

import time
from dataclasses import fields
from typing import Any

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration

import sparsegate
from sparsegate import Document, _descriptions, _replies, _requests
from sparsegate.v1 import collection_pb2, encode_pb2, model_pb2, search_pb2
from sparsegate.v1 import document_pb2 as pb

NOT_SERVING = b"\x08\x02"


def failing(times: int, refuse: Any, code: grpc.StatusCode, *details: Any) -> Any:
    """An answer to Count that fails at first."""
    left = [times]

    def count(_: Any, context: Any) -> pb.CountDocumentsResponse:
        if left[0]:
            left[0] -= 1
            refuse(context, code, "not now", *details)
        return pb.CountDocumentsResponse(count=3)

    return count


async def test_a_call_that_finds_nobody_is_sent_again(
    client: Any, gateway: Any, refuse: Any
) -> None:
    gateway.count = failing(2, refuse, grpc.StatusCode.UNAVAILABLE)
    assert await client.count("films") == 3
    assert gateway.calls == 3


async def test_a_large_request_is_sent_again_too(client: Any, gateway: Any, refuse: Any) -> None:
    refused = [0]

    def upsert(request: pb.UpsertRequest, context: Any) -> pb.UpsertResponse:
        if not refused[0]:
            refused[0] += 1
            refuse(context, grpc.StatusCode.UNAVAILABLE, "not now")
        return pb.UpsertResponse(results=[pb.UpsertResult()], applied=1, sequence=1)

    gateway.upsert = upsert
    result = await client.upsert("films", [Document(1, "x" * 2**20)])
    assert result.raise_for_errors().applied == 1


async def test_retries_end_with_the_deadline(client: Any, gateway: Any, refuse: Any) -> None:
    gateway.count = failing(100, refuse, grpc.StatusCode.UNAVAILABLE)
    began = time.monotonic()
    with pytest.raises((sparsegate.Unavailable, sparsegate.DeadlineExceeded)):
        await client.count("films", timeout=0.3)
    assert time.monotonic() - began < 2


async def test_an_overloaded_gateway_is_left_alone(
    client: Any, gateway: Any, refuse: Any, details: Any
) -> None:
    hint = details.RetryInfo(retry_delay=Duration(nanos=250_000_000))
    gateway.count = failing(1, refuse, grpc.StatusCode.RESOURCE_EXHAUSTED, hint)
    with pytest.raises(sparsegate.ResourceExhausted) as caught:
        await client.count("films")
    assert caught.value.retry_after == 0.25
    assert gateway.calls == 1


async def test_every_call_has_a_deadline(client: Any, gateway: Any) -> None:
    gateway.count = lambda *_: time.sleep(2)
    began = time.monotonic()
    with pytest.raises(sparsegate.DeadlineExceeded):
        await client.count("films", timeout=0.1)
    assert time.monotonic() - began < 1


async def test_the_clients_own_deadline(gateway: Any) -> None:
    seen = []

    def count(_: Any, context: Any) -> pb.CountDocumentsResponse:
        seen.append(context.time_remaining())
        return pb.CountDocumentsResponse()

    gateway.count = count
    with sparsegate.Client(gateway.address) as client:
        client.count("films")
    with sparsegate.Client(gateway.address, timeout=5) as client:
        client.count("films")
    assert 25 < seen[0] < 31
    assert 3 < seen[1] < 6


async def test_headers_reach_the_gateway(gateway: Any) -> None:
    with sparsegate.Client(gateway.address, metadata=[("x-tenant", "a")]) as client:
        client.count("films", request_id="r1", metadata=[("x-extra", "b")])
        assert gateway.metadata["x-request-id"] == "r1"
        assert gateway.metadata["x-tenant"] == "a"
        assert gateway.metadata["x-extra"] == "b"
        client.count("films")
        assert len(gateway.metadata["x-request-id"]) == 32


@pytest.mark.parametrize("given", ["ü", "", "a\nb", "\x00", " a", "a ", 7])
async def test_a_request_id_that_no_header_can_carry_is_refused(
    client: Any, gateway: Any, capfd: pytest.CaptureFixture[str], given: Any
) -> None:
    for call in (
        client.count("films", request_id=given),
        client.upload("films", [Document(1)], request_id=given),
        client.restore_snapshot("films", __file__, request_id=given),
    ):
        with pytest.raises(sparsegate.InvalidArgument, match="header") as caught:
            await call
        assert caught.value.field == "request_id"
    assert gateway.calls == 0
    assert capfd.readouterr().err == ""


async def test_a_number_of_shards_that_the_wire_cannot_carry(client: Any) -> None:
    with pytest.raises(sparsegate.InvalidArgument) as caught:
        await client.create_collection("films", shards=-1)
    assert caught.value.field == "shards"


async def test_an_error_knows_its_request(client: Any, gateway: Any, refuse: Any) -> None:
    gateway.count = failing(1, refuse, grpc.StatusCode.NOT_FOUND)
    with pytest.raises(sparsegate.NotFound) as caught:
        await client.count("films", request_id="r2")
    assert caught.value.request_id == "r2"


async def test_an_error_without_details_keeps_its_code(client: Any, gateway: Any) -> None:
    gateway.count = lambda _, context: context.abort(grpc.StatusCode.PERMISSION_DENIED, "go away")
    with pytest.raises(sparsegate.PermissionDenied, match="go away"):
        await client.count("films")


async def test_details_that_are_none_do_not_hide_the_error(client: Any, gateway: Any) -> None:
    def count(_: Any, context: Any) -> None:
        context.set_trailing_metadata((("grpc-status-details-bin", b"\xff\xff"),))
        context.abort(grpc.StatusCode.NOT_FOUND, "gone")

    gateway.count = count
    with pytest.raises(sparsegate.NotFound, match="gone"):
        await client.count("films")


async def test_a_message_may_have_64_megabytes(client: Any, gateway: Any) -> None:
    with pytest.raises(sparsegate.ResourceExhausted):
        await client.upsert("films", [Document(1, "x" * (64 * 2**20))])
    assert gateway.calls == 0


async def test_documents_that_cannot_be_sent_are_not(client: Any, gateway: Any) -> None:
    with pytest.raises(sparsegate.InvalidArgument) as caught:
        await client.upsert("films", [Document(1), Document(2, payload={"n": 2**63})])
    assert caught.value.field == "documents[1].payload.n"
    assert gateway.calls == 0


async def test_refused_documents_are_errors_at_their_place(
    client: Any, gateway: Any, status_of: Any
) -> None:
    bad = status_of(grpc.StatusCode.INVALID_ARGUMENT, "no")
    gateway.upsert = lambda *_: pb.UpsertResponse(
        results=[pb.UpsertResult(truncated=True), pb.UpsertResult(error=bad)], applied=1, sequence=9
    )
    result = await client.upsert("films", [Document(1, "a"), Document(2, "b")])
    assert (result.applied, result.sequence, result.truncated) == (1, 9, (0,))
    assert list(result.errors) == [1]
    with pytest.raises(sparsegate.InvalidArgument, match="no"):
        result.raise_for_errors()


async def test_scroll_all_walks_over_all_pages(gateway: Any) -> None:
    with sparsegate.Client(gateway.address) as client:
        ids = [document.id for document in client.scroll_all("films", page_size=4)]
    assert ids == list(range(1, 11))
    async with sparsegate.aio.Client(gateway.address) as client:
        ids = [document.id async for document in client.scroll_all("films", page_size=4)]
    assert ids == list(range(1, 11))
    assert gateway.calls == 6


async def test_wait_ready_waits_until_the_gateway_serves(client: Any, gateway: Any) -> None:
    gateway.health = [NOT_SERVING, NOT_SERVING, *gateway.health]
    await client.wait_ready(5)
    assert len(gateway.health) == 1


async def test_wait_ready_waits_while_a_proxy_finds_nobody(client: Any, gateway: Any) -> None:
    """Longer than a call that is sent again: that gives up after five attempts."""
    gateway.health = [grpc.StatusCode.UNAVAILABLE] * 6 + gateway.health
    await client.wait_ready(60)
    assert len(gateway.health) == 1


@pytest.mark.parametrize("answer", [NOT_SERVING, grpc.StatusCode.UNAVAILABLE])
async def test_wait_ready_gives_up(client: Any, gateway: Any, answer: object) -> None:
    gateway.health = [answer]
    with pytest.raises(sparsegate.DeadlineExceeded, match=r"not ready within 0.2 s: check"):
        await client.wait_ready(0.2)


async def test_wait_ready_does_not_wait_for_what_is_no_gateway(client: Any, gateway: Any) -> None:
    gateway.health = [grpc.StatusCode.UNIMPLEMENTED]
    with pytest.raises(sparsegate.errors.Unimplemented):
        await client.wait_ready(60)


@pytest.mark.parametrize(
    ("method", "args"),
    [
        ("encode", (["a"],)),
        ("search", ("films", "a")),
        ("scroll", ("films",)),
        ("explain", ("films", "a", 1)),
        ("calibrate", ("films", ["a"] * 10)),
    ],
)
async def test_arguments_that_cannot_be_sent_are_named(
    client: Any, method: str, args: tuple[Any, ...]
) -> None:
    bad = {
        "encode": {"mode": "guess"},
        "search": {"limit": -1},
        "scroll": {"after": -5},
        "explain": {"on_truncation": "cry"},
        "calibrate": {"limit": -1},
    }[method]
    with pytest.raises(sparsegate.InvalidArgument) as caught:
        await getattr(client, method)(*args, **bad)
    assert caught.value.field == next(iter(bad))


async def test_one_text_is_no_sequence_of_its_letters(client: Any) -> None:
    with pytest.raises(TypeError, match="list"):
        await client.encode("text", mode="query")


async def test_an_effort_and_a_target_exclude_each_other(client: Any) -> None:
    with pytest.raises(sparsegate.InvalidArgument) as caught:
        await client.search("films", "a", effort=0.5, target_recall=0.9)
    assert caught.value.field == "effort"
    searches = [sparsegate.Search("films", "a"), sparsegate.Search("films", "a", effort=1)]
    searches.append(sparsegate.Search("films", "a", effort=0.5, target_recall=0.9))
    with pytest.raises(sparsegate.InvalidArgument) as batch:
        await client.search_batch(searches)
    assert batch.value.field == "searches[2].effort"
    with pytest.raises(TypeError, match="single one"):
        await client.calibrate("films", "a question")


def test_an_effort_is_sent_as_it_was_given() -> None:
    plain = _requests.search(sparsegate.Search("films", "a"))
    assert not plain.HasField("effort")
    level = _requests.search(sparsegate.Search("films", "a", effort=0.3)).effort
    assert (level.WhichOneof("kind"), level.level) == ("level", 0.3)
    target = _requests.search(sparsegate.Search("films", "a", target_recall=0.97)).effort
    assert (target.WhichOneof("kind"), target.target_recall) == ("target_recall", 0.97)
    # What is out of range is the gateway's to refuse.
    assert _requests.search(sparsegate.Search("films", "a", effort=-1)).effort.level == -1
    vector = sparsegate.SparseVector([3], [0.5])
    asked = _requests.calibrate("films", ["a", vector], 7)
    assert [query.WhichOneof("query") for query in asked.queries] == ["text", "vector"]
    assert (asked.collection, asked.limit) == ("films", 7)


def test_a_reply_tells_what_was_missed() -> None:
    exact = _replies.search(search_pb2.SearchResponse(effort=1))
    assert (exact.approximate, exact.missed_score, exact.effort) == (False, None, 1.0)
    rough = _replies.search(
        search_pb2.SearchResponse(
            approximate=True, missed_score=0, blocks_skipped=2**40, effort=0.3
        )
    )
    assert (rough.approximate, rough.missed_score) == (True, 0.0)
    assert (rough.blocks_skipped, rough.effort) == (2**40, 0.3)


def test_identity_and_execution_are_read_whole() -> None:
    names = {field.name for field in model_pb2.ModelIdentity.DESCRIPTOR.fields}
    assert names == {field.name for field in fields(sparsegate.ModelIdentity)}
    message = model_pb2.ModelIdentity(
        family="splade-doc", queries="tokens", weights_sha256="a", query_weights_sha256="b",
        idf_sha256="c", tokenizer_sha256="d", vocabulary_size=1, pooling="max", activation="log1p",
        max_length=2, max_terms=3, threshold=0.1, dropped_terms=[4, 5],
    )  # fmt: skip
    identity = _descriptions.model(model_pb2.Model(identity=message)).identity
    assert identity is not None
    for name in names:
        told = getattr(identity, name)
        assert (list(told) if isinstance(told, tuple) else told) == getattr(message, name)
    assert (
        _descriptions.collection(collection_pb2.Collection(identity=message)).identity == identity
    )
    ran = model_pb2.ModelExecution(precision="int8", backend="triton")
    expected = sparsegate.ModelExecution("int8", "triton")
    replies = [
        _descriptions.collection(collection_pb2.Collection(execution=ran)),
        _replies.encode(encode_pb2.EncodeResponse(execution=ran)),
        _replies.upsert(pb.UpsertResponse(execution=ran)),
        _replies.search(search_pb2.SearchResponse(execution=ran)),
        _replies.explain(search_pb2.ExplainResponse(execution=ran)),
    ]
    assert [reply.execution for reply in replies] == [expected] * 5


def test_sources_are_read_whole() -> None:
    names = {field.name for field in search_pb2.SourceToken.DESCRIPTOR.fields}
    assert names == {field.name for field in fields(sparsegate.SourceToken)}
    query = search_pb2.SourceToken(position=1, text="mus", start=2, end=5, word="music")
    document = search_pb2.SourceToken(position=3, text="band", start=17, end=21, word="band")
    row = search_pb2.TermContribution(query_source=query, document_source=document)
    gap = search_pb2.TermGap(query_source=query, document_source=document)
    read = _replies.explain(
        search_pb2.ExplainResponse(
            terms=[row, search_pb2.TermContribution(query_source=query)],
            missing=[search_pb2.TermContribution()],
            closing=[gap],
        )
    )
    expected = (
        sparsegate.SourceToken(1, "mus", 2, 5, "music"),
        sparsegate.SourceToken(3, "band", 17, 21, "band"),
    )
    both, one = read.terms
    assert (both.query_source, both.document_source) == expected
    assert (one.query_source, one.document_source) == (expected[0], None)
    assert (read.missing[0].query_source, read.missing[0].document_source) == (None, None)
    assert (read.closing[0].query_source, read.closing[0].document_source) == expected
    # An older gateway says nothing, and a newer one what is not known here.
    assert (read.query_sources, read.document_sources) == (None, None)


def test_every_state_of_sources_has_its_name() -> None:
    told = [
        _replies.explain(search_pb2.ExplainResponse(query_sources=at, document_sources=at))
        for at in search_pb2.SourceState.values()
    ]
    names = [name.removeprefix("SOURCE_STATE_") for name, _ in search_pb2.SourceState.items()]
    assert [each.query_sources for each in told][1:] == [
        name.lower().replace("_", " ") for name in names[1:]
    ]
    assert [each.document_sources for each in told] == [each.query_sources for each in told]
    assert told[0].query_sources is None


def test_an_older_gateway_tells_no_identity() -> None:
    assert _descriptions.model(model_pb2.Model()).identity is None
    assert _descriptions.collection(collection_pb2.Collection()).identity is None
    assert _replies.search(search_pb2.SearchResponse()).execution is None
