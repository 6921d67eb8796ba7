from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from numba.core import event

from sparsegate_server import index
from sparsegate_server.index import kernels
from sparsegate_server.index.kernels import registry

from .oracle import sparse


def test_nothing_compiles_after_warm_up() -> None:
    index.warm_up()
    with event.install_recorder("numba:compile") as recorder:
        collection = index.Collection(8, shards=2, tail_documents=3)
        for number in range(30):
            entries = [
                index.Entry(each, sparse({int(each) % 8: 1.0}), index.Record(None, {}))
                for each in (number, number % 7, str(number))
            ]
            collection.upsert(entries)
            collection.delete([number - 4] if number > 4 else [])
            collection.search(sparse({1: 1.0, 3: 2.0}), 5, with_entries=True)
        collection.upsert(
            [index.Entry(each, sparse({1: 1.0}), index.Record(None, {})) for each in range(50)]
        )
        collection.score(sparse({1: 1.0}), 3)
        collection.scroll(3, 10)
        collection.get([1, "1"])
    assert collection.size().segments
    assert recorder.buffer == []


def test_a_kernel_has_one_signature_and_refuses_any_other() -> None:
    index.warm_up()
    assert all(len(dispatcher.signatures) == 1 for dispatcher, _ in registry._kernels)
    wrong = np.zeros(1, np.complex128)
    with pytest.raises(TypeError):
        kernels.dot(wrong, wrong, wrong, wrong)


COUNT_HITS = """
import json
from sparsegate_server.index.kernels import registry
registry.warm_up()
hits = [sum(each.stats.cache_hits.values()) for each, _ in registry._kernels]
print(json.dumps([str(registry.cache_folder()), hits]))
"""


def warm_up_elsewhere(cache: Path) -> tuple[Path, list[int]]:
    """Warms up in a process of its own: the cache folder and the hits of each kernel."""
    done = subprocess.run(
        [sys.executable, "-c", COUNT_HITS],
        env={**os.environ, "XDG_CACHE_HOME": str(cache)},
        check=True,
        capture_output=True,
        text=True,
    )
    folder, hits = json.loads(done.stdout)
    return Path(folder), hits


def test_the_second_start_loads_what_the_first_compiled(tmp_path: Path) -> None:
    folder, hits = warm_up_elsewhere(tmp_path)
    assert folder.parent == tmp_path / "sparsegate" / "kernels"
    assert not any(hits)
    assert any(folder.rglob("*.nbc"))
    assert folder.stat().st_mode & 0o077 == 0
    again, hits = warm_up_elsewhere(tmp_path)
    assert again == folder
    assert hits == [1] * len(hits)


def test_a_folder_that_cannot_be_made_is_named_and_no_obstacle(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    with caplog.at_level(logging.WARNING):
        registry._enable_caching([])
    assert str(tmp_path / "file") in caplog.text
