"""Measures every bar of model serving, each beside what it is held against, in one run.

    python -m bench.serving --data DATA [--python-peers PEERS_ENV/bin/python]

DATA is a folder with the collections `scifact` and `cranfield` in BEIR's layout. PEERS_ENV is an
environment with `onnxruntime`, `tokenizers`, `numpy` and `qdrant-edge-py`; without it only our own
ingest is taken.

Contestants take turns, there and back, so that noise of the machine falls on all alike. Load
generator, gateways and Triton share the cores, so read the ratios.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from bench import machine
from bench.report import Row, bars_table, integers, wide_console
from bench.serving import (
    batching,
    beside,
    ingest,
    latency,
    padding,
    quality,
    saturation,
    wire,
)
from bench.serving.stand import Choices, Stand

_PACKAGES = ("onnxruntime", "tokenizers", "tritonclient", "numpy")
_PEERS = ("qdrant-edge-py", "onnxruntime", "tokenizers", "numpy")
_BARS = {
    each.BAR: each.run
    for each in (ingest, saturation, latency, batching, beside, wire, padding, quality)
}


def main() -> None:
    chosen = _parse()
    console = wide_console()
    facts = machine.facts(_PACKAGES)
    if chosen.python_peers:
        facts["peers"] = machine.peer_versions(str(chosen.python_peers), _PEERS)
    for name, value in facts.items():
        console.print(f"{name}: {value}", highlight=False)
    with tempfile.TemporaryDirectory(prefix="sparsegate-bench-", dir=chosen.folder) as work:
        stand = Stand(_choices(chosen, Path(work)), console)
        try:
            _run(stand, sorted(chosen.only or _BARS))
        finally:
            stand.end()
            console.print(bars_table(stand.rows, "all bars"))
            if chosen.json:
                _write(chosen.json, facts, stand.rows)


def _write(file: Path, facts: Mapping[str, str], rows: Sequence[Row]) -> None:
    written = {"machine": facts, "rows": [row.as_json() for row in rows]}
    file.write_text(json.dumps(written, indent=1, ensure_ascii=False) + "\n")


def _run(stand: Stand, numbers: list[int]) -> None:
    stand.say(f"{len(stand.documents):,} documents of {len(stand.scifact.documents):,}")
    for number in numbers:
        before, begin = len(stand.rows), time.perf_counter()
        _BARS[number](stand)
        stand.console.print(bars_table(stand.rows[before:]))
        stand.say(f"bar {number} took {time.perf_counter() - begin:.0f} s")


def _choices(chosen: argparse.Namespace, work: Path) -> Choices:
    return Choices(
        data=chosen.data,
        work=work,
        python=str(chosen.python_peers) if chosen.python_peers else None,
        documents=chosen.documents,
        seconds=chosen.seconds,
        rounds=chosen.rounds,
        whole=chosen.whole,
    )


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m bench.serving",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--data", type=Path, required=True, help="folder with scifact and cranfield")
    add("--python-peers", type=Path, help="Python that has what the baseline needs")
    add("--only", type=integers, help="bars, by comma: 1 ingest, 2 saturation, 3 latency,"
        " 4 batching, 5 ingest beside queries, 6 bytes, 7 padding, 8 quality")  # fmt: skip
    add("--documents", type=int, default=500, help="of SciFact, for bars 1 to 6 (500)")
    add("--seconds", type=float, default=3.0, help="of one round (3)")
    add("--rounds", type=int, default=3, help="of everything; of ingests at most 2 (3)")
    add("--whole", type=int, help="documents of bars 7 and 8; all, without which the quality"
        " of bar 8 has nothing to be held against")  # fmt: skip
    add("--folder", type=Path, help="where to write; default: the temporary folder")
    add("--json", type=Path, help="file for all figures")
    chosen = parser.parse_args()
    for name in ("scifact", "cranfield"):
        if not (chosen.data / name / "corpus.jsonl").is_file():
            parser.error(f"--data: there is no {chosen.data / name / 'corpus.jsonl'}")
    if chosen.python_peers and not chosen.python_peers.is_file():
        parser.error(f"--python-peers: there is no {chosen.python_peers}")
    if unknown := set(chosen.only or ()) - set(_BARS):
        parser.error(f"--only: there is no bar {min(unknown)}")
    return chosen


if __name__ == "__main__":
    main()
