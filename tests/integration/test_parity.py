"""The parity gate as users meet it: exporting, verifying, listing and serving small models."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from tests.graphs import relabel
from typer.testing import CliRunner

from sparsegate_server.cli.main import app
from sparsegate_server.errors import InvalidRequest, ModelSourceError
from sparsegate_server.inference.onnx import GRAPH_FILE
from sparsegate_server.inference.tritonserver import TritonServer
from sparsegate_server.models.pull import Pulled
from sparsegate_server.models.repository import Execution, export, load_spec, load_specs
from sparsegate_server.models.spec import ModelSpec
from sparsegate_server.parity import compare, docstrings
from sparsegate_server.parity.gate import Findings

from ..unit.models import bert_oracle
from ..unit.parity.small import checkpoint, write_beir


class Cli:
    """A checkpoint, text for it, and commands on a repository; `speed` is int8's against 1."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.repository = folder / "repository"
        self.pulled = checkpoint(folder / "documents")
        self.text = write_beir(folder / "text")
        self.speed = 2.0
        self._monkeypatch = monkeypatch
        real = compare.compare

        def with_speeds(*arguments: Any, **options: Any) -> Findings:
            return real(*arguments, speeds=lambda *_: [100.0, 100.0 * self.speed], **options)

        monkeypatch.setattr("sparsegate_server.cli.verify.compare", with_speeds)
        monkeypatch.setenv("COLUMNS", "200")

    def __call__(self, *arguments: object) -> Result:
        options = ["--repository", str(self.repository)]
        return CliRunner().invoke(app, ["model", *map(str, arguments), *options])

    def export(self, precision: str, *options: object) -> Result:
        source = ("export", self.pulled.folder, "--name", "small", "--data", self.text)
        return self(*source, "--precision", precision, *options)

    def limit(self, name: str, value: float) -> None:
        self._monkeypatch.setattr(f"sparsegate_server.parity.gate.{name}", value)

    @property
    def spec(self) -> ModelSpec:
        return load_spec(self.repository, "small")


@pytest.fixture
def cli(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Cli:
    return Cli(tmp_path, monkeypatch)


def message(result: Result) -> str:
    assert result.exit_code == 1, result.output
    assert isinstance(result.exception, ModelSourceError)
    return result.exception.message


def listed(cli: Cli) -> str:
    (row,) = (line for line in cli("list").output.splitlines() if "small" in line)
    return row


@pytest.mark.parametrize("precision", ["fp16", "int8"])
def test_a_model_that_passes_carries_its_record(cli: Cli, precision: str) -> None:
    cli.limit("MIN_OVERLAP", 0.9)
    done = cli.export(precision)
    assert done.exit_code == 0, done.output
    assert "overlap@10" in done.output
    record = cli.spec.verified
    assert record is not None
    assert not record.forced
    assert (record.text, record.documents, record.queries) == ("text", 30, 8)
    assert record.limits["overlap"] == 0.9
    assert load_specs(cli.repository, []) == [cli.spec]
    assert f"overlap {record.overlap:.3f}" in listed(cli)
    assert [path.name for path in cli.repository.iterdir()] == ["small"]


def test_float32_needs_no_record(cli: Cli) -> None:
    assert cli.export("fp32").exit_code == 0
    assert cli.spec.verified is None
    assert load_specs(cli.repository, []) == [cli.spec]
    assert "not yet" in listed(cli)


def test_what_fails_is_not_exported(cli: Cli) -> None:
    cli.speed = 1.1
    refusal = message(cli.export("int8"))
    assert "speed 1.10 × fp32" in refusal
    assert "--force" in refusal
    assert list(cli.repository.iterdir()) == []


def test_what_fails_when_it_is_verified_says_what_to_do(cli: Cli) -> None:
    cli.limit("MIN_OVERLAP", 0.9)
    assert cli.export("fp16").exit_code == 0
    cli.limit("MIN_OVERLAP", 1.1)
    refusal = message(cli("verify", "small", "--data", cli.text))
    assert "overlap@10 1.0000, asked for ≥ 1.1" in refusal
    assert f"model export {cli.pulled.folder} --name small" in refusal
    assert "--precision fp16 --force` records this and serves it all the same" in refusal
    assert "--precision fp32" in refusal


def test_what_was_forced_fails_as_accepted(cli: Cli) -> None:
    cli.limit("MIN_OVERLAP", 1.1)
    assert cli.export("fp16", "--force").exit_code == 0
    done = cli("verify", "small", "--data", cli.text)
    # The limits are not kept, whoever has accepted that.
    assert (done.exit_code, type(done.exception)) == (1, SystemExit)
    assert "small: failed, and accepted with --force: overlap@10 1.0000" in done.output
    assert cli.spec.verified is not None
    assert cli.spec.verified.forced
    # What nobody has accepted is a plain failure.
    cli.limit("MAX_NDCG_CHANGE", -1.0)
    assert "'small' does not pass" in message(cli("verify", "small", "--data", cli.text))


def test_what_fails_leaves_what_was_there(cli: Cli) -> None:
    assert cli.export("fp32").exit_code == 0
    before = {path: path.read_bytes() for path in cli.repository.rglob("*") if path.is_file()}
    cli.limit("MIN_OVERLAP", 1.1)
    assert "overlap@10" in message(cli.export("fp16"))
    after = {path: path.read_bytes() for path in cli.repository.rglob("*") if path.is_file()}
    assert after == before


def test_what_is_forced_is_recorded_and_served(cli: Cli) -> None:
    cli.speed, cli_options = 1.1, ("--force",)
    cli.limit("MIN_OVERLAP", 0.9)
    assert cli.export("int8", *cli_options).exit_code == 0
    record = cli.spec.verified
    assert record is not None
    assert record.failed == ("speedup",)
    assert "forced" in listed(cli)
    assert load_specs(cli.repository, ["small"]) == [cli.spec]


def test_exporting_twice_gives_the_same_bytes(cli: Cli) -> None:
    cli.limit("MIN_OVERLAP", 0.9)
    contents = []
    for speed in (2.0, 3.0):
        cli.speed = speed
        assert cli.export("int8").exit_code == 0
        files = (path for path in cli.repository.rglob("*") if path.is_file())
        contents.append({path: path.read_bytes() for path in files})
    assert contents[0] == contents[1]


def test_one_precision_takes_the_place_of_another(cli: Cli) -> None:
    cli.limit("MIN_OVERLAP", 0.9)
    assert cli.export("fp32").exit_code == 0
    assert cli.export("fp16", "--backend", "onnxruntime").exit_code == 0
    assert not (cli.repository / "small" / "1" / "model.py").exists()
    assert cli.spec.precision == "fp16"
    assert cli.export("fp32").exit_code == 0
    assert cli.spec.verified is None


def test_nobody_serves_what_nobody_has_compared(cli: Cli) -> None:
    export(cli.pulled, cli.repository, name="small", execution=Execution(precision="fp16"))
    for names in ([], ["small"]):
        with pytest.raises(ModelSourceError, match="run `sparsegate-server model verify small`"):
            load_specs(cli.repository, names)
    assert "not yet, not served" in listed(cli)
    cli.limit("MIN_OVERLAP", 0.9)
    done = cli("verify", "small", "--data", cli.text)
    assert done.exit_code == 0, done.output
    assert load_specs(cli.repository, ["small"]) == [cli.spec]


def test_verify_says_what_it_found(cli: Cli, tmp_path: Path) -> None:
    assert cli.export("fp32").exit_code == 0
    described = (cli.repository / "small" / "sparsegate.json").read_bytes()
    file = tmp_path / "figures.json"
    done = cli("verify", "small", "--data", cli.text, "--json", file)
    assert done.exit_code == 0, done.output
    assert "fp32 (onnxruntime, cpu) against NumPy, float64" in done.output
    assert "30 documents and 8 queries: text" in done.output
    figures = json.loads(file.read_text())
    assert figures["passed"]
    assert figures["fingerprint"] == cli.spec.fingerprint
    assert figures["limits"] == {"not_finite": 0, "max_difference": 1e-4}
    record = cli.spec.verified
    assert record is not None
    assert record.reference == "NumPy, float64"
    # What a checkout has committed stays as it was.
    assert (cli.repository / "small" / "sparsegate.json").read_bytes() == described
    assert f"exact to {record.max_difference:.1g}" in listed(cli)


def test_what_cannot_be_recorded(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a read-only disk."""

    def refuse(*_: object) -> None:
        raise OSError(30, "Read-only file system")

    cli.limit("MIN_OVERLAP", 0.9)
    for precision in ("fp32", "fp16"):
        assert cli.export(precision).exit_code == 0
        with monkeypatch.context() as changed:
            changed.setattr("sparsegate_server.models.repository.record", refuse)
            done = cli("verify", "small", "--data", cli.text)
        if precision == "fp32":
            assert done.exit_code == 0, done.output
            assert "small: passed" in done.output
        else:
            assert "passed, but what was found cannot be recorded" in message(done)


def test_a_graph_that_is_not_the_checkpoints_fails(cli: Cli, tmp_path: Path) -> None:
    assert cli.export("fp32").exit_code == 0
    other = export(checkpoint(tmp_path / "other", tied=False), tmp_path / "elsewhere")
    own = ModelSpec.load(cli.repository / "small")
    served = cli.repository / "small" / GRAPH_FILE
    shutil.copy(tmp_path / "elsewhere" / other.name / GRAPH_FILE, served)
    honest = message(cli("verify", "small", "--data", cli.text))
    assert f"with fingerprint {other.fingerprint}, not {own.fingerprint}" in honest
    relabel(served, own.fingerprint)
    file = tmp_path / "figures.json"
    refusal = message(cli("verify", "small", "--data", cli.text, "--json", file))
    assert "greatest difference of a weight" in refusal
    assert "export it again with `sparsegate-server model export" in refusal
    assert json.loads(file.read_text())["failed"] == ["max_difference"]


def test_a_graph_that_does_not_run(cli: Cli, tmp_path: Path) -> None:
    assert cli.export("fp32").exit_code == 0
    bert_oracle.write_checkpoint(tmp_path / "fewer", vocabulary=20)
    export(Pulled("fewer", tmp_path / "fewer", ""), tmp_path / "elsewhere")
    served = cli.repository / "small" / GRAPH_FILE
    shutil.copy(tmp_path / "elsewhere" / "fewer" / GRAPH_FILE, served)
    relabel(served, ModelSpec.load(cli.repository / "small").fingerprint)
    refusal = message(cli("verify", "small", "--data", cli.text))
    assert "the graph of 'small' does not run" in refusal
    assert "run `sparsegate-server model export" in refusal


def test_figures_that_cannot_be_written(cli: Cli, tmp_path: Path) -> None:
    assert cli.export("fp32").exit_code == 0
    done = cli("verify", "small", "--data", cli.text, "--json", tmp_path)
    assert isinstance(done.exception, InvalidRequest)
    assert f"--json {tmp_path} cannot be written (Is a directory)" in done.exception.message


def test_a_checkpoint_that_has_changed_since(cli: Cli, tmp_path: Path) -> None:
    assert cli.export("fp32").exit_code == 0
    checkpoint(cli.pulled.folder, tied=False)
    assert "is not the one that 'small' was exported from" in message(cli("verify", "small"))
    cli.pulled.folder.rename(tmp_path / "moved")
    assert "cannot be read again" in message(cli("verify", "small"))


@pytest.fixture
def tiny(model_repository: Path, tmp_path: Path) -> Path:
    """A repository of its own, as `verify` writes what it has found beside the model."""
    shutil.copytree(model_repository / "splade-tiny", tmp_path / "own" / "splade-tiny")
    return tmp_path / "own"


def test_without_data_the_built_in_text_is_used(
    cli: Cli, monkeypatch: pytest.MonkeyPatch, tiny: Path
) -> None:
    """Of which a little is enough here."""
    text = docstrings.docstrings().sample(20, 5)
    monkeypatch.setattr("sparsegate_server.cli.verify.docstrings", lambda: text)
    arguments = ["model", "verify", "splade-tiny", "--repository", str(tiny)]
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 0, done.output
    assert "docstrings of Python" in done.output
    assert "splade-tiny: passed" in done.output


def test_errors_of_the_text_come_before_anything_is_written(cli: Cli, tmp_path: Path) -> None:
    cli.text = tmp_path / "nothing"
    assert "a BEIR folder has" in message(cli.export("int8"))
    assert not cli.repository.exists()


def test_what_triton_answers_is_compared_too(
    cli: Cli, server: TritonServer, monkeypatch: pytest.MonkeyPatch, tiny: Path
) -> None:
    text = docstrings.docstrings().sample(20, 5)
    monkeypatch.setattr("sparsegate_server.cli.verify.docstrings", lambda: text)
    command = ["model", "verify", "splade-tiny", "--triton", server.url]
    done = CliRunner().invoke(app, [*command, "--repository", str(tiny)])
    assert done.exit_code == 0, done.output
    assert "triton: python, cpu" in done.output
    assert "splade-tiny: passed" in done.output
