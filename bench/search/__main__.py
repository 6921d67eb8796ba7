"""Measures every bar of the search engine, beside its peers where they are at hand.

    python -m bench.search --data wiki200k [--peers PEERS --python-peers PEERS_ENV/bin/python]

`wiki200k` is a folder with vectors.npz and, for BM25, corpus.jsonl.xz. PEERS is the folder of
peers.py, a harness that drives other engines; PEERS_ENV is an environment that has them. Without it
only our own figures are taken.

All engines get the same jittered weights, run in processes of their own with one thread each, and
take turns on the same questions in random order; a question's time is the best of --rounds. Timed
is one call of `Collection.search` for us, Python included, and the native call alone for peers.
Settings are chosen on questions of the second half and reported on those of the first.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from bench import machine
from bench.report import bars_table, integers, wide_console
from bench.search import (
    bm25,
    exact,
    fast,
    filtering,
    growth,
    inputs,
    sizes,
    throughput,
)
from bench.search.engines import SINDI, Choices, Engines

_PACKAGES = (
    "pyvsag",
    "splade-index",
    "qdrant-edge-py",
    "pyseismic-lsr",
    "bmp",
    "pyterrier-pisa",
    "impact-index",
    "bm25s",
)


class Bar(NamedTuple):
    """Attributes:
    exact, approximate: whether it looks at these peers.
    """

    run: Callable[[Engines], None]
    exact: bool = False
    approximate: bool = False
    sindi: bool = False


_GROWTH = 10
_BARS = {
    1: Bar(exact.merged, exact=True),
    2: Bar(exact.deep, exact=True),
    3: Bar(exact.layered),
    4: Bar(fast.run, exact=True, approximate=True, sindi=True),
    5: Bar(throughput.run, exact=True),
    6: Bar(filtering.run),
    7: Bar(sizes.memory_and_files, exact=True),
    8: Bar(sizes.build, exact=True),
    9: Bar(bm25.run),
    _GROWTH: Bar(growth.run),
}


def main() -> None:
    chosen = _parse()
    console = wide_console()
    with tempfile.TemporaryDirectory(prefix="sparsegate-bench-", dir=chosen.folder) as work:
        choices = _choices(chosen, Path(work))
        facts = _machine(choices)
        for name, value in facts.items():
            console.print(f"{name}: {value}", highlight=False)
        read = inputs.read(
            choices.data,
            choices.work,
            documents=choices.documents,
            reported=chosen.questions,
            tuning=chosen.tuning,
        )
        engines = Engines(choices, read, console)
        try:
            _run(engines, _numbers(chosen))
        finally:
            engines.end()
        console.print(bars_table(engines.rows, "all bars"))
        if chosen.json:
            rows = [row.as_json() for row in engines.rows]
            chosen.json.write_text(
                json.dumps({"machine": facts, "rows": rows}, indent=1, ensure_ascii=False) + "\n"
            )


def _run(engines: Engines, numbers: Sequence[int]) -> None:
    mine = engines.inputs
    engines.say(
        f"{len(mine.documents):,} documents, {len(mine.documents.terms):,} postings,"
        f" {engines.truth.postings(mine.reported):,.0f} of them touched by a question;"
        f" {len(mine.reported)} questions reported on, {len(mine.tuning)} for tuning"
    )
    if not engines.has_peers:
        engines.say("no peers: give PEERS=… and PYTHON_PEERS=… to have them beside")
    if set(numbers) - {_GROWTH}:
        engines.ours()
        engines.prepare(_needed(engines.choices, [_BARS[number] for number in numbers]))
    for number in numbers:
        before, begin = len(engines.rows), time.perf_counter()
        _BARS[number].run(engines)
        engines.console.print(bars_table(engines.rows[before:]))
        engines.say(f"bar {number} took {time.perf_counter() - begin:.0f} s")


def _needed(choices: Choices, bars: Sequence[Bar]) -> list[str]:
    names: list[str] = []
    if any(bar.exact or bar.sindi for bar in bars):
        names.append(SINDI)
    if any(bar.exact for bar in bars):
        names += choices.exact
    if any(bar.approximate for bar in bars):
        names += choices.approximate
    return list(dict.fromkeys(names))


def _numbers(chosen: argparse.Namespace) -> list[int]:
    wanted = chosen.only or [number for number in _BARS if number != _GROWTH]
    if chosen.growth and _GROWTH not in wanted:
        wanted = [*wanted, _GROWTH]
    return sorted(wanted)


def _choices(chosen: argparse.Namespace, work: Path) -> Choices:
    return Choices(
        data=chosen.data,
        work=work,
        peers=chosen.peers,
        python=str(chosen.python_peers),
        exact=tuple(dict.fromkeys((SINDI, *chosen.exact))),
        approximate=chosen.approximate,
        documents=chosen.docs,
        rounds=chosen.rounds,
        growth=chosen.growth_factors,
        growth_questions=chosen.growth_questions,
        build_limit=chosen.build_limit,
    )


def _machine(choices: Choices) -> dict[str, str]:
    facts = machine.facts(("numpy", "numba", "llvmlite"))
    if choices.harness:
        facts["peers"] = machine.peer_versions(choices.python, _PACKAGES)
    return facts


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m bench.search",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--data", type=Path, required=True, help="folder of wiki200k, or its vectors.npz")
    add("--peers", type=Path, help="folder of peers.py; without it our engine runs alone")
    add("--python-peers", type=Path, help="Python that has the peers; default: this one")
    add("--only", type=integers, help="bars, by comma: 1 merged, 2 deep, 3 layered, 4 fast,"
        " 5 threads, 6 filters, 7 memory and files, 8 build, 9 BM25, 10 growth")  # fmt: skip
    add(
        "--growth",
        action="store_true",
        help="bar 10 as well: some minutes, 10 GB of memory, 12 of disk",
    )
    add("--growth-factors", type=integers, default=(1, 2, 5, 10), help="times --docs")
    add("--growth-questions", type=int, default=500)
    add("--exact", type=_names, metavar="PEERS", help="peers beside exact search",
        default=("sindi", "splade-index", "qdrant", "seismic", "bmp8", "pisa"))  # fmt: skip
    add("--approximate", type=_names, metavar="PEERS", help="further peers beside fast search",
        default=("sindi-sq8", "sindi-pruned", "sindi-pruned2", "seismic"))  # fmt: skip
    add("--docs", type=int, help="only the first documents")
    add("--questions", type=int, default=1000, help="how many of the first half to report on")
    add("--tuning", type=int, default=1000, help="how many of the second half to tune on")
    add("--rounds", type=int, default=5, help="a question's time is the best of so many")
    add("--build-limit", type=float, default=900.0, help="seconds that an engine may build")
    add("--folder", type=Path, help="where to write; default: the temporary folder")
    add("--json", type=Path, help="file for all figures")
    chosen = parser.parse_args()
    return _checked(parser, chosen)


def _checked(parser: argparse.ArgumentParser, chosen: argparse.Namespace) -> argparse.Namespace:
    if chosen.data.is_dir():
        chosen.data /= "vectors.npz"
    if not chosen.data.is_file():
        parser.error(f"--data: there is no {chosen.data}")
    if chosen.peers and not (chosen.peers.is_file() or (chosen.peers / "peers.py").is_file()):
        parser.error(f"--peers: there is no {chosen.peers / 'peers.py'}")
    if chosen.python_peers and not chosen.python_peers.is_file():
        parser.error(f"--python-peers: there is no {chosen.python_peers}")
    chosen.python_peers = chosen.python_peers or Path(sys.executable)
    if unknown := set(chosen.only or ()) - set(_BARS):
        parser.error(f"--only: there is no bar {min(unknown)}")
    return chosen


def _names(text: str) -> tuple[str, ...]:
    return tuple(each for each in text.split(",") if each)


if __name__ == "__main__":
    main()
