"""How much padding the gateway's batches carry: padded tokens ÷ real tokens of a collection.

    .venv/bin/python bench/micro/padding.py --data DIR [DIR ...]   # BEIR folders with corpus.jsonl

Documents (title and text) come as `upload` sends them, in requests of so many, from so many clients
at once, and wait in the gateway's own queue; batches are formed of it until it is empty, then the
next requests come. No inference runs. The figures are exact, the same on every machine.
"""

from __future__ import annotations

import argparse
import itertools
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from sparsegate_server import settings
from sparsegate_server.encoders.backlog import Backlog, Item
from sparsegate_server.encoders.batching import BatchRules, Outputs, ServedGraph
from sparsegate_server.encoders.registry import batch_rules
from sparsegate_server.encoders.tokenizer import ModelTokenizer
from sparsegate_server.inference.base import TokenBatch
from sparsegate_server.models.pull import pull
from sparsegate_server.models.repository import export
from sparsegate_server.models.spec import ModelSpec

_Row = TypeVar("_Row")
ROOT = Path(__file__).resolve().parents[2]
MODEL = "splade-tiny"
REQUESTS = ((64, 1), (64, 8), (256, 1), (1000, 1))
"""Documents of a request, and clients that send at once."""


@dataclass
class Tally:
    batches: int = 0
    texts: int = 0
    real: int = 0
    padded: int = 0

    def add(self, batch: Sequence[Item]) -> None:
        self.batches += 1
        self.texts += len(batch)
        self.real += sum(item.tokens for item in batch)
        self.padded += len(batch) * max(item.length for item in batch)


async def _undecoded(outputs: Outputs, batch: TokenBatch) -> Sequence[None]:
    raise NotImplementedError


def measure(
    rows: Sequence[NDArray[np.int32]], spec: ModelSpec, rules: BatchRules, size: int, clients: int
) -> Tally:
    graph, tally = ServedGraph(spec, _undecoded), Tally()
    for requests in _chunks(list(_chunks(rows, size)), clients):
        backlog = Backlog(rules)
        for client, texts in enumerate(requests):
            items = [Item(graph, ids, None, at) for at, ids in enumerate(texts)]
            backlog.enter(str(client), items)
        while batch := backlog.take():
            tally.add(batch)
    return tally


def _chunks(rows: Sequence[_Row], size: int) -> Iterator[Sequence[_Row]]:
    return (rows[at : at + size] for at in range(0, len(rows), size))


def load(folder: Path) -> list[str]:
    lines = (folder / "corpus.jsonl").read_text().splitlines()
    return [f"{row.get('title', '')} {row['text']}" for row in map(json.loads, lines)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, nargs="+", required=True, help="BEIR folders")
    options = parser.parse_args()

    console = Console()
    repository = ROOT / "model_repository"
    spec = export(pull(MODEL, console.print), repository)
    tokenizer = ModelTokenizer(repository / MODEL, spec)
    shown = Table(title="Padded tokens ÷ real tokens", title_justify="left")
    for column in ("collection", "backend", "documents a request", "clients", "÷", "texts a batch"):
        shown.add_column(column, justify="left" if column in {"collection", "backend"} else "right")
    for folder, backend in itertools.product(options.data, ("onnx", "triton")):
        rows = [each.ids for each in tokenizer.encode(load(folder)) if not each.empty]
        rules = batch_rules(settings.load(inference={"backend": backend}), urgent=False)
        for size, clients in REQUESTS:
            tally = measure(rows, spec, rules, size, clients)
            shown.add_row(
                folder.name,
                backend,
                str(size),
                str(clients),
                f"{tally.padded / tally.real:.3f}",
                f"{tally.texts / tally.batches:.1f}",
            )
    console.print(shown)


if __name__ == "__main__":
    main()
