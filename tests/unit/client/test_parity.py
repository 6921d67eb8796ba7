"""Both clients are one."""

from __future__ import annotations

import ast
import inspect
import subprocess
import sys
from pathlib import Path

import pytest

import sparsegate

ROOT = Path(__file__).resolve().parents[3]


def methods(cls: type) -> dict[str, inspect.Signature]:
    return {
        name: inspect.signature(function)
        for name, function in inspect.getmembers(cls, inspect.isfunction)
        if not name.startswith("_") or name == "__init__"
    }


def in_sync_words(signature: inspect.Signature) -> str:
    return str(signature).replace("AsyncIterator", "Iterator")


def test_the_methods_and_their_signatures_are_the_same() -> None:
    synchronous, asynchronous = methods(sparsegate.Client), methods(sparsegate.aio.Client)
    assert synchronous.keys() == asynchronous.keys()
    for name, signature in asynchronous.items():
        assert str(synchronous[name]) == in_sync_words(signature), name


@pytest.mark.parametrize("name", methods(sparsegate.Client))
def test_every_method_says_what_it_raises(name: str) -> None:
    doc = inspect.getdoc(getattr(sparsegate.Client, name)) or ""
    assert "Raises:" in doc or name in {"__init__", "close"}


def test_the_committed_synchronous_client_is_the_generated_one() -> None:
    script = ROOT / "tools" / "unasync.py"
    done = subprocess.run(
        [sys.executable, script, "--check"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_the_client_needs_only_its_three_dependencies() -> None:
    """Importing it on the bare install must not touch what only the extras bring."""
    code = "import sys; import sparsegate; print({name.partition('.')[0] for name in sys.modules})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = ast.literal_eval(done.stdout)
    assert "sparsegate" in loaded
    assert not loaded & {"numpy", "typer", "rich", "click", "sparsegate_server"}
