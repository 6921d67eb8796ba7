"""The model repository's folders, and descriptions that do not hold together."""

from __future__ import annotations

import json
import logging
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from sparsegate_server.cli.main import app
from sparsegate_server.errors import ModelNotFound, ModelSourceError
from sparsegate_server.inference.base import TokenBatch
from sparsegate_server.inference.onnx import OnnxBackend
from sparsegate_server.models.checkpoint import Checkpoint
from sparsegate_server.models.pull import Pulled, pull
from sparsegate_server.models.query_table import QUERY_TABLE_FILE, load_query_table
from sparsegate_server.models.recipe import FamilyChoice
from sparsegate_server.models.record import RECORD_FILE
from sparsegate_server.models.repository import (
    Execution,
    Vectors,
    export,
    export_command,
    exported,
    load_specs,
    missing_files,
)
from sparsegate_server.models.spec import Device, ModelSpec, Precision, TritonBackend

from ..parity.small import write_beir
from . import bert_oracle

COMMITTED = Path(__file__).parents[3] / "model_repository"
NAMES = ["splade-tiny", "splade-tiny-logits"]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("file", ["config.pbtxt", "sparsegate.json", "1/model.py"])
def test_what_is_committed_is_what_is_exported(
    model_repository: Path, name: str, file: str
) -> None:
    assert (COMMITTED / name / file).read_text() == (model_repository / name / file).read_text()


def test_exporting_twice_gives_the_same_bytes(model_repository: Path, tmp_path: Path) -> None:
    export(pull("splade-tiny"), tmp_path)
    for file in (path for path in (tmp_path / "splade-tiny").rglob("*") if path.is_file()):
        twin = model_repository / file.relative_to(tmp_path)
        assert file.read_bytes() == twin.read_bytes()


def test_both_graphs_are_of_one_identity(model_repository: Path) -> None:
    terms, logits = load_specs(model_repository, NAMES)
    assert (terms.output, logits.output) == ("terms", "logits")
    assert terms.fingerprint == logits.fingerprint
    assert exported(model_repository) == [terms, logits]
    assert load_specs(model_repository, []) == [terms, logits]


def test_a_spec_survives_its_file(model_repository: Path) -> None:
    spec = ModelSpec.load(model_repository / "splade-tiny")
    assert ModelSpec.from_json(spec.to_json()) == spec


@pytest.mark.parametrize("change", [{"max_length": 256}, {"threshold": 0.5}])
def test_an_altered_spec_is_refused(model_repository: Path, change: dict[str, float]) -> None:
    raw = json.loads((model_repository / "splade-tiny" / "sparsegate.json").read_text())
    raw["identity"].update(change)
    with pytest.raises(ModelSourceError, match="states fingerprint"):
        ModelSpec.from_json(json.dumps(raw))


@pytest.mark.parametrize(
    "text",
    ["", "[]", "{}", '{"fingerprint": "x", "identity": {"a": 1}}', b"\xff\xfe", b"[" * 100_000],
)
def test_a_spec_that_is_none(text: str | bytes) -> None:
    with pytest.raises(ModelSourceError, match="not a model description"):
        ModelSpec.from_json(text)


def test_a_spec_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "sparsegate.json").mkdir()
    with pytest.raises(ModelSourceError, match=r"sparsegate.json cannot be read \(Is a directory"):
        ModelSpec.load(tmp_path)


def test_a_folder_has_the_name_of_its_model(documents: Pulled, tmp_path: Path) -> None:
    export(documents, tmp_path, name="small")
    (tmp_path / "small").rename(tmp_path / "other")
    with pytest.raises(ModelSourceError, match=r"'small': rename the folder .* --name other"):
        load_specs(tmp_path, ["other"])


def test_what_triton_needs_is_part_of_the_model(
    documents: Pulled, queries: Pulled, tmp_path: Path
) -> None:
    vectors = Vectors(family=FamilyChoice.SPLADE, queries=queries)
    export(documents, tmp_path, name="small", vectors=vectors)
    for name in ("small", "small.query"):
        config = tmp_path / name / "config.pbtxt"
        content = config.read_bytes()
        config.unlink()
        with pytest.raises(ModelSourceError, match=f"{config} is missing: run `"):
            load_specs(tmp_path, ["small"])
        config.write_bytes(content)


def test_a_repository_that_cannot_be_written(documents: Pulled, tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()
    for gate in (None, lambda *_: pytest.fail("nothing was written")):
        for precision in ("fp32", "fp16"):
            execution = Execution(precision=precision)
            with pytest.raises(
                ModelSourceError, match=r"file/small cannot be written \(.*--reposi"
            ):
                export(documents, file, name="small", execution=execution, gate=gate)


def test_a_write_that_breaks_off_leaves_nothing(documents: Pulled, tmp_path: Path) -> None:
    """As on a full disk; here the place of the description is taken."""
    (tmp_path / "small" / "sparsegate.json").mkdir(parents=True)
    with pytest.raises(ModelSourceError, match="small cannot be written"):
        export(documents, tmp_path, name="small")
    assert not [name for name in files(tmp_path) if ".sparsegate.json" in name]


def test_a_model_that_is_only_committed_says_how_to_export_it(
    model_repository: Path, tmp_path: Path
) -> None:
    for name in NAMES:
        shutil.copytree(model_repository / name, tmp_path / name)
        (tmp_path / name / "1" / "model.onnx").unlink()
    assert exported(tmp_path) == []
    with pytest.raises(ModelSourceError, match="`sparsegate-server model export splade-tiny`"):
        load_specs(tmp_path, ["splade-tiny"])
    with pytest.raises(ModelSourceError, match="export splade-tiny --output logits`"):
        load_specs(tmp_path, ["splade-tiny-logits"])
    with pytest.raises(ModelSourceError, match="no exported model"):
        load_specs(tmp_path, [])


def test_an_unknown_model(model_repository: Path) -> None:
    with pytest.raises(ModelNotFound, match="'other'"):
        load_specs(model_repository, ["other"])


def test_a_repository_that_is_not_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, model_repository: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    for names in ([], ["other"]):
        with pytest.raises((ModelSourceError, ModelNotFound), match="--repository") as caught:
            load_specs(Path("nowhere"), names)
        assert f"there is no model repository {tmp_path / 'nowhere'}" in caught.value.message
    monkeypatch.chdir(model_repository.parent)
    with pytest.raises(ModelNotFound, match="--repository") as unknown:
        load_specs(Path(model_repository.name), ["other"])
    assert str(model_repository) in unknown.value.message
    assert "it has splade-tiny, splade-tiny-logits" in unknown.value.message


def test_what_nobody_named_and_cannot_be_served_is_left_out(
    documents: Pulled,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(logging.getLogger("sparsegate_server"), "propagate", True)
    folder = tmp_path / "repository"
    export(documents, folder, name="half", execution=Execution(precision="fp16"))
    export(documents, folder, name="torn")
    (folder / "torn" / "sparsegate.json").write_text("{}")
    with pytest.raises(ModelSourceError, match=r"no model in .* half: .*model verify half.* torn:"):
        load_specs(folder, [])
    good = export(documents, folder, name="good")
    assert load_specs(folder, []) == [good]
    half, torn = (record.getMessage() for record in caplog.records)
    assert half.startswith("model half is NOT served: ")
    assert "`sparsegate-server model verify half`" in half
    assert str(folder / "torn" / "sparsegate.json") in torn
    assert "export the model again" in torn
    for name in ("half", "torn"):
        with pytest.raises(ModelSourceError):
            load_specs(folder, ["good", name])


@pytest.mark.parametrize(("embeddings", "warned"), [(50, False), (51, True), (80, True)])
def test_a_tokenizer_that_is_much_smaller_than_the_model(
    tmp_path: Path, embeddings: int, warned: bool
) -> None:
    folder = tmp_path / "documents"
    bert_oracle.write_checkpoint(folder, embeddings)
    bert_oracle.write_tokenizer(folder / "tokenizer.json", 50)
    told: list[str] = []
    export(Pulled("small", folder, str(folder)), tmp_path / "repository", report=told.append)
    warnings = [line for line in told if line.startswith("WARNING")]
    assert bool(warnings) == warned
    if warned:
        assert f"50 tokens, the model {embeddings} embeddings" in warnings[0]
        assert str(folder) in warnings[0]


def test_rows_that_round_up_are_no_cause_for_a_warning(tmp_path: Path) -> None:
    checkpoint = bert_oracle.write_checkpoint(tmp_path / "documents")
    bert = replace(checkpoint.shape, vocabulary_size=30522)
    for unused, warned in ((0, False), (70, False), (305, False), (400, True)):
        padded = replace(checkpoint, shape=bert, unused_rows=unused)
        assert bool(padded.warning) == warned


@pytest.mark.parametrize(("device", "screened"), [("cpu", True), ("gpu", False)])
def test_integers_screen_terms_where_the_device_has_them(
    documents: Pulled, tmp_path: Path, device: Device, screened: bool
) -> None:
    execution = Execution(backend="onnxruntime", device=device)
    export(documents, tmp_path, name="x", execution=execution)
    assert (b"MatMulInteger" in (tmp_path / "x/1/model.onnx").read_bytes()) == screened


@pytest.mark.parametrize("name", ["../up", "UPPER", "a b", "x" * 65, ".hidden", "x.query"])
def test_an_illegal_name(tmp_path: Path, name: str) -> None:
    with pytest.raises(ModelSourceError, match="is no model name"):
        export(pull("splade-tiny"), tmp_path, name=name)
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def documents(tmp_path: Path) -> Pulled:
    """A small checkpoint, that weighs query tokens."""
    folder = tmp_path / "documents"
    bert_oracle.write_checkpoint(folder)
    weights = {f"w{id}": id / 10 for id in range(5, 50)}
    (folder / "idf.json").write_text(json.dumps(weights))
    return Pulled("small", folder, str(folder))


@pytest.fixture
def queries(tmp_path: Path) -> Pulled:
    """Another of the same tokens."""
    folder = tmp_path / "queries"
    bert_oracle.write_checkpoint(folder, tied=False)
    return Pulled("asking", folder, str(folder))


def files(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


async def test_a_query_graph_of_its_own(documents: Pulled, queries: Pulled, tmp_path: Path) -> None:
    folder = tmp_path / "repository"
    vectors = Vectors(family=FamilyChoice.SPLADE, queries=queries)
    spec = export(documents, folder, vectors=vectors)
    assert exported(folder) == load_specs(folder, []) == [spec]
    assert files(folder / "small.query") == {"config.pbtxt", "1/model.py", "1/model.onnx"}
    config = (folder / "small.query" / "config.pbtxt").read_text()
    assert 'name: "small.query"' in config
    assert spec.fingerprint in config

    backend = OnnxBackend(folder, [spec])
    assert spec.for_queries is not None
    text = [2, 7, 9, 3]
    for served, pulled in ((spec, documents), (spec.for_queries, queries)):
        assert await backend.ready(served)
        tokens = TokenBatch(np.array([text], np.int32), np.ones((1, 4), np.int32))
        found = await backend.infer(served, tokens)
        weights = np.zeros(50)
        weights[np.asarray(found["indices"], np.int64)[0]] = found["values"][0]
        expected = bert_oracle.weights(Checkpoint.load(pulled.folder), text)
        np.testing.assert_allclose(weights, expected, atol=1e-5)
    await backend.close()


def test_the_graph_of_queries_is_a_part_of_the_model(
    documents: Pulled, queries: Pulled, tmp_path: Path
) -> None:
    folder = tmp_path / "repository"
    vectors = Vectors(family=FamilyChoice.SPLADE, queries=queries)
    spec = export(documents, folder, vectors=vectors)
    with pytest.raises(ModelSourceError, match="name that model"):
        load_specs(folder, ["small.query"])
    graph = folder / "small.query" / "1" / "model.onnx"
    graph.unlink()
    assert missing_files(folder / "small", spec) == [graph]
    assert exported(folder) == []
    with pytest.raises(ModelSourceError, match=f"--query {queries.folder}"):
        load_specs(folder, ["small"])


def test_queries_without_a_model(documents: Pulled, tmp_path: Path) -> None:
    folder = tmp_path / "repository"
    spec = export(documents, folder)
    assert (spec.identity.family, spec.identity.queries) == ("splade-doc", "tokens")
    assert exported(folder) == [spec]
    table = load_query_table(folder / "small", spec.identity)
    np.testing.assert_allclose(table, [0.0] * 5 + [id / 10 for id in range(5, 50)], rtol=1e-6)
    (folder / "small" / QUERY_TABLE_FILE).unlink()
    assert exported(folder) == []
    with pytest.raises(ModelSourceError, match=f"{QUERY_TABLE_FILE} is missing"):
        load_specs(folder, ["small"])


def test_nothing_stays_of_an_earlier_export(
    documents: Pulled, queries: Pulled, tmp_path: Path
) -> None:
    folder = tmp_path / "repository"
    export(documents, folder)
    export(documents, folder, vectors=Vectors(family=FamilyChoice.SPLADE, queries=queries))
    assert QUERY_TABLE_FILE not in files(folder / "small")
    execution = Execution(backend="onnxruntime")
    plain = Vectors(family=FamilyChoice.SPLADE)
    export(documents, folder, name="small", vectors=plain, execution=execution)
    assert not (folder / "small.query").exists()
    assert "1/model.py" not in files(folder / "small")


@pytest.mark.parametrize(
    ("execution", "name"),
    [
        (Execution(), "small"),
        (Execution(precision="int8"), "small-int8"),
        (Execution(precision="fp16", backend="onnxruntime"), "small-fp16-onnxruntime"),
        (Execution(backend="onnxruntime", device="cpu"), "small-onnxruntime"),
        (Execution(output="pooled", positions=True), "small-pooled"),
    ],
)
def test_the_command_that_made_a_model_makes_it_again(
    documents: Pulled, tmp_path: Path, execution: Execution, name: str
) -> None:
    spec = export(documents, tmp_path / "one", execution=execution)
    assert spec.name == name
    command = export_command(spec).split()
    assert command[:3] == ["sparsegate-server", "model", "export"]
    repository = tmp_path / "other"
    # The folder of the checkpoint has another name.
    arguments = [*command[1:], "--name", name, "--repository", str(repository)]
    # A model of 50 made-up words is compared on text of these, and is no faster in int8.
    arguments += ["--data", str(write_beir(tmp_path / "text")), "--force"]
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 0, done.output
    (found,) = load_specs(repository, [name])
    assert (found.verified is None) == (spec.precision == "fp32")
    assert replace(found, verified=None) == spec
    record = set() if found.verified is None else {f"{name}/{RECORD_FILE}"}
    assert files(tmp_path / "one") | record == files(repository)


@pytest.mark.parametrize("drop_special", [False, True])
def test_the_command_names_what_makes_the_vectors(
    documents: Pulled, queries: Pulled, tmp_path: Path, drop_special: bool
) -> None:
    vectors = Vectors(FamilyChoice.SPLADE_SUM, "log1p-twice", drop_special, queries)
    spec = export(documents, tmp_path / "one", name="mine", vectors=vectors)
    assert spec.identity.pooling == "sum"
    repository = tmp_path / "other"
    done = CliRunner().invoke(
        app, [*export_command(spec).split()[1:], "--repository", str(repository)]
    )
    assert done.exit_code == 0, done.output
    assert load_specs(repository, []) == [spec]


@pytest.mark.parametrize(
    ("backend", "precision", "device", "words"),
    [
        ("tensorrt", "int8", None, "--precision fp16"),
        ("onnxruntime", "int8", "gpu", "--precision fp16"),
        ("python", "fp16", "gpu", "--backend onnxruntime"),
        ("tensorrt", "fp32", "cpu", "--backend onnxruntime"),
    ],
)
def test_executions_that_cannot_be(
    tmp_path: Path,
    backend: TritonBackend,
    precision: Precision,
    device: Device | None,
    words: str,
) -> None:
    execution = Execution(precision=precision, backend=backend, device=device)
    with pytest.raises(ModelSourceError, match=words):
        export(pull("splade-tiny"), tmp_path / "repository", execution=execution)
    assert not (tmp_path / "repository").exists()


@pytest.mark.parametrize(
    ("backend", "precision", "device"),
    [
        ("python", "fp16", "cpu"),
        ("onnxruntime", "fp16", "gpu"),
        ("onnxruntime", "int8", "cpu"),
        ("tensorrt", "fp16", "gpu"),
    ],
)
def test_a_device_follows_from_the_others(
    backend: TritonBackend, precision: Precision, device: Device
) -> None:
    assert Execution(precision=precision, backend=backend).placed == device


def test_the_list_shows_how_models_run(
    documents: Pulled, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    export(documents, tmp_path / "repository", execution=Execution(precision="int8"))
    shown = CliRunner().invoke(app, ["model", "list", "--repository", str(tmp_path / "repository")])
    row = next(line for line in shown.output.splitlines() if "small-int8" in line)
    for word in ("splade-doc", "their tokens alone", "int8", "python", "terms", " 24 "):
        assert word in row
