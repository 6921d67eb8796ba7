"""A gateway in a process of its own, as users have it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeAlias

import pytest
from tests.golden import FILMS

from sparsegate_server.launch import GatewayProcess

COMMAND = Path(sys.executable).with_name("sparsegate")

Done: TypeAlias = "subprocess.CompletedProcess[str]"
Run: TypeAlias = Callable[..., Done]


@pytest.fixture(scope="module")
def address(model_repository: Path) -> Iterator[str]:
    """host:port of a gateway that encodes in process and has no collection yet."""
    models = {"repository": model_repository, "names": ["splade-tiny"]}
    with GatewayProcess(models=models, inference={"backend": "onnx"}) as gateway:
        yield gateway.address


@pytest.fixture(scope="module")
def run(address: str) -> Run:
    """Runs the command and expects its exit code."""

    def run(*words: str, stdin: str = "", code: int = 0) -> Done:
        done = subprocess.run(
            [COMMAND, *words],
            env={**os.environ, "SPARSEGATE_ADDRESS": address, "COLUMNS": "120", "NO_COLOR": "1"},
            input=stdin,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == code, done.stdout + done.stderr
        assert "Traceback" not in done.stderr
        return done

    return run


@pytest.fixture(scope="module")
def films(run: Run) -> str:
    """A collection of the 20 films."""
    lines = [
        {
            "id": film["id"],
            "text": film["movie_description"],
            "title": film["movie_name"],
            "minutes": film["movie_watch_time_min"],
        }
        for film in FILMS
    ]
    run("collections", "create", "films", "--shards", "2")
    stdin = "\n".join(map(json.dumps, lines))
    assert "20 applied, 0 refused" in run("upsert", "films", "-", stdin=stdin).stdout
    return "films"


def read(done: Done) -> Any:
    return json.loads(done.stdout)
