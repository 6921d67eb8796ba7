"""What a collection takes: memory, files, and time to build."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench.pipe import Worker
from bench.report import Row
from bench.search.engines import ALONE, Engines

_SIZES = 7
_BUILD = 8


def resident(folder: str, vectors: Path) -> dict[str, int]:
    """See `bench.search.resident`."""
    command = [sys.executable, "-m", "bench.search.resident", folder, str(vectors)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    found: dict[str, int] = json.loads(done.stdout)
    return found


def memory_and_files(engines: Engines) -> None:
    """Bytes a posting of the merged collection, the store apart."""
    facts = engines.ours()("shape", "merged")
    found = resident(facts["folder"], engines.inputs.file)
    peers = engines.peers(engines.choices.exact)
    _add(engines, "memory, every page touched", found["memory"], found, peers, "rss")
    _add(engines, "files of the index", found["segments"], found, peers, "disk")
    engines.say(
        f"beside it the store: {found['store'] / 2**20:,.0f} MiB,"
        f" {found['store'] / found['documents']:,.0f} bytes/document"
    )


def _add(
    engines: Engines,
    what: str,
    size: int,
    found: dict[str, int],
    peers: Sequence[Worker],
    fact: str,
) -> None:
    """Ours as a row, and as many as there are peers to inform."""
    postings = found["stored"]
    note = f"{size / 2**20:,.0f} MiB"
    unit, ours = "bytes/posting", size / postings
    bound: dict[str, Any] = {"required": 10.0, "absolute": True}
    engines.add(Row(_SIZES, what, ours, unit, note=note, **bound))
    for worker in peers:
        if worker.facts[fact]:
            theirs = worker.facts[fact] / postings
            engines.add(Row(_SIZES, what, ours, unit, worker.name, theirs, note="to compare"))


def build(engines: Engines) -> None:
    """Documents a second from encoded arrays in memory to a segment, one thread."""
    documents = len(engines.inputs.documents)
    rate = documents / engines.ours()("invert", 3)
    what, unit = "build from encoded arrays", "documents/s"
    bound: dict[str, Any] = {"required": 60_000.0, "sense": "≥", "absolute": True}
    engines.add(Row(_BUILD, what, rate, unit, **bound))
    for worker in engines.peers(engines.choices.exact):
        theirs = documents / worker.facts["build"]
        beside = "" if worker.name in ALONE else ", another beside it"
        note = f"as its harness builds it{beside}"
        engines.add(Row(_BUILD, what, rate, unit, worker.name, theirs, note=note))
