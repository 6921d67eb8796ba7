from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sparsegate_server.errors import InvalidRequest
from sparsegate_server.index import ids
from sparsegate_server.types import DocumentId

from .oracle import order

any_id = st.one_of(
    st.integers(0, 2**64 - 1),
    st.text(st.characters(codec="utf-8"), min_size=1, max_size=64),
)


@given(any_id)
def test_an_id_comes_back_from_its_bytes(document_id: DocumentId) -> None:
    decoded = ids.decode(ids.encode(document_id))
    assert decoded == document_id
    assert type(decoded) is type(document_id)


@given(any_id, any_id)
def test_bytes_order_as_ids_do(a: DocumentId, b: DocumentId) -> None:
    assert (ids.encode(a) < ids.encode(b)) == (order(a) < order(b))


def test_integers_and_strings_are_different_documents() -> None:
    assert ids.encode(5) != ids.encode("5")
    assert ids.encode(2**64 - 1) < ids.encode("\0")


def test_the_bytes_are_those_of_the_format() -> None:
    assert ids.encode(258) == b"\x00\x00\x00\x00\x00\x00\x00\x01\x02"
    assert ids.encode("é") == b"\x01\xc3\xa9"


@pytest.mark.parametrize("legal", [0, 2**64 - 1, "x", "x" * 256, "é" * 128, "\0"])
def test_the_limits_are_legal(legal: DocumentId) -> None:
    assert ids.decode(ids.encode(legal)) == legal


@pytest.mark.parametrize(
    "illegal", [-1, 2**64, "", "x" * 257, "é" * 129, "\ud800", "a\udfffb", True, False, None, 1.0]
)
def test_anything_else_is_refused_by_name(illegal: DocumentId) -> None:
    with pytest.raises(InvalidRequest) as caught:
        ids.encode(illegal)
    assert caught.value.field == "id"


# These values decide where documents lie on disk. They stay as they are, for ever.
PINNED = [
    (0, 0x4A5E0A2095369A89),
    (1, 0x64775164B8E25D5A),
    (5, 0x7050070A9348867A),
    (2**64 - 1, 0x39F93D2093C99D04),
    ("5", 0xFDB289B80344BD9E),
    ("doc-1", 0xF0F4E1F49C6E9707),
    ("é", 0xFA44303C52662FC7),
    ("z" * 256, 0x612F9E95F43C08B0),
]


@pytest.mark.parametrize(("document_id", "hashed"), PINNED)
def test_the_shard_of_an_id_never_changes(document_id: DocumentId, hashed: int) -> None:
    key = ids.encode(document_id)
    assert ids.shard_of(key, 2**64) == hashed  # as many shards as hashes: the hash itself
    for shards in (1, 2, 8, 1000):
        assert ids.shard_of(key, shards) == hashed * shards >> 64


def test_shards_are_filled_evenly() -> None:
    shards = 8
    counts = [0] * shards
    for number in range(8000):
        counts[ids.shard_of(ids.encode(number), shards)] += 1
    assert min(counts) > 850
    assert max(counts) < 1150
