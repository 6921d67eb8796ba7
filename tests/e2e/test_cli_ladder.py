"""A ladder from the command line: made, asked, told of, and copied."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from tests.e2e.conftest import Run, read
from tests.golden import FILMS

from sparsegate_server.launch import GatewayProcess
from sparsegate_server.models.pull import pull
from sparsegate_server.models.recipe import FamilyChoice
from sparsegate_server.models.repository import Vectors, export

QUESTION = "A movie about music"


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A gateway that serves `tiny`, and `free`, whose queries need no graph."""
    folder = tmp_path_factory.mktemp("rungs")
    pulled = pull("splade-tiny")
    export(pulled, folder, name="tiny")
    export(pulled, folder, name="free", vectors=Vectors(family=FamilyChoice.SPLADE_DOC))
    models = {"repository": folder, "names": ["tiny", "free"]}
    with GatewayProcess(models=models, inference={"backend": "onnx"}) as gateway:
        yield gateway.address


def hits(run: Run, collection: str, *options: str) -> list[tuple[int, float]]:
    found = read(run("search", collection, QUESTION, "--json", *options))
    return [(hit["id"], hit["score"]) for hit in found["hits"]]


def test_a_ladder_is_made_asked_and_copied(run: Run) -> None:
    lines = "\n".join(
        json.dumps({"id": film["id"], "text": film["movie_description"]}) for film in FILMS
    )
    run("collections", "create", "plain", "--model", "tiny")
    run("collections", "create", "alone", "--model", "free")
    for name in ("plain", "alone"):
        run("upsert", name, "-", stdin=lines)
    # A collection gets a ladder by being copied.
    run("collections", "copy", "plain", "films", "--ladder", "free")
    assert read(run("collections", "get", "films", "--json"))["ladder"][0]["model"] == "free"
    shown = run("collections", "get", "films").stdout
    assert "ladder" in shown
    assert "model problem" not in shown
    assert hits(run, "films") == hits(run, "plain")
    assert hits(run, "films", "--tier", "1") == hits(run, "alone")
    assert "0 to 1" in run("search", "films", QUESTION, "--tier", "2", code=1).stderr

    run("models", "unload", "tiny")
    told = run("search", "films", QUESTION)
    assert "free answered, tier 1 of the ladder (tiny: model 'tiny' is not served" in told.stderr
    assert hits(run, "films") == hits(run, "alone")
    best = hits(run, "films")[0][0]
    assert "free answered" in run("explain", "films", QUESTION, str(best)).stderr
    assert "sparsegate models load tiny" in run("collections", "get", "films").stdout
    assert "films cannot encode texts" in run("collections", "list").stderr
    assert "is not served" in run("search", "films", QUESTION, "--tier", "0", code=1).stderr
    run("models", "load", "tiny")
    assert "answered" not in run("search", "films", QUESTION).stderr

    # The copy of a ladder has it too, unless it is left out.
    run("collections", "copy", "films", "films-2")
    assert hits(run, "films-2", "--tier", "1") == hits(run, "alone")
    run("collections", "copy", "films", "films-3", "--no-ladder")
    assert read(run("collections", "get", "films-3", "--json"))["ladder"] == []


def test_a_mute_collection_with_a_ladder_cannot_be_copied(run: Run) -> None:
    run("collections", "create", "mute", "--model", "tiny", "--ladder", "free", "--no-text")
    refused = run("collections", "copy", "mute", "mute-2", code=1)
    assert "--no-ladder" in refused.stderr
    run("collections", "copy", "mute", "mute-2", "--no-ladder")
