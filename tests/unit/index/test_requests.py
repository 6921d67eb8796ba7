"""Requests that come twice, streams, payload changes and indexes, also over a restart."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from sparsegate_server.errors import InvalidFilter, InvalidRequest
from sparsegate_server.filters import FieldKind, Filter, Match, Range
from sparsegate_server.index import Collection
from sparsegate_server.operations import (
    PayloadChange,
    PayloadMode,
    StreamBatch,
    WriteResult,
)

from . import oracle
from .opening import assert_holds, copied, document, documents, held, opened
from .oracle import Model, Stored

MODEL: Model = {
    key: Stored({1: float(key + 1)}, f"text {key}", {"n": key, "k": "ab"[key % 2]})
    for key in range(8)
}
EVEN = Filter(must=(Match("k", ("a",)),))


@pytest.fixture
def collection(tmp_path: Path) -> Iterator[Collection]:
    """Half of it sealed."""
    with opened(tmp_path / "c", shards=2) as collection:
        collection.upsert(documents(MODEL)[:4])
        collection.seal()
        collection.upsert(documents(MODEL)[4:])
        yield collection


CHANGE = PayloadChange(PayloadMode.MERGE, {"z": 1})
RETRIED: dict[str, Callable[[Collection, str], WriteResult]] = {
    "upsert": lambda each, name: each.upsert([document("x", {1: 1.0})], request_id=name),
    "delete": lambda each, name: each.delete([1, 2], request_id=name),
    "delete by filter": lambda each, name: each.delete(EVEN, request_id=name),
    "set payload": lambda each, name: each.set_payload([1], CHANGE, request_id=name),
    "without effect": lambda each, name: each.delete(["nobody"], request_id=name),
}


@pytest.mark.parametrize("name", RETRIED)
def test_a_retried_request_is_applied_once(
    collection: Collection, tmp_path: Path, name: str
) -> None:
    write = RETRIED[name]
    first = write(collection, "a")
    collection.upsert(documents(MODEL))  # what the retry must not undo
    after = held(collection)
    again = WriteResult(first.sequence, first.affected, repeated=True)
    assert write(collection, "a") == again
    with closing_copy(collection, tmp_path / "crashed") as crashed:
        assert write(crashed, "a") == again
        assert_holds(crashed, after)
    collection.close()
    with opened(tmp_path / "c") as reopened:
        assert write(reopened, "a") == again
        assert_holds(reopened, after)
        for other in RETRIED.keys() - {name}:
            with pytest.raises(InvalidRequest) as caught:
                RETRIED[other](reopened, "a")
            assert caught.value.field == "request_id"
        assert_holds(reopened, after)
        assert not write(reopened, "b").repeated


def closing_copy(collection: Collection, folder: Path) -> closing[Collection]:
    return closing(Collection(copied(collection, folder)))


def test_a_retried_request_is_known_whatever_the_order_of_its_fields(
    collection: Collection,
) -> None:
    """A message gives its fields in another order to another process."""
    orders = ({"a": {"x": 1, "y": [{}]}, "b": 2}, {"b": 2, "a": {"y": [{}], "x": 1}})
    for again, payload in enumerate(orders):
        given = document("x", {1: 1.0}, None, payload)
        assert collection.upsert([given], request_id="a").repeated == again
        for mode in (PayloadMode.MERGE, PayloadMode.REPLACE):
            change = PayloadChange(mode, payload)
            assert collection.set_payload(EVEN, change, request_id=mode).repeated == again


def test_a_request_that_was_refused_may_use_its_id_again(collection: Collection) -> None:
    unindexed = Filter(must=(Match("a..b", (1,)),))
    with pytest.raises(InvalidFilter):
        collection.delete(unindexed, request_id="a")
    assert collection.delete([1], request_id="a").affected == 1


def test_requests_with_one_id_that_wait_together(collection: Collection) -> None:
    futures = [collection.submit_upsert([document(9, {1: 1.0})], request_id="a") for _ in range(9)]
    results = [each.result() for each in futures]
    assert [each.repeated for each in results] == [False] + [True] * 8
    assert {each.sequence for each in results} == {3}


def test_batches_of_a_stream_are_applied_once(collection: Collection, tmp_path: Path) -> None:
    def send(to: Collection, number: int, stream: str = "s") -> WriteResult:
        batch = StreamBatch(stream, number)
        return to.upsert([document(f"{stream}{number}", {1: 1.0})], batch=batch)

    assert collection.stream_position("s") == 0
    assert [send(collection, number).sequence for number in (1, 2, 3)] == [3, 4, 5]
    assert send(collection, 1, "t").sequence == 6
    assert collection.stream_position("s") == 3
    collection.delete(["s3"])
    with closing_copy(collection, tmp_path / "crashed") as crashed:
        assert crashed.stream_position("s") == 3
        assert send(crashed, 3) == WriteResult(5, 0, repeated=True)
        assert send(crashed, 2).repeated
        assert crashed.get(["s3"]).documents == (None,)
        assert not send(crashed, 4).repeated
        assert crashed.stream_position("s") == 4
        assert crashed.stream_position("t") == 1
    # A batch without documents moves the stream on as well.
    assert collection.upsert([], batch=StreamBatch("s", 4)).sequence == 7
    assert collection.stream_position("s") == 4
    assert collection.size().sequence == 7


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (PayloadChange(PayloadMode.MERGE, {"n": None, "new": [1]}), {"n": None, "new": [1]}),
        (PayloadChange(PayloadMode.REPLACE, {"new": {"a": 1.5}}), {"new": {"a": 1.5}}),
        (PayloadChange(PayloadMode.REPLACE), {}),
        (PayloadChange(PayloadMode.REMOVE, keys=("n", "missing")), {}),
    ],
)
def test_payloads_change_and_nothing_else(
    collection: Collection, tmp_path: Path, change: PayloadChange, expected: dict[str, object]
) -> None:
    model = dict(MODEL)
    for target in ([1, 5, 1, "nobody"], EVEN, [], Filter(must=(Match("k", ("none",)),))):
        chosen = oracle.chosen(model, target)
        model = oracle.changed(model, target, change)
        assert collection.set_payload(target, change).affected == len(chosen)
        assert_holds(collection, model)
    kept = {} if change.mode is PayloadMode.REPLACE else {"k": "b"}
    assert model[1].payload == kept | expected
    with closing_copy(collection, tmp_path / "crashed") as crashed:
        assert_holds(crashed, model)
    collection.optimize()
    assert_holds(collection, model)


def test_documents_are_deleted_by_what_they_are(collection: Collection) -> None:
    assert collection.delete(EVEN).affected == 4
    assert collection.delete(EVEN).affected == 0
    assert collection.delete(Filter()).affected == 4
    assert_holds(collection, {})


def test_payload_indexes_come_and_go(collection: Collection, tmp_path: Path) -> None:
    assert collection.create_index("n", FieldKind.NUMBER) == WriteResult(3, 0)
    assert collection.create_index("n", FieldKind.NUMBER) == WriteResult(3, 1)
    assert collection.indexes() == {"n": (FieldKind.NUMBER, False)}
    collection.build_indexes()
    assert collection.indexes() == {"n": (FieldKind.NUMBER, True)}
    with pytest.raises(InvalidRequest) as caught:
        collection.create_index("n", FieldKind.KEYWORD)
    assert caught.value.field == "kind"
    # Of another kind, while the columns of the old one are still there.
    assert collection.delete_index("n") == WriteResult(4, 1)
    assert collection.delete_index("n") == WriteResult(4, 0)
    collection.create_index("n", FieldKind.KEYWORD)
    assert collection.indexes() == {"n": (FieldKind.KEYWORD, False)}
    least = Filter(must=(Range("n", gte=4),))
    assert collection.count(least).count == 4
    while collection.build_indexes():
        pass
    assert collection.indexes() == {"n": (FieldKind.KEYWORD, True)}
    assert collection.count(least).count == 4
    with closing_copy(collection, tmp_path / "crashed") as crashed:
        assert crashed.indexes() == {"n": (FieldKind.KEYWORD, True)}
        assert crashed.count(least).count == 4
    with pytest.raises(InvalidFilter):
        collection.create_index("a..b", FieldKind.NUMBER)


def test_two_spellings_of_a_field_have_one_index(collection: Collection) -> None:
    collection.create_index('"n"', FieldKind.NUMBER)
    assert list(collection.indexes()) == ["n"]
    assert collection.delete_index("n").affected == 1
