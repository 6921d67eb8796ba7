from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from numba.core import event

from sparsegate_server import index
from sparsegate_server.filters import Contains, FieldKind, Filter, HasId, Match, Range
from sparsegate_server.index import archive, kernels, recovery, verification
from sparsegate_server.index.kernels import registry
from sparsegate_server.operations import (
    WHOLE,
    Document,
    PayloadChange,
    PayloadMode,
    SearchOptions,
)

from .oracle import sparse


@pytest.mark.parametrize("vocabulary", [8, 70_000])
def test_nothing_compiles_after_warm_up(vocabulary: int, tmp_path: Path) -> None:
    """Term ids of 16 and of 32 bits; every path that reaches a kernel."""
    index.warm_up()
    folder = tmp_path / "collection"
    recovery.create(folder, index.Parameters(vocabulary, shards=2), {})
    with event.install_recorder("numba:compile") as recorder:
        with closing(index.Collection(folder, index.Tuning(tail_documents=3))) as collection:
            use(collection)
            assert collection.size().segments
            collection.snapshot(lambda: tmp_path / "archive")
        with closing(index.Collection(folder)) as collection:
            read(collection)
        recovery.rebuild(folder)
        assert verification.verify(folder, lambda *_: None)
        archive.restore(tmp_path / "archive", tmp_path / "restored", {}, most_bytes=2**20)
        with closing(index.Collection(tmp_path / "restored")) as collection:
            read(collection)
    assert recorder.buffer == []


def use(collection: index.Collection) -> None:
    collection.create_index("n", FieldKind.NUMBER)
    collection.create_index("$text", FieldKind.TEXT)
    collection.upsert([Document("always", sparse({1: 1.0}), "a text", {"n": 2, "k": "a"})])
    for number in range(30):
        documents = [
            Document(each, sparse({int(each) % 8: 1.0}), f"text {each}", {"n": int(each), "k": "a"})
            for each in (number, number % 7, str(number))
        ]
        collection.upsert(documents)
        collection.delete([number - 4] if number > 4 else [])
        if number % 3 == 0:
            collection.seal()
        read(collection)
    collection.create_index("k", FieldKind.KEYWORD)
    while collection.merge() or collection.build_indexes():
        read(collection)
    collection.set_payload(few, PayloadChange(PayloadMode.MERGE, {"m": 1}))
    collection.delete(Filter(must=(Match("n", (6,)),)))
    collection.optimize()
    read(collection)
    collection.upsert([Document(each, sparse({1: 1.0})) for each in range(50)])


few = Filter(must=(Range("n", gte=1, lte=3),))
many = Filter(must_not=(HasId((1, "1")),))


def read(collection: index.Collection) -> None:
    query = sparse({1: 1.0, 3: 2.0})
    for filter in (None, few, many, Filter(must=(Contains("text"), Match("k", ("a",))))):
        for idf in (False, True):
            options = SearchOptions(5, threshold=0.1, filter=filter, idf=idf, select=WHOLE)
            collection.search(query, options)
            collection.explain(query, "always", options)
        collection.scroll(3, 10, filter)
        collection.count(filter)
    collection.get([1, "1"])


def test_a_kernel_has_no_signatures_but_its_own_and_refuses_any_other() -> None:
    index.warm_up()
    for dispatcher, signatures in registry._kernels:
        assert sorted(map(str, dispatcher.signatures)) == sorted(map(str, signatures))
        assert not dispatcher._can_compile
    wrong = np.zeros(1, np.complex128)
    with pytest.raises(TypeError):
        kernels.find_keys(wrong, wrong, wrong, wrong)


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
    assert hits == [len(signatures) for _, signatures in registry._kernels]


def test_a_folder_that_cannot_be_made_is_named_and_no_obstacle(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    with caplog.at_level(logging.WARNING):
        registry._enable_caching([])
    assert str(tmp_path / "file") in caplog.text
