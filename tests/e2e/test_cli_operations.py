"""Filters, aliases, indexes, snapshots and copies from the command line."""

from __future__ import annotations

import json
import re
import shutil
import signal
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.e2e.conftest import COMMAND, Run, read
from tests.golden import FILMS
from tests.graphs import relabel

from sparsegate_server.launch import GatewayProcess
from sparsegate_server.models.spec import ModelSpec

QUESTION = "A movie about music"
SPINAL_TAP = next(film["id"] for film in FILMS if film["movie_name"] == "This Is Spinal Tap")
LONG = json.dumps({"must": [{"field": "minutes", "range": {"gte": 120}}]})
LONG_FILMS = [film["id"] for film in FILMS if film["movie_watch_time_min"] >= 120]


def hits(run: Run, collection: str, *options: str) -> list[Any]:
    found = read(run("search", collection, QUESTION, "-n", "20", "--json", *options))
    return [(hit["id"], hit["score"]) for hit in found["hits"]]


def test_searches_are_narrowed(run: Run, films: str) -> None:
    every = hits(run, films)
    assert hits(run, films, "--filter", LONG) == [hit for hit in every if hit[0] in LONG_FILMS]
    assert hits(run, films, "--offset", "2") == every[2:]
    assert hits(run, films, "--threshold", str(every[2][1])) == every[:3]
    assert hits(run, films, "--idf") != every
    only = hits(run, films, "--must-contain", "spinal tap")
    assert [id for id, _ in only] == [SPINAL_TAP]
    shown = run("search", films, QUESTION, "--offset", "2", "--filter", LONG).stdout
    assert "no index covers minutes" in shown
    assert shown.splitlines()[3].split()[0] == "3"


def test_a_collection_is_calibrated(run: Run, tmp_path: Path) -> None:
    lines = [{"id": film["id"], "text": film["movie_description"]} for film in FILMS]
    run("collections", "create", "measured")
    run("upsert", "measured", "-", stdin="\n".join(map(json.dumps, lines)))
    missing = run("search", "measured", QUESTION, "--target-recall", "0.9", code=1)
    assert "sparsegate calibrate" in missing.stderr
    questions = tmp_path / "questions"
    questions.write_text(
        "\n".join([json.dumps({"text": QUESTION}), *(f["movie_name"] for f in FILMS)])
    )
    shown = run("calibrate", "measured", str(questions), "-n", "5").stdout
    assert "recall@5" in shown
    assert "Target recall → effort: 0.9 → " in shown
    made = read(run("calibrate", "measured", str(questions), "--json"))
    assert (made["limit"], made["queries"], made["points"][-1]["recall"]) == (10, 21, 1)
    assert "21 queries, 10 hits each" in run("collections", "get", "measured").stdout
    asked = ("search", "measured", QUESTION, "--json")
    exact = read(run(*asked))
    assert read(run(*asked, "--target-recall", "1"))["hits"] == exact["hits"]
    assert read(run(*asked, "--effort", "0.5"))["effort"] == 0.5
    assert "effort.level" in run(*asked, "--effort", "2", code=1).stderr
    copied = run("collections", "copy", "measured", "measured-again")
    assert "measured-again is not calibrated" in copied.stderr


def test_bad_questions_are_named_by_their_lines(run: Run, films: str) -> None:
    bad = run("calibrate", films, "-", stdin='good\n\n{"text"\n\nfine\n', code=1)
    assert [line.split(":")[1] for line in bad.stderr.splitlines()] == [" line 3"]
    vector = json.dumps({"vector": {"indices": [1], "values": [-1]}})
    blamed = run("calibrate", films, "-", stdin="\n\n".join(["band"] * 10 + [vector]), code=1)
    assert blamed.stderr.startswith("sparsegate: line 21: ")
    assert "calibration" not in blamed.stdout
    assert read(run("collections", "get", films, "--json"))["calibration"] is None


def test_an_explanation_tells_what_keeps_a_document_out(run: Run, films: str) -> None:
    last = str(hits(run, films)[-1][0])
    shown = run("explain", films, QUESTION, last, "-n", "3").stdout
    assert "not returned" in shown
    assert "below the last hit" in shown
    assert "The terms that would close the gap" in shown
    explanation = read(run("explain", films, QUESTION, last, "-n", "3", "--json"))
    closed = sum(term["difference"] for term in explanation["closing"])
    assert closed >= explanation["gap"]
    dropped = run("explain", films, QUESTION, str(SPINAL_TAP), "--filter", LONG).stdout
    assert "Dropped by filter.must[0]." in dropped
    assert "Rank 1, returned." in run("explain", films, QUESTION, str(SPINAL_TAP)).stdout


def test_filters_count_page_change_and_delete(run: Run) -> None:
    lines = "\n".join(json.dumps({"id": n, "text": "film", "n": n}) for n in range(10))
    run("collections", "create", "numbers")
    run("upsert", "numbers", "-", stdin=lines)
    low = json.dumps({"field": "n", "range": {"lt": 4}})
    assert read(run("count", "numbers", "-f", low, "--json")) == {"count": 4}
    page = read(run("scroll", "numbers", "-f", low, "--json"))
    assert [document["id"] for document in page["documents"]] == [0, 1, 2, 3]
    assert "Changed 4." in run("payload", "set", "numbers", '{"low": true}', "-f", low).stdout
    changed = run("payload", "set", "numbers", '{"a": 1}', "0", "999", "--replace")
    assert "Changed 1 of 2." in changed.stdout
    assert "Changed 2 of 2." in run("payload", "remove", "numbers", "1", "2", "-k", "n").stdout
    payloads = read(run("get", "numbers", "0", "1", "3", "--json"))["documents"]
    assert [document["payload"] for document in payloads] == [
        {"a": 1},
        {"low": True},
        {"low": True, "n": 3},
    ]
    flagged = json.dumps({"must": {"key": "low", "match": {"value": True}}})
    assert "Deleted 3." in run("delete", "numbers", "-f", flagged).stdout
    assert run("count", "numbers").stdout.strip() == "7"


def test_payload_fields_are_indexed(run: Run, films: str) -> None:
    words = ("collections", "index")
    assert "minutes" in run(*words, "create", films, "minutes", "--kind", "number").stdout
    (index,) = read(run(*words, "list", films, "--json"))["payload_indexes"]
    assert (index["field"], index["kind"]) == ("minutes", "number")
    assert "minutes (number" in run("collections", "get", films).stdout
    assert read(run(*words, "delete", films, "minutes", "--json")) == {"payload_indexes": []}
    again = run(*words, "delete", films, "minutes")
    assert again.stderr == f"sparsegate: {films} had no index of minutes\n"


def test_aliases_are_set_listed_and_deleted(run: Run, films: str) -> None:
    words = ("collections", "alias")
    assert "now" in run(*words, "set", "now", films).stdout
    assert read(run(*words, "list", "--json")) == {
        "aliases": [{"alias": "now", "collection": films}]
    }
    assert hits(run, "now") == hits(run, films)
    assert "now" in run("collections", "list").stdout
    deleted = run(*words, "delete", "now", "--json")
    assert (read(deleted), deleted.stderr) == ({"aliases": []}, "")
    assert run(*words, "delete", "now").stderr == "sparsegate: there was no alias now\n"
    assert "nowhere" in run(*words, "set", "now", "nowhere", code=1).stderr


def test_a_collection_is_optimized(run: Run, films: str) -> None:
    before = hits(run, films)
    done = read(run("collections", "optimize", films, "--json"))
    assert (done["segments"], done["tail"]) == (2, 0)
    assert hits(run, films) == before


def test_a_snapshot_goes_round(run: Run, films: str, tmp_path: Path) -> None:
    taken = read(run("snapshots", "create", films, "--json"))
    assert taken["documents"] == 20
    listed = read(run("snapshots", "list", films, "--json"))["snapshots"]
    assert listed == [taken]
    assert taken["name"] in run("snapshots", "list", films).stdout
    file = tmp_path / "films.snapshot"
    got = read(run("snapshots", "download", films, taken["name"], "-o", str(file), "--json"))
    assert got == {"file": str(file), "bytes": file.stat().st_size}
    whole = file.read_bytes()
    run("snapshots", "download", films, taken["name"], str(file))
    assert file.read_bytes() == whole
    assert [path.name for path in tmp_path.iterdir()] == ["films.snapshot"]
    nowhere = str(tmp_path / "none" / "films.snapshot")
    lost = run("snapshots", "download", films, taken["name"], nowhere, code=2).stderr
    assert "there is no folder" in lost
    assert "Errno" not in lost
    run("snapshots", "download", films, taken["name"], str(tmp_path), code=2)
    run("snapshots", "download", films, taken["name"], str(file), "-o", str(file), code=2)
    run("snapshots", "restore", "sent", str(file))
    run("snapshots", "restore", "kept", "--from", films)
    assert hits(run, "sent") == hits(run, "kept") == hits(run, films)
    assert "exists" in run("snapshots", "restore", "sent", str(file), code=1).stderr
    file.write_bytes(b"no archive")
    assert "sparsegate: " in run("snapshots", "restore", "new", str(file), code=1).stderr
    run("snapshots", "delete", films, taken["name"], stdin="n\n", code=1)
    run("snapshots", "delete", films, taken["name"], "--yes")
    missing = run("snapshots", "restore", "new", "--from", films, code=1)
    assert "no snapshot" in missing.stderr


def test_a_copy_has_other_shards_and_takes_over_the_alias(run: Run, films: str) -> None:
    run("collections", "index", "create", films, "minutes", "-k", "number")
    run("collections", "alias", "set", "live", films)
    done = run("collections", "copy", films, "wide", "--shards", "8", "--switch-alias", "live")
    assert "20 copied to wide, 0 refused" in done.stdout
    assert "not copied" in done.stderr
    wide = read(run("collections", "get", "live", "--json"))
    assert (wide["name"], wide["shards"], wide["documents"]) == ("wide", 8, 20)
    assert [index["field"] for index in wide["payload_indexes"]] == ["minutes"]
    assert hits(run, "live") == hits(run, films)
    assert "exists" in run("collections", "copy", films, "wide", code=1).stderr
    run("collections", "index", "delete", films, "minutes")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--switch-alias", "taken"], "taken is the name of a collection"),
        (["--switch-alias", "never"], "never is the name of a collection"),
        (["--switch-alias", "-no-name-"], "is no name"),
        (["--shards", "0"], "shards"),
        (["--shards", "-1"], "shards"),
    ],
)
def test_a_copy_that_could_not_be_finished_is_not_begun(
    run: Run, films: str, options: list[str], message: str
) -> None:
    if "taken" not in run("collections", "list").stdout:
        run("collections", "create", "taken")
    refused = run("collections", "copy", films, "never", *options, code=1).stderr
    assert message in refused
    assert len(refused.splitlines()) == 1
    run("collections", "get", "never", code=1)
    if "shards" in message:
        created = run("collections", "create", "never", *options, code=1).stderr
        assert created == refused


def test_a_collection_may_forget_its_texts(run: Run) -> None:
    made = read(run("collections", "create", "mute", "--no-text", "--json"))
    assert made["keep_text"] is False
    run("upsert", "mute", "-", stdin='{"id": 1, "text": "a band"}')
    assert read(run("get", "mute", "1", "--json"))["documents"][0]["text"] is None
    run("collections", "copy", "mute", "mute2")
    assert read(run("collections", "get", "mute2", "--json"))["documents"] == 1


def test_an_upload_is_resumed_by_its_name(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "lines.jsonl"
    file.write_text("\n".join(json.dumps({"id": n, "text": "film"}) for n in range(5)))
    run("collections", "create", "named")
    words = ("upsert", "named", str(file), "--stream", "first", "--batch-size", "2")
    assert "5 applied" in run(*words).stdout
    again = read(run(*words, "--json"))
    assert (again["applied"], again["skipped"]) == (0, 5)
    assert "5 passed over (acknowledged before under this stream)" in run(*words).stdout
    with file.open("a") as more:
        more.writelines(f'\n{{"id": {n}, "text": "film"}}' for n in range(5, 9))
    grown = read(run(*words[:-1], "3", "--json"))
    assert (grown["applied"], grown["skipped"]) == (4, 5)
    assert run("count", "named").stdout.strip() == "9"
    file.write_text('{"id": 1, "text": "film"}')
    other = run(*words, code=1)
    assert other.stdout == ""
    assert "'first'" in other.stderr
    assert "another source" in other.stderr


@pytest.mark.parametrize("stream", [None, "my films"])
def test_ctrl_c_tells_how_far_an_upload_came(
    run: Run, address: str, tmp_path: Path, stream: str | None
) -> None:
    name = "halted" if stream else "stopped"
    run("collections", "create", name)
    vector = {"indices": [5], "values": [1]}
    lines = [json.dumps({"id": n, "vector": vector}) + "\n" for n in range(1000)]
    named = ["--stream", stream] if stream else []
    command = [COMMAND, "upsert", name, "-", "--batch-size", "50", "--address", address, *named]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as upload:
        assert upload.stdin is not None
        upload.stdin.writelines(lines[:600])
        upload.stdin.flush()
        for _ in range(100):
            if int(run("count", name).stdout) >= 550:
                break
        upload.send_signal(signal.SIGINT)
        shown, said = upload.communicate(timeout=30)
    assert (upload.returncode, shown) == (130, "")
    told = re.fullmatch(r"sparsegate: interrupted: (\d+) acknowledged(.*)\n", said)
    assert told is not None, said
    assert 0 < int(told[1]) <= 600
    assert ("--stream 'my films'" in told[2]) == (stream is not None)
    file = tmp_path / "lines.jsonl"
    file.write_text("".join(lines))
    rest = read(run("upsert", name, str(file), "--batch-size", "70", "--json", *named))
    assert rest["applied"] + rest["skipped"] == 1000
    assert (rest["skipped"] >= 550) == (stream is not None)
    assert run("count", name).stdout.strip() == "1000"


@pytest.mark.parametrize(
    "words",
    [
        ["search", "films", "x", "--filter", "{"],
        ["search", "films", "x", "--filter", '{"must": [{"field": "a"}]}'],
        ["count", "films", "--filter", "[]"],
        ["delete", "films"],
        ["delete", "films", "1", "--filter", "{}"],
        ["payload", "set", "films", "[]", "1"],
        ["payload", "set", "films", '{"a": 1}'],
        ["payload", "remove", "films", "1"],
        ["collections", "index", "create", "films", "a", "--kind", "blob"],
        ["snapshots", "restore", "new"],
        ["snapshots", "restore", "new", "/no/such/file"],
    ],
)
def test_wrong_usage_exits_with_2(run: Run, words: list[str]) -> None:
    done = run(*words, code=2)
    assert done.stdout == ""
    assert done.stderr


@pytest.fixture
def two_models(model_repository: Path, tmp_path: Path) -> Iterator[str]:
    """host:port of a gateway with a second model, which keeps only a few terms of each text."""
    for name in ("splade-tiny", "narrow"):
        shutil.copytree(model_repository / "splade-tiny", tmp_path / "models" / name)
    described = tmp_path / "models" / "narrow" / "sparsegate.json"
    spec = ModelSpec.from_json(described.read_text())
    narrow = replace(spec, name="narrow", identity=replace(spec.identity, max_terms=8))
    described.write_text(narrow.to_json())
    relabel(described.parent / "1" / "model.onnx", narrow.fingerprint)
    models = {"repository": tmp_path / "models"}
    with GatewayProcess(models=models, inference={"backend": "onnx"}) as gateway:
        yield gateway.address


def test_a_copy_under_another_model_is_encoded_anew(run: Run, two_models: str) -> None:
    there = ("--address", two_models)
    run("collections", "create", "wide", "--model", "splade-tiny", *there)
    line = {"id": 1, "text": FILMS[0]["movie_description"], "year": 1984}
    run("upsert", "wide", "-", *there, stdin=json.dumps(line))
    done = run("collections", "copy", "wide", "slim", "--model", "narrow", *there, "--json")
    assert (read(done)["applied"], read(done)["failed"]) == (1, 0)
    before, after = (
        read(run("get", name, "1", "--vector", "--json", *there))["documents"][0]
        for name in ("wide", "slim")
    )
    assert len(after["vector"]["indices"]) == 8 < len(before["vector"]["indices"])
    assert (after["text"], after["payload"]) == (before["text"], before["payload"])
    run("collections", "create", "mute", "--model", "splade-tiny", "--no-text", *there)
    refused = run("collections", "copy", "mute", "new", "--model", "narrow", *there, code=1)
    assert "keeps no texts" in refused.stderr
    assert "new" not in run("collections", "list", *there).stdout
    vectors = json.dumps({"id": 2, "vector": {"indices": [5], "values": [1]}})
    run("upsert", "wide", "-", *there, stdin=vectors)
    run("collections", "alias", "set", "live", "wide", *there)
    words = ("collections", "copy", "wide", "partly", "--model", "narrow")
    partly = run(*words, "--switch-alias", "live", *there, code=1)
    assert "1 copied to partly, 1 refused" in partly.stdout
    assert read(run("collections", "get", "live", "--json", *there))["name"] == "wide"


def test_models_come_and_go(run: Run, two_models: str) -> None:
    there = ("--address", two_models)
    run("collections", "create", "slim", "--model", "narrow", *there)
    gone = run("models", "unload", "narrow", *there)
    assert "narrow is served no more." in gone.stdout
    assert "texts of the collection slim cannot be encoded until narrow is load" in gone.stderr
    assert "narrow" not in run("models", "list", *there).stdout
    again = run("models", "unload", "narrow", *there, code=1)
    assert "models load narrow" in again.stderr
    loaded = run("models", "load", "narrow", *there)
    assert "narrow is served." in loaded.stdout
    assert loaded.stderr == ""
    result = read(run("models", "load", "narrow", "--json", *there))
    assert (result["outcome"], result["collections"]) == ("unchanged", [])
    assert result["model"] == read(run("models", "get", "narrow", "--json", *there))
    assert "model list" in run("models", "load", "nothing", *there, code=1).stderr
    assert read(run("models", "unload", "narrow", "--json", *there))["collection_count"] == 1
