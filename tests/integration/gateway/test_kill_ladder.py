"""A gateway that is killed in the midst of writes to a collection with a ladder.

After the start that follows, what was acknowledged is there in every tier, and no document is in
one tier alone, nor there with the vector of another text than in the next.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import pytest
from tests.golden import FILMS
from tests.integration.triton.load import COLLECTION, TEXT, Load
from tests.unit.index.opening import sound

from sparsegate import Client, Document, SparseVector, Unavailable
from sparsegate_server.launch import GatewayProcess
from sparsegate_server.models.pull import pull
from sparsegate_server.models.recipe import FamilyChoice
from sparsegate_server.models.repository import Vectors, export

from .test_kill import connected, wait_for_a_write

MODELS = ("tiny", "free")
"""Of the tiers. The queries of the second take no graph."""

REPLACED = range(1_000_000, 1_000_004)
"""Documents that are replaced together, again and again; past those that the load adds."""

SECONDS = (0.03, 0.4, 1.2)
"""After which the gateway is killed, from the first acknowledged write on."""

TAIL = 8
"""Documents before a seal: few, so that kills meet seals and merges as well."""

ENCODED_AT_ONCE = 200
MOST = 10_000
TOLERANCE = 1e-3
"""Of weights: a text that was encoded in other company differs in the last bits."""


@pytest.fixture(scope="module")
def rungs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("rungs")
    pulled = pull("splade-tiny")
    export(pulled, folder, name=MODELS[0])
    export(pulled, folder, name=MODELS[1], vectors=Vectors(family=FamilyChoice.SPLADE_DOC))
    return folder


@pytest.fixture
def gateway(rungs: Path, data_folder: Path) -> Iterator[GatewayProcess]:
    models = {"repository": rungs, "names": list(MODELS)}
    index = {"folder": data_folder, "tail_documents": TAIL}
    with GatewayProcess(
        models=models,
        inference={"backend": "onnx"},
        index=index,
        limits={"max_documents": MOST},
    ) as started:
        with connected(started) as client:
            client.create_collection(COLLECTION, model=MODELS[0], ladder=MODELS[1:], shards=2)
        yield started
    assert sound(data_folder / "collections" / COLLECTION) == []


class Replaced(NamedTuple):
    """Versions of the replaced documents: the last that was acknowledged, and the last sent."""

    acknowledged: int
    sent: int


def test_while_it_writes_to_all_tiers(gateway: GatewayProcess) -> None:
    stored: set[int] = set()
    version = 0
    for seconds in SECONDS:
        with ThreadPoolExecutor(1) as pool:
            with Load(gateway.address, threads=4, timeouts=(10.0,), model=MODELS[0]) as load:
                replacing = pool.submit(replace_until_gone, gateway.address, version)
                wait_for_a_write(load)
                time.sleep(seconds)
                gateway.kill()
            replaced = replacing.result()
        assert load.codes().keys() <= {"OK", "UNAVAILABLE"}
        stored |= {each.stored for each in load.outcomes if each.stored is not None}
        gateway.start()
        with connected(gateway) as client:
            documents = all_documents(client)
            assert stored <= documents.keys()
            version = version_of(documents)
            assert version in replaced
            assert_whole(client, documents)
    assert version


def replace_until_gone(address: str, version: int) -> Replaced:
    """Replaces the documents by a version that is one higher each time, all with one write."""
    with Client(address, options=[("grpc.enable_retries", 0)]) as client:
        for number in itertools.count(version + 1):
            try:
                client.upsert(COLLECTION, replacements(number)).raise_for_errors()
            except Unavailable:
                return Replaced(number - 1, number)
    raise AssertionError  # it counts for ever


def replacements(version: int) -> list[Document]:
    text = f"{TEXT} {version}: {FILMS[version % len(FILMS)]['movie_description']}"
    return [Document(id, text, payload={"version": version}) for id in REPLACED]


def all_documents(client: Client) -> dict[int, Document]:
    page = client.scroll(COLLECTION, limit=MOST, with_vector=True)
    assert page.next_after is None
    return {int(document.id): document for document in page.documents}


def version_of(documents: Mapping[int, Document]) -> int:
    """Of the replaced documents; 0 while there are none."""
    found = {documents[id].payload["version"] if id in documents else 0 for id in REPLACED}
    (version,) = found
    assert isinstance(version, int)
    return version


def assert_whole(client: Client, documents: Mapping[int, Document]) -> None:
    """Each tier has all documents, and of each what its model makes of the text."""
    texts = {id: document.text or "" for id, document in documents.items()}
    for tier, model in enumerate(MODELS):
        found = client.search(COLLECTION, TEXT, limit=MOST, tier=tier, with_vector=True)
        vectors = {int(hit.id): hit.vector for hit in found.hits}
        assert vectors.keys() == documents.keys()
        for id, expected in zip(texts, encoded(client, list(texts.values()), model), strict=True):
            assert close(vectors[id], expected)
        # Else a tier with vectors of another version would pass.
        one, other = (each[0].text or "" for each in (replacements(1), replacements(2)))
        assert not close(*encoded(client, [one, other], model))
    read = client.get(COLLECTION, documents, with_vector=True).documents
    own = client.search(COLLECTION, TEXT, limit=MOST, tier=0, with_vector=True)
    assert {each.id: each.vector for each in read} == {hit.id: hit.vector for hit in own.hits}


def encoded(client: Client, texts: Sequence[str], model: str) -> list[SparseVector]:
    vectors = []
    for start in range(0, len(texts), ENCODED_AT_ONCE):
        some = texts[start : start + ENCODED_AT_ONCE]
        made = client.encode(some, mode="document", model=model).unwrap()
        vectors += [each.vector for each in made]
    return vectors


def close(one: SparseVector | None, other: SparseVector) -> bool:
    assert one is not None
    weights, others = (dict(zip(each.indices, each.values, strict=True)) for each in (one, other))
    return all(
        abs(weights.get(term, 0.0) - others.get(term, 0.0)) <= TOLERANCE
        for term in weights.keys() | others.keys()
    )
