"""Explain says which words of the query and of the document each term came from: a real model."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.integration.gateway.conftest import Wire, serving
from tests.integration.gateway.movies import ID, QUESTION, load_movies

from sparsegate.v1 import common_pb2, document_pb2, encode_pb2, search_pb2
from sparsegate_server.models.execution import Execution
from sparsegate_server.models.pull import pull
from sparsegate_server.models.repository import export

SPINAL_TAP = 18
TEXT = "\u200bÜber 🎬👨\u200d👩 and\x00 a rock cafe\u0301: a band plays 音楽 fatefully"


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With `splade-tiny`, which says where its terms come from."""
    folder = tmp_path_factory.mktemp("positions")
    export(pull("splade-tiny"), folder, name="splade-tiny", execution=Execution(positions=True))
    return folder


@pytest.fixture
async def positioned(repository: Path, data_folder: Path) -> AsyncIterator[Wire]:
    async with serving(repository) as wire:
        yield wire


async def explain(wire: Wire, id: int, text: str = QUESTION) -> search_pb2.ExplainResponse:
    request = search_pb2.ExplainRequest(collection="films", text=text, id=ID(number=id), limit=1)
    return await wire.search.Explain(request)


def pairs(reply: search_pb2.ExplainResponse) -> dict[str, tuple[str, str]]:
    return {row.term: (row.query_source.text, row.document_source.text) for row in reply.terms}


async def test_terms_are_traced_to_the_words_of_both_texts(positioned: Wire) -> None:
    await load_movies(positioned)
    reply = await explain(positioned, SPINAL_TAP)
    assert reply.query_sources == search_pb2.SOURCE_STATE_KNOWN
    assert reply.document_sources == search_pb2.SOURCE_STATE_KNOWN
    found = pairs(reply)
    assert found["music"] == ("music", "bands")
    assert found["movie"] == ("movie", "film")
    assert found["directed"] == ("movie", "director")
    music = next(row for row in reply.terms if row.term == "music")
    assert (music.document_source.start, music.document_source.end) == (37, 42)
    assert (music.query_source.start, music.query_source.end) == (14, 19)
    sound = next(row for row in reply.terms if row.term == "sound").document_source
    assert (sound.text, sound.word) == ("loud", "loudest")
    assert all(row.HasField("query_source") for row in (*reply.terms, *reply.missing))
    assert all(row.HasField("document_source") for row in reply.terms)
    assert not any(row.HasField("document_source") for row in reply.missing)


async def test_what_closes_a_gap_is_traced_too(positioned: Wire) -> None:
    await load_movies(positioned)
    reply = await explain(positioned, 8)
    assert reply.closing
    for row in reply.closing:
        assert row.HasField("query_source")
        assert row.HasField("document_source") == (row.document_weight > 0)


async def test_sources_are_tokens_and_characters_of_the_text_as_it_was_sent(
    positioned: Wire,
) -> None:
    await positioned.create()
    document = common_pb2.Document(id=ID(number=1), text=TEXT)
    upsert = document_pb2.UpsertRequest(collection="films", documents=[document])
    assert (await positioned.documents.Upsert(upsert)).applied == 1
    reply = await explain(positioned, 1, TEXT)
    assert reply.document_sources == search_pb2.SOURCE_STATE_KNOWN
    tokenized = await positioned.encode.Tokenize(encode_pb2.TokenizeRequest(texts=[TEXT]))
    tokens = tokenized.texts[0].tokens
    seen = set()
    for row in reply.terms:
        assert row.query_source == row.document_source
        source = row.document_source
        token = tokens[source.position]
        assert (source.start, source.end) == (token.start, token.end)
        assert source.text == (TEXT[source.start : source.end] or token.text)
        assert source.text in source.word
        seen.add((source.text, source.word))
    assert {("cafe", "cafe\u0301"), ("band", "band"), ("Über", "Über")} <= seen
    # A term that is itself a word of the text came from that word.
    by_term = {row.term: row.document_source.text for row in reply.terms}
    assert (by_term["band"], by_term["cafe"], by_term["rock"]) == ("band", "cafe", "rock")


async def test_an_expanding_query_weighted_by_idf_keeps_its_sources(positioned: Wire) -> None:
    await load_movies(positioned)
    request = search_pb2.ExplainRequest(
        collection="films", text=QUESTION, id=ID(number=SPINAL_TAP), idf=True
    )
    assert pairs(await positioned.search.Explain(request)) == pairs(
        await explain(positioned, SPINAL_TAP)
    )


async def test_a_vector_of_the_callers_own_is_not_explained_by_the_text(positioned: Wire) -> None:
    await positioned.create()
    encoded = await positioned.encode.Encode(
        encode_pb2.EncodeRequest(mode=encode_pb2.ENCODE_MODE_DOCUMENT, texts=["a music band"])
    )
    vector = encoded.results[0].encoding.vector
    document = common_pb2.Document(id=ID(number=1), text="a cooking book", vector=vector)
    upsert = document_pb2.UpsertRequest(collection="films", documents=[document])
    assert (await positioned.documents.Upsert(upsert)).applied == 1
    reply = await explain(positioned, 1)
    assert reply.document_sources == search_pb2.SOURCE_STATE_OTHER_VECTOR
    assert reply.query_sources == search_pb2.SOURCE_STATE_KNOWN
    music = next(row for row in reply.terms if row.term == "music")
    assert music.HasField("query_source")
    assert not music.HasField("document_source")


async def test_a_model_without_positions_says_so_once(wire: Wire) -> None:
    await load_movies(wire)
    reply = await explain(wire, SPINAL_TAP)
    assert reply.query_sources == search_pb2.SOURCE_STATE_NO_POSITIONS
    assert reply.document_sources == search_pb2.SOURCE_STATE_NO_POSITIONS
    rows = (*reply.terms, *reply.missing, *reply.closing)
    assert not any(row.HasField("query_source") or row.HasField("document_source") for row in rows)
