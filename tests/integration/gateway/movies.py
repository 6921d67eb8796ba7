"""The films of the golden files as documents of a collection."""

from __future__ import annotations

from tests.golden import FILMS
from tests.integration.gateway.conftest import Wire

from sparsegate.v1 import common_pb2, document_pb2

QUESTION = "A movie about music"
ID = common_pb2.DocumentId


def movie_documents() -> list[common_pb2.Document]:
    return [
        common_pb2.Document(
            id=ID(number=movie["id"]),
            text=movie["movie_description"],
            payload={
                "name": common_pb2.Value(string_value=movie["movie_name"]),
                "minutes": common_pb2.Value(int_value=movie["movie_watch_time_min"]),
            },
        )
        for movie in FILMS
    ]


async def load_movies(wire: Wire, name: str = "films", shards: int = 2) -> None:
    await wire.create(name, shards)
    upsert = document_pb2.UpsertRequest(collection=name, documents=movie_documents())
    assert (await wire.documents.Upsert(upsert)).applied == len(FILMS)
