"""One tree of settings, explained by one file."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from sparsegate_server import settings
from sparsegate_server.errors import FailedPrecondition


@pytest.fixture(autouse=True)
def _no_settings_around_us(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SPARSEGATE_SETTINGS", raising=False)


def test_the_commented_file_states_every_default() -> None:
    stated = tomllib.loads(settings.DEFAULTS_FILE.read_text())
    assert stated == settings.load().model_dump(mode="json")


def test_every_setting_has_a_comment() -> None:
    for line in settings.DEFAULTS_FILE.read_text().splitlines():
        if "=" in line.partition("#")[0]:
            assert " # " in line, line


def test_options_beat_variables_beat_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "mine.toml"
    file.write_text('[server]\nhost = "::1"\nport = 1\nmetrics_port = 1\n')
    monkeypatch.setenv("SPARSEGATE_SERVER__PORT", "2")
    monkeypatch.setenv("SPARSEGATE_SERVER__METRICS_PORT", "2")
    server = settings.load(file, server={"metrics_port": 3}).server
    assert (server.host, server.port, server.metrics_port) == ("::1", 2, 3)


@pytest.mark.parametrize(
    ("text", "field"),
    [
        ("[server]\nport = 70000", "server.port"),
        ("[server]\nprot = 1", "server.prot"),
        ("[sever]\nport = 1", "sever"),
        ('[inference]\nbackend = "cuda"', "inference.backend"),
        ("[triton]\nurls = []", "triton.urls"),
        ('[triton]\nurls = ["triton"]', "triton.urls"),
        ('[triton]\nurls = ["http://triton:8001"]', "triton.urls"),
        ('[triton]\nurls = ["triton:8001", "triton:8001"]', "triton.urls"),
        ('[triton]\nurl = "triton:8001"', "triton.url"),
    ],
)
def test_a_wrong_setting_is_named(tmp_path: Path, text: str, field: str) -> None:
    file = tmp_path / "mine.toml"
    file.write_text(text)
    with pytest.raises(FailedPrecondition, match=field) as caught:
        settings.load(file)
    assert caught.value.field == field


def test_a_variable_that_cannot_be_read_is_blamed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPARSEGATE_MODELS__NAMES", "splade-tiny")
    with pytest.raises(FailedPrecondition, match=r"environment variables.*models.*JSON"):
        settings.load()


@pytest.mark.parametrize("text", [None, "[server", "\x00"])
def test_an_unreadable_file_is_named(tmp_path: Path, text: str | None) -> None:
    file = tmp_path / "mine.toml"
    if text is not None:
        file.write_text(text)
    with pytest.raises(FailedPrecondition, match=r"mine\.toml"):
        settings.load(file)
