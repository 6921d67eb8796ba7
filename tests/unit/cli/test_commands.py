"""The commands of `sparsegate-server`, as a user types them."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from sparsegate_server.cli import main as cli
from sparsegate_server.models.spec import ModelSpec
from sparsegate_server.settings import Settings


class Result:
    """Exit code and what was written, of one command."""

    def __init__(self, code: int, out: str, err: str) -> None:
        self.code, self.out, self.err = code, out, err


class Run:
    """Runs one command in this process."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self._monkeypatch, self._capsys = monkeypatch, capsys
        monkeypatch.setenv("COLUMNS", "200")

    def __call__(self, *arguments: object) -> Result:
        self._monkeypatch.setattr(sys, "argv", ["sparsegate-server", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        written = self._capsys.readouterr()
        return Result(int(ended.value.code or 0), written.out, written.err)


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    return Run(monkeypatch, capsys)


@pytest.mark.parametrize("command", [[], ["model"], ["model", "export"], ["triton"], ["serve"]])
def test_help_teaches(run: Run, command: list[str]) -> None:
    result = run(*command, "--help")
    assert result.code == 0
    assert "Usage: sparsegate-server" in result.out


def test_pull_says_where_the_files_are(run: Run) -> None:
    result = run("model", "pull", "splade-tiny")
    assert result.code == 0
    assert result.out.startswith("splade-tiny: /")


def test_export_and_list(run: Run, tmp_path: Path) -> None:
    exported = run("model", "export", "splade-tiny", "--name", "mine", "--repository", tmp_path)
    spec = ModelSpec.load(tmp_path / "mine")
    assert exported.code == 0
    assert spec.fingerprint in exported.out
    assert "Writing" in exported.err
    listed = run("model", "list", "--repository", tmp_path)
    assert "mine" in listed.out
    assert spec.fingerprint in listed.out
    assert "splade-tiny" in listed.out


@pytest.mark.parametrize(
    ("command", "words"),
    [
        (["model", "pull", "nothing"], "'nothing' is no model of the catalog"),
        (["model", "export", "splade-tiny", "--name", "../up"], "is no model name"),
        (["triton", "--repository", "/nowhere"], "there is no model repository /nowhere"),
        (["triton", "--model", "[x]", "--repository", "/nowhere"], "/nowhere, and no '[x]'"),
        (["model", "verify", "x", "--repository", "/nowhere"], "--repository"),
        (["model", "export", "./nothing"], "nothing) and no hf:owner/name"),
        (["serve", "--port", "99999"], "server.port"),
        (["serve", "--settings", "/nowhere.toml"], "/nowhere.toml does not exist"),
        (["model", "verify", "x", "--json", "/nowhere/x.json"], "--json /nowhere/x.json"),
        # What the system itself refuses.
        (["model", "export", "./" + "x" * 300], "File name too long"),
    ],
)
def test_an_error_is_one_clear_line(run: Run, command: list[str], words: str) -> None:
    result = run(*command)
    assert result.code == 1
    assert result.out == ""
    (line,) = (line for line in result.err.splitlines() if "error:" in line)
    assert words in line
    assert "Traceback" not in result.err


def test_a_triton_address_that_is_none(run: Run, tmp_path: Path) -> None:
    run("model", "export", "splade-tiny", "--repository", tmp_path)
    command = ("model", "verify", "splade-tiny", "--repository", tmp_path, "--triton")
    assert "'http://x:8000' is not host:port" in run(*command, "http://x:8000").err
    nobody = run(*command, "127.0.0.1:1")
    assert nobody.code == 1
    assert "answers at 127.0.0.1:1" in nobody.err
    assert "`sparsegate-server triton --model splade-tiny`" in nobody.err


LONG = "a-name-of-more-than-thirty-characters"


@pytest.fixture
def models(run: Run, tmp_path: Path) -> Path:
    """A repository with a model whose name is long, and a broken one."""
    for name in (LONG, "torn"):
        run("model", "export", "splade-tiny", "--name", name, "--repository", tmp_path)
    (tmp_path / "torn" / "sparsegate.json").write_text("{}")
    return tmp_path


def test_a_list_is_whole_in_a_pipe(run: Run, models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    monkeypatch.chdir(models.parent)
    listed = run("model", "list", "--repository", models.name)
    assert "…" not in listed.out
    (row,) = (line for line in listed.out.splitlines() if LONG in line)
    assert ModelSpec.load(models / LONG).fingerprint in row
    assert "not yet" in row
    assert str(models) in listed.out
    assert "torn cannot be served" in listed.err


@pytest.mark.parametrize("width", [40, 80, 200])
def test_a_list_is_whole_in_a_narrow_terminal(
    run: Run, models: Path, monkeypatch: pytest.MonkeyPatch, width: int
) -> None:
    monkeypatch.setattr("sparsegate_server.cli.console.out._force_terminal", True)
    monkeypatch.setenv("COLUMNS", str(width))
    listed = run("model", "list", "--repository", models)
    assert "…" not in listed.out
    values = (LONG, ModelSpec.load(models / LONG).fingerprint, "not yet")
    if width < 200:
        # A field a line, and what is too long for it goes on in the next.
        assert max(map(len, listed.out.splitlines()[1:])) <= max(width, len(str(models)) + 12)
        shown, values = "".join(listed.out.split()), (*values[:2], "notyet")
        assert all(value in shown for value in values)
    else:
        (row,) = (line for line in listed.out.splitlines() if LONG in line)
        assert all(value in row for value in values)


def test_serve_hands_its_options_to_the_gateway(
    run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from sparsegate_server import app  # noqa: PLC0415

    served: list[Settings] = []
    monkeypatch.setattr(app, "run", served.append)
    monkeypatch.delenv("SPARSEGATE_SETTINGS", raising=False)
    monkeypatch.setenv("SPARSEGATE_SERVER__HOST", "0.0.0.0")  # noqa: S104
    command = "serve --port 1234 --inference triton --model a --model b"
    servers = ("--triton-url", "a:8001", "--triton-url", "b:8001")
    assert (
        run(*command.split(), *servers, "--repository", tmp_path, "--log-format", "text").code == 0
    )
    (settings,) = served
    assert (settings.server.host, settings.server.port) == ("0.0.0.0", 1234)  # noqa: S104
    assert settings.server.metrics_port == 9464
    assert settings.inference.backend == "triton"
    assert settings.triton.urls == ["a:8001", "b:8001"]
    assert settings.models.names == ["a", "b"]
    assert settings.models.repository == tmp_path
    assert settings.log.format == "text"
