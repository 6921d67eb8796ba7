"""What the parity gate has found counts for the files that it was found of, and for no others."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from sparsegate_server.errors import ModelSourceError
from sparsegate_server.models.record import RECORD_FILE
from sparsegate_server.models.repository import (
    GRAPH_FILE,
    Execution,
    current_state,
    export,
    load_spec,
    load_specs,
    record,
)
from sparsegate_server.models.spec import SPEC_FILE, TOKENIZER_FILE, ModelSpec

from ..parity.small import checkpoint
from .test_verification import IN_PROCESS

Change = Callable[[Path, ModelSpec], object]


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """With a model in fp16, which is served only with a record."""
    source = checkpoint(tmp_path / "source")
    export(source, tmp_path / "models", name="small", execution=Execution(precision="fp16"))
    return tmp_path / "models"


def describe(folder: Path, spec: ModelSpec) -> None:
    (folder / SPEC_FILE).write_text(spec.to_json())


def change_identity(folder: Path, spec: ModelSpec) -> None:
    describe(folder, replace(spec, identity=replace(spec.identity, weights_sha256="0" * 64)))


def flip_last_byte(file: Path) -> None:
    content = file.read_bytes()
    file.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))


CHANGES: dict[str, Change] = {
    "fingerprint": change_identity,
    "precision": lambda folder, spec: describe(folder, replace(spec, precision="int8")),
    "backend": lambda folder, spec: describe(folder, replace(spec, backend="onnxruntime")),
    "device": lambda folder, spec: describe(folder, replace(spec, device="gpu")),
    "output": lambda folder, spec: describe(folder, replace(spec, output="pooled")),
    "positions": lambda folder, spec: describe(folder, replace(spec, positions=True)),
    "files_sha256": lambda folder, _: flip_last_byte(folder / GRAPH_FILE),
}


def test_a_record_is_of_the_files_that_lie_there(repository: Path) -> None:
    folder = repository / "small"
    described = (folder / SPEC_FILE).read_bytes()
    spec = record(repository, load_spec(repository, "small"), IN_PROCESS)
    assert spec.verified == IN_PROCESS
    assert load_specs(repository, ["small"]) == load_specs(repository, []) == [spec]
    # What is committed stays as it was.
    assert (folder / SPEC_FILE).read_bytes() == described
    # A copy of the whole folder is the same model.
    shutil.copytree(repository, repository.with_name("copy"))
    assert load_specs(repository.with_name("copy"), ["small"]) == [spec]


@pytest.mark.parametrize("what", CHANGES)
def test_a_record_of_another_model_counts_for_nothing(
    repository: Path, caplog: pytest.LogCaptureFixture, what: str
) -> None:
    spec = record(repository, load_spec(repository, "small"), IN_PROCESS)
    CHANGES[what](repository / "small", spec)
    assert load_spec(repository, "small").verified is None
    (warning,) = {each.getMessage() for each in caplog.records}
    assert str(repository / "small" / RECORD_FILE) in warning
    assert f"({what} differs)" in warning
    assert "`sparsegate-server model verify small`" in warning
    with pytest.raises(ModelSourceError, match="run `sparsegate-server model verify small`"):
        load_specs(repository, ["small"])


def test_the_tokenizer_belongs_to_what_was_compared(repository: Path) -> None:
    record(repository, load_spec(repository, "small"), IN_PROCESS)
    with (repository / "small" / TOKENIZER_FILE).open("ab") as file:
        file.write(b"\n")
    assert load_spec(repository, "small").verified is None


@pytest.mark.parametrize(
    "content", [b"", b"\xff\xfe", b"[]", b"{}", b'{"model": [], "found": {}}', b"[" * 100_000]
)
def test_a_broken_record_counts_for_nothing(
    repository: Path, caplog: pytest.LogCaptureFixture, content: bytes
) -> None:
    record(repository, load_spec(repository, "small"), IN_PROCESS)
    (repository / "small" / RECORD_FILE).write_bytes(content)
    assert load_spec(repository, "small").verified is None
    assert "cannot be held against its files" in caplog.text


@pytest.mark.parametrize(
    ("part", "change"),
    [
        ("found", lambda raw: raw.pop("overlap")),
        ("model", lambda raw: raw.pop("files_sha256")),
        ("model", lambda raw: raw.update(later=1)),
    ],
)
def test_a_record_that_says_less_or_more_counts_for_nothing(
    repository: Path, part: str, change: Callable[[dict[str, object]], object]
) -> None:
    record(repository, load_spec(repository, "small"), IN_PROCESS)
    file = repository / "small" / RECORD_FILE
    raw = json.loads(file.read_text())
    change(raw[part])
    file.write_text(json.dumps(raw))
    assert load_spec(repository, "small").verified is None


def test_no_record_outlives_an_export(repository: Path, tmp_path: Path) -> None:
    record(repository, load_spec(repository, "small"), IN_PROCESS)
    file = repository / "small" / RECORD_FILE
    kept = file.read_bytes()
    other = checkpoint(tmp_path / "other", tied=False)
    export(other, repository, name="small", execution=Execution(precision="fp16"))
    assert not file.exists()
    # Nor does it count where somebody brings it back.
    file.write_bytes(kept)
    assert load_spec(repository, "small").verified is None


def test_an_export_while_a_graph_is_compared(repository: Path, tmp_path: Path) -> None:
    """The record is of what was compared, and not of what lies there by then."""
    spec = load_spec(repository, "small")
    state = current_state(repository, spec)
    other = checkpoint(tmp_path / "other", tied=False)
    export(other, repository, name="small", execution=Execution(precision="fp16"))
    record(repository, spec, IN_PROCESS, state)
    found = load_spec(repository, "small")
    assert found.fingerprint != spec.fingerprint
    assert found.verified is None
