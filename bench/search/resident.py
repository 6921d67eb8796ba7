"""How much memory a collection takes, in a process of its own.

    python -m bench.search.resident FOLDER VECTORS

Opens the collection, searches it with the questions of VECTORS, reads a byte of every page of all
its arrays, and prints as JSON the growth of the resident set since before it was opened, and the
sizes of its files. Nothing is fetched, so that the store's pages stay on disk.
"""

from __future__ import annotations

import dataclasses
import gc
import json
import os
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from bench.search import inputs
from numpy.typing import NDArray

from sparsegate_server import index
from sparsegate_server.index import recovery
from sparsegate_server.operations import SearchOptions

_PAGE = os.sysconf("SC_PAGE_SIZE")
_SEARCHES = 300


def resident() -> int:
    """Bytes of this process in memory, mapped files included."""
    gc.collect()
    return int(Path("/proc/self/statm").read_text().split()[1]) * _PAGE


def arrays_of(value: object, seen: set[int]) -> Iterator[NDArray[Any]]:
    """All arrays that a value of dataclasses, mappings and sequences holds, each once."""
    if id(value) in seen:
        return
    seen.add(id(value))
    if isinstance(value, np.ndarray):
        yield value
    elif dataclasses.is_dataclass(value) and not isinstance(value, type):
        for each in dataclasses.fields(value):
            yield from arrays_of(getattr(value, each.name), seen)
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from arrays_of(item, seen)
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from arrays_of(item, seen)


def touch(array: NDArray[Any]) -> int:
    """Reads a byte of every page."""
    if not array.nbytes:
        return 0
    flat = np.ascontiguousarray(array).reshape(-1).view(np.uint8)
    return int(flat[::_PAGE].sum()) + int(flat[-1])


def measure(folder: Path, vectors: Path) -> dict[str, int]:
    """See the module."""
    questions = inputs.load_questions(vectors, _SEARCHES)
    index.warm_up()
    before = resident()
    collection = index.Collection(folder)
    for each in questions:
        collection.search(each, SearchOptions(10))
    for array in arrays_of(collection._contents.published.view.parts, set()):
        touch(array)
    after = resident()
    size = collection.size()
    files = {
        kind: sum(path.stat().st_size for path in (folder / recovery.INDEX).glob(f"*.{kind}"))
        for kind in ("segment", "column")
    }
    collection.close()
    return {
        "memory": after - before,
        "segments": files["segment"],
        "columns": files["column"],
        "store": size.store_bytes,
        "stored": size.postings,
        "documents": size.documents,
    }


if __name__ == "__main__":
    print(json.dumps(measure(Path(sys.argv[1]), Path(sys.argv[2]))))
