"""The command line as a user drives it: one process a command, against a real gateway."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from unittest.mock import ANY

import pytest
from tests.e2e.conftest import COMMAND, Run, read
from tests.golden import FILMS

from sparsegate_server.launch import GatewayProcess
from sparsegate_server.models.pull import pull
from sparsegate_server.models.recipe import FamilyChoice
from sparsegate_server.models.repository import Vectors, export

QUESTION = "A movie about music"
SPINAL_TAP = next(film["id"] for film in FILMS if film["movie_name"] == "This Is Spinal Tap")


def test_a_search_finds_the_film_that_has_no_such_words(run: Run, films: str) -> None:
    result = read(run("search", films, QUESTION, "--limit", "3", "--json"))
    assert [len(result["hits"]), result["hits"][0]["id"]] == [3, SPINAL_TAP]
    assert result["hits"][0]["payload"]["title"] == "This Is Spinal Tap"
    shown = run("search", films, QUESTION, "-p", "title", "-p", "minutes", "--expansion").stdout
    first = next(line for line in shown.splitlines() if "Spinal Tap" in line)
    assert first.split()[:3] == ["1", f"{result['hits'][0]['score']:.4f}", str(SPINAL_TAP)]
    assert "The query's terms" in shown
    assert "music" in shown


def test_an_explanation_adds_up_to_the_score(run: Run, films: str) -> None:
    found = read(run("search", films, QUESTION, "-n", "1", "--json"))["hits"][0]
    explanation = read(run("explain", films, QUESTION, str(SPINAL_TAP), "--json"))
    assert explanation["score"] == found["score"]
    total = sum(term["contribution"] for term in explanation["terms"])
    assert total == pytest.approx(found["score"], rel=1e-6)
    shown = run("explain", films, QUESTION, str(SPINAL_TAP)).stdout
    assert f"{found['score']:.4f}" in shown
    assert "×" in shown


def test_documents_are_listed_counted_shown_and_deleted(run: Run) -> None:
    lines = '{"id": 7, "text": "seven"}\n{"id": "7", "text": "seven, too", "n": 9007199254740993}\n'
    run("collections", "create", "ids")
    run("upsert", "ids", "-", stdin=lines)
    assert read(run("count", "ids", "--json")) == {"count": 2}
    assert run("count", "ids").stdout.strip() == "2"
    one = read(run("get", "ids", '"7"', "--json"))["documents"][0]
    assert one == {"id": "7", "text": "seven, too", "vector": None, "payload": {"n": 2**53 + 1}}
    assert read(run("get", "ids", "7", "--vector", "--json"))["documents"][0]["vector"]["indices"]
    page = read(run("scroll", "ids", "-n", "1", "--json"))
    assert [document["id"] for document in page["documents"]] == [7]
    assert page["next_after"] == 7
    assert "More: --after 7" in run("scroll", "ids", "-n", "1").stdout
    rest = read(run("scroll", "ids", "--after", "7", "--json"))
    assert [document["id"] for document in rest["documents"]] == ["7"]
    missing = run("get", "ids", "7", "8", "x", code=1)
    assert "seven" in missing.stdout
    assert missing.stderr.splitlines() == [
        "sparsegate: ids has no document 8",
        "sparsegate: ids has no document x",
    ]
    assert "Deleted 1 of 2" in run("delete", "ids", "7", "8", "--id-type", "string").stdout
    assert read(run("scroll", "ids", "--json"))["documents"][0]["id"] == 7


def test_collections_come_and_go(run: Run) -> None:
    made = read(run("collections", "create", "brief", "--json"))
    assert (made["name"], made["model"], made["documents"]) == ("brief", "splade-tiny", 0)
    assert "brief" in run("collections", "list").stdout
    names = [item["name"] for item in read(run("collections", "list", "--json"))["collections"]]
    assert names == sorted(names)
    assert "brief" in names
    assert read(run("collections", "get", "brief", "--json")) == {**made, "busy": ANY}
    assert "exists" in run("collections", "create", "brief", code=1).stderr
    run("collections", "delete", "brief", stdin="n\n", code=1)
    assert read(run("collections", "get", "brief", "--json")) == {**made, "busy": ANY}
    run("collections", "delete", "brief", "--yes")
    error = run("collections", "get", "brief", code=1)
    assert error.stdout == ""
    assert len(error.stderr.splitlines()) == 1
    assert "brief" in error.stderr


def test_refused_lines_are_named_and_the_others_applied(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "documents.jsonl"
    file.write_text(
        '{"id": 1, "text": "good"}\n'
        "not json\n"
        "\n"
        '{"id": 2, "text": " "}\n'
        '{"id": 3, "text": "good", "n": 9223372036854775808}\n'
        '{"_id": "4", "title": "Titled", "text": "good"}\n'
    )
    run("collections", "create", "mixed")
    done = run("upsert", "mixed", str(file), "--json", code=1)
    assert [line.split(":")[1] for line in done.stderr.splitlines()] == [
        " line 2",
        " line 4",
        " line 5",
    ]
    result = read(done)
    assert (result["applied"], result["failed"], result["complete"]) == (2, 3, True)
    assert [(error["line"], error["field"]) for error in result["errors"]] == [
        (2, ""),
        (4, "text"),
        (5, "payload.n"),
    ]
    assert result["errors"][1]["reason"] == "BLANK_TEXT"
    run("upsert", "mixed", str(file), "--join-title", code=1)
    assert read(run("get", "mixed", '"4"', "--json"))["documents"][0]["text"] == "Titled good"


def test_an_array_is_told_once(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "films.json"
    run("collections", "create", "arrays")
    for content, filter in (
        ('[\n  {"id": 1, "text": "a"},\n  {"id": 2, "text": "b"}\n]\n', ".[]"),
        ('\n[{"id": 1, "text": "a"}]', ".[]"),
        ('{\n  "id": 1\n}\n', "."),
    ):
        file.write_text(content)
        (line,) = run("upsert", "arrays", str(file), code=1).stderr.splitlines()
        assert f"jq -c '{filter}' {file} > documents.jsonl" in line
        assert '{"id": 1, "text": ' in line
    (line,) = run("upsert", "arrays", "-", stdin="[]", code=1).stderr.splitlines()
    assert "standard input is JSON, an array" in line
    assert read(run("count", "arrays", "--json")) == {"count": 0}


def test_ten_refused_lines_are_listed(run: Run) -> None:
    run("collections", "create", "refused")
    lines = "".join(f'{{"id": {id}, "body": "x"}}\n' for id in range(13))
    done = run("upsert", "refused", "-", "--json", stdin=lines, code=1)
    *listed, last = done.stderr.splitlines()
    assert [line.split(":")[1] for line in listed] == [f" line {n}" for n in range(1, 11)]
    assert "and 3 more lines are refused" in last
    assert len(read(done)["errors"]) == 13
    for word in ("text: missing", "`vector`", "has `id`, `body`", '{"id": 1, "text": '):
        assert word in listed[0]
    run("upsert", "refused", "-", stdin=lines[: lines.index("\n")], code=1)
    assert "1 hit in" not in run("search", "refused", "nothing").stdout
    run("upsert", "refused", "-", stdin='{"id": 1, "text": "a band on tour"}')
    assert "1 hit in" in run("search", "refused", "a band").stdout


def test_an_upload_that_breaks_off_says_so(run: Run) -> None:
    done = run("upsert", "nowhere", "-", "--json", stdin='{"id": 1, "text": "x"}', code=1)
    assert "0 documents were acknowledged" in done.stderr
    assert read(done)["complete"] is False


def test_texts_are_encoded_and_tokenized(run: Run) -> None:
    shown = run("encode", "rock music", "--mode", "query").stdout
    assert "rock" in shown
    result = read(run("encode", "rock music", "-m", "document", "--top-k", "3", "--json"))
    assert len(result["items"][0]["terms"]) == 3
    mixed = run("encode", "rock", " ", "-m", "query", "--json", code=1)
    assert read(mixed)["items"][1]["error"]["reason"] == "BLANK_TEXT"
    assert "texts[1]" in mixed.stderr
    tokens = read(run("tokenize", "rock music", "--json"))["texts"][0]["tokens"]
    assert [token["text"] for token in tokens] == ["[CLS]", "rock", "music", "[SEP]"]
    assert "[CLS]" in run("tokenize", "rock music").stdout


def test_models_are_shown(run: Run) -> None:
    models = read(run("models", "list", "--json"))["models"]
    assert [model["name"] for model in models] == ["splade-tiny"]
    assert read(run("models", "get", "splade-tiny", "--json")) == models[0]
    assert "splade-tiny" in run("models", "list").stdout
    assert "nothing" in run("models", "get", "nothing", code=1).stderr


def test_both_command_lines_say_the_same_of_a_model(tmp_path: Path) -> None:
    """The one of what is exported, the other of what is served."""
    export(pull("splade-tiny"), tmp_path, name="sums", vectors=Vectors(FamilyChoice.SPLADE_SUM))
    environment = {**os.environ, "COLUMNS": "60", "NO_COLOR": "1"}

    def told(command: str, *words: str) -> str:
        program = COMMAND.with_name(command)
        done = subprocess.run(
            [program, *words],
            env=environment,
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        )
        return " ".join(done.stdout.replace("│", " ").replace("┃", " ").split())

    exported = told("sparsegate-server", "model", "list", "--repository", str(tmp_path))
    models = {"repository": tmp_path, "names": []}
    with GatewayProcess(models=models, inference={"backend": "onnx"}) as gateway:
        environment |= {"SPARSEGATE_ADDRESS": gateway.address, "COLUMNS": "160"}
        listed = told("sparsegate", "models", "list")
        shown = told("sparsegate", "models", "get", "sums")
    for word in ("splade-sum", "the documents' graph", "fp32", "max length"):
        assert word in exported
        assert word in listed
        assert word in shown
    for word in ("triton backend", "device", "fingerprint"):
        assert word in exported
        assert word in shown
    assert "inference" in listed
    assert "inference onnx" in shown


def test_nobody_at_the_address(run: Run) -> None:
    done = run("count", "films", "--address", "127.0.0.1:1", "--timeout", "0.5", code=1)
    assert len(done.stderr.splitlines()) == 1
    assert done.stdout == ""


@pytest.mark.parametrize(
    "words",
    [
        ["nonsense"],
        ["search", "films"],
        ["encode", "text"],
        ["upsert", "films", "/no/such/file"],
        ["get", "films", "x", "--id-type", "integer"],
    ],
)
def test_wrong_usage_exits_with_2(run: Run, words: list[str]) -> None:
    done = run(*words, code=2)
    assert done.stdout == ""
    assert done.stderr
