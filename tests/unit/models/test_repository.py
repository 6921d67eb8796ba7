"""The model repository's folders, and descriptions that do not hold together."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from sparsegate_server.errors import ModelNotFound, ModelSourceError
from sparsegate_server.models.pull import pull
from sparsegate_server.models.repository import export, exported, load_specs
from sparsegate_server.models.spec import ModelSpec

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


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"fingerprint": "x", "identity": {"a": 1}}'])
def test_a_spec_that_is_none(text: str) -> None:
    with pytest.raises(ModelSourceError, match="not a model description"):
        ModelSpec.from_json(text)


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


@pytest.mark.parametrize("name", ["../up", "UPPER", "a b", "x" * 65, ".hidden"])
def test_an_illegal_name(tmp_path: Path, name: str) -> None:
    with pytest.raises(ModelSourceError, match="is no model name"):
        export(pull("splade-tiny"), tmp_path, name=name)
    assert list(tmp_path.iterdir()) == []
