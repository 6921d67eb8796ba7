"""Documents that are replaced, deleted, paged through, and come back as they were sent."""

from __future__ import annotations

from tests.golden import FILMS
from tests.integration.gateway.conftest import Wire
from tests.integration.gateway.movies import ID, QUESTION, load_movies

from sparsegate.v1 import common_pb2, document_pb2, search_pb2


async def test_a_document_is_replaced_whole_and_deleted_for_good(wire: Wire) -> None:
    await load_movies(wire)
    old = await wire.documents.Get(
        document_pb2.GetDocumentsRequest(collection="films", ids=[ID(number=18)])
    )
    assert old.documents[0].text.startswith("Spinal Tap")
    new = common_pb2.Document(id=ID(number=18), text="A recipe for pizza")
    reply = await wire.documents.Upsert(
        document_pb2.UpsertRequest(collection="films", documents=[new])
    )
    now = await wire.documents.Get(
        document_pb2.GetDocumentsRequest(collection="films", ids=[ID(number=18)])
    )
    assert now.documents[0] == new
    found = await wire.search.Search(
        search_pb2.SearchRequest(collection="films", text=QUESTION, limit=1)
    )
    assert found.hits[0].id.number != 18
    assert found.sequence == reply.sequence

    gone = await wire.documents.Delete(
        document_pb2.DeleteDocumentsRequest(
            collection="films", ids=[ID(number=18), ID(name="18"), ID(number=3)]
        )
    )
    assert gone.deleted == 2
    count = await wire.documents.Count(document_pb2.CountDocumentsRequest(collection="films"))
    assert count.count == len(FILMS) - 2


async def test_scroll_pages_through_everything_in_id_order(wire: Wire) -> None:
    await load_movies(wire)
    await wire.documents.Upsert(
        document_pb2.UpsertRequest(
            collection="films",
            documents=[common_pb2.Document(id=ID(name=n), text="band") for n in ("b", "10", "é")],
        )
    )
    request = document_pb2.ScrollDocumentsRequest(collection="films", limit=7)
    seen: list[object] = []
    while True:
        page = await wire.documents.Scroll(request)
        seen += [d.id.name or d.id.number for d in page.documents]
        if not page.HasField("next_after"):
            break
        request.after.CopyFrom(page.next_after)
    assert seen == [*range(20), "10", "b", "é"]


async def test_payloads_come_back_exactly(wire: Wire) -> None:
    await wire.create()
    value = common_pb2.Value
    payload = {
        "int": value(int_value=2**53 + 1),
        "least": value(int_value=-(2**63)),
        "double": value(double_value=0.1),
        "whole double": value(double_value=3.0),
        "no": value(bool_value=False),
        "null": value(null_value=common_pb2.NULL_VALUE_UNSPECIFIED),
        "list": value(
            list_value=common_pb2.ListValue(
                values=[value(string_value=""), value(list_value=common_pb2.ListValue())]
            )
        ),
        "map": value(map_value=common_pb2.MapValue(fields={"é": value(int_value=0)})),
        "empty map": value(map_value=common_pb2.MapValue()),
    }
    document = common_pb2.Document(id=ID(number=1), text="band", payload=payload)
    await wire.documents.Upsert(
        document_pb2.UpsertRequest(collection="films", documents=[document])
    )
    got = await wire.documents.Get(
        document_pb2.GetDocumentsRequest(collection="films", ids=[document.id])
    )
    assert got.documents[0] == document
