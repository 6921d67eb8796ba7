"""Other names of collections, which change all at once."""

from __future__ import annotations

import pytest

from sparsegate_server.backends.base import Alias, AliasChange, IndexBackend
from sparsegate_server.errors import CollectionExists, CollectionNotFound

from .conftest import FILM, TEN, config, vector


async def test_an_alias_is_another_name(backend: IndexBackend) -> None:
    changed = await backend.update_aliases([AliasChange("movies", "films")])
    assert changed == [Alias("movies", "films")] == await backend.list_aliases()
    await backend.upsert("movies", [FILM])
    assert (await backend.get_collection("movies")).config.name == "films"
    assert (await backend.get_collection("films")).aliases == ("movies",)
    assert (await backend.search("movies", vector(1), TEN)).hits
    with pytest.raises(CollectionExists, match="alias of 'films'"):
        await backend.create_collection(config("movies"))
    with pytest.raises(CollectionNotFound):
        await backend.delete_collection("movies")
    await backend.delete_collection("films")
    assert await backend.list_aliases() == []


async def test_aliases_change_all_at_once_or_not_at_all(backend: IndexBackend) -> None:
    await backend.create_collection(config("books"))
    await backend.update_aliases([AliasChange("live", "films"), AliasChange("old", "books")])
    swap = [AliasChange("live", "books"), AliasChange("old", "films")]
    assert await backend.update_aliases(swap) == [Alias("live", "books"), Alias("old", "films")]
    with pytest.raises(CollectionNotFound) as missing:
        await backend.update_aliases([AliasChange("live", "films"), AliasChange("a", "nowhere")])
    assert missing.value.field == "changes[1].collection"
    with pytest.raises(CollectionExists) as taken:
        await backend.update_aliases([AliasChange("live", None), AliasChange("films", "books")])
    assert taken.value.field == "changes[1].alias"
    assert await backend.list_aliases() == [Alias("live", "books"), Alias("old", "films")]
    assert await backend.update_aliases([AliasChange("live", None)]) == [Alias("old", "films")]
