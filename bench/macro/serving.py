"""Encode and Search of the whole service, Triton beside in-process inference, in one run.

    make bench
    .venv/bin/python bench/macro/serving.py --data DIR   # BEIR: corpus.jsonl, queries.jsonl

Both gateways run at once and take turns: every cell is measured in several short rounds, Triton and
in-process one after the other, so that what else the machine does meets both alike. The load is
closed: each client sends its next request when the last one was answered, so that the latencies say
nothing about rates above the measured one. Load generator, gateways and Triton share the cores.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import os
import platform
import time
import urllib.request
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from hdrh.histogram import HdrHistogram
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from sparsegate import Document
from sparsegate.aio import Client
from sparsegate_server.inference.tritonserver import TritonServer
from sparsegate_server.launch import GatewayProcess
from sparsegate_server.models.pull import pull
from sparsegate_server.models.repository import export

ROOT = Path(__file__).resolve().parents[2]
MODEL = "splade-tiny"
COLLECTION = "bench"
CLIENTS = (1, 8, 32)
MICROSECOND = 1e6
QUESTIONS = (
    "A movie about music",
    "thieves in the city",
    "the day that never ends",
    "a boy and a vampire",
    "who tells fairy tales of dwarfs?",
    "war heroes on trial",
    "a journalist looks for a lost child",
    "toys that come to life",
)

Call = Callable[[Client, str], Awaitable[object]]


@dataclass
class Cell:
    """What one operation, at one number of clients, did on one gateway. Latencies in µs."""

    seconds: float = 0.0
    answered: int = 0
    failed: int = 0
    latencies: HdrHistogram = field(default_factory=lambda: HdrHistogram(1, 60_000_000, 3))

    @property
    def rate(self) -> float:
        return self.answered / self.seconds

    def percentile(self, p: float) -> float:
        """Milliseconds."""
        return float(self.latencies.get_value_at_percentile(p)) / 1e3


@dataclass(frozen=True)
class Texts:
    name: str
    documents: list[str]
    questions: list[str]


def load_texts(data: Path | None, most: int) -> Texts:
    if data is None:
        movies = json.loads((ROOT / "examples/movies/movies.json").read_text())
        return Texts(
            "20 film descriptions", [m["movie_description"] for m in movies], list(QUESTIONS)
        )
    rows = [json.loads(line) for line in (data / "corpus.jsonl").open()][:most]
    questions = [json.loads(line)["text"] for line in (data / "queries.jsonl").open()]
    documents = [f"{row.get('title', '')} {row['text']}".strip() for row in rows]
    return Texts(f"{data.name}, {len(rows)} documents", [d for d in documents if d], questions)


async def encode(client: Client, text: str) -> object:
    return (await client.encode([text], mode="document")).unwrap()


async def search(client: Client, text: str) -> object:
    return await client.search(COLLECTION, text, limit=10, with_payload=True)


async def run_round(
    clients: list[Client], call: Call, texts: Iterator[str], seconds: float, cell: Cell
) -> None:
    """Every client asks, waits, and asks again until the time is over."""
    begin = time.perf_counter()

    async def work(client: Client) -> None:
        while (now := time.perf_counter()) - begin < seconds:
            try:
                await call(client, next(texts))
            except Exception as error:
                cell.failed += 1
                Console(stderr=True).print(f"failed: {error}")
            else:
                cell.answered += 1
                elapsed = time.perf_counter() - now
                cell.latencies.record_value(max(1, int(elapsed * MICROSECOND)))

    await asyncio.gather(*(work(client) for client in clients))
    cell.seconds += time.perf_counter() - begin


async def measure(
    addresses: dict[str, str], texts: Texts, seconds: float, rounds: int
) -> dict[tuple[str, int, str], Cell]:
    cells: dict[tuple[str, int, str], Cell] = {}
    operations = {"Encode": (encode, texts.documents), "Search": (search, texts.questions)}
    async with AsyncExitStack() as stack:
        pools = {
            name: [await stack.enter_async_context(Client(address)) for _ in range(max(CLIENTS))]
            for name, address in addresses.items()
        }
        for pool in pools.values():
            await fill(pool[0], texts.documents)
        with Progress(transient=True) as progress:
            task = progress.add_task("Measuring", total=2 * len(CLIENTS) * rounds * len(pools))
            for operation, (call, pool_texts) in operations.items():
                for count, turn in itertools.product(CLIENTS, range(rounds)):
                    order = list(pools) if turn % 2 == 0 else list(reversed(pools))
                    for name in order:
                        cell = cells.setdefault((operation, count, name), Cell())
                        feed = itertools.cycle(pool_texts)
                        await run_round(pools[name][:count], call, feed, 0.5, Cell())
                        await run_round(pools[name][:count], call, feed, seconds, cell)
                        progress.advance(task)
    return cells


async def fill(client: Client, documents: list[str]) -> None:
    await client.create_collection(COLLECTION, shards=2)
    summary = await client.upload(
        COLLECTION, [Document(id=n, text=text) for n, text in enumerate(documents)]
    )
    assert summary.applied == len(documents), summary


def table(cells: dict[tuple[str, int, str], Cell]) -> Table:
    shown = Table(
        title="Closed loop, one text a request; latencies in ms; ratio: texts/s to in-process",
        title_justify="left",
    )
    for column in ("", "clients", "inference", "texts/s", "ratio", "p50", "p95", "p99", "failed"):
        shown.add_column(column, justify="left" if column in {"", "inference"} else "right")
    for (operation, count, name), cell in cells.items():
        other = cells[operation, count, "onnx"]
        shown.add_row(
            operation,
            str(count),
            name,
            f"{cell.rate:.0f}",
            f"{cell.rate / other.rate:.2f}" if name == "triton" else "",
            *(f"{cell.percentile(p):.1f}" for p in (50, 95, 99)),
            str(cell.failed),
            end_section=name == list(cells)[-1][2],
        )
    return shown


def triton_batch_size(port: int) -> float:
    """Mean texts of one execution: inferences ÷ executions."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics") as reply:
        lines = reply.read().decode().splitlines()

    def value(metric: str) -> float:
        return sum(float(line.split()[-1]) for line in lines if line.startswith(metric + "{"))

    return value("nv_inference_count") / max(1.0, value("nv_inference_exec_count"))


def machine() -> str:
    model = next(
        (
            line.split(":")[1].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if line.startswith("model name")
        ),
        platform.processor(),
    )
    return f"{os.cpu_count()} cores of {model}, Python {platform.python_version()}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, help="a BEIR folder; without it, 20 films")
    parser.add_argument("--documents", type=int, default=2000, help="of the folder (2000)")
    parser.add_argument("--seconds", type=float, default=3.0, help="of one round (3)")
    parser.add_argument("--rounds", type=int, default=3, help="of every cell (3)")
    parser.add_argument("--json", type=Path, help="also write the figures there")
    options = parser.parse_args()

    console = Console()
    texts = load_texts(options.data, options.documents)
    repository = ROOT / "model_repository"
    export(pull(MODEL, console.print), repository)
    models = {"repository": repository, "names": [MODEL]}
    with TritonServer(repository, [MODEL], report=console.print) as triton:
        settings = {"triton": {"url": triton.url}, "inference": {"backend": "triton"}}
        with (
            GatewayProcess(models=models, **settings) as remote,
            GatewayProcess(models=models, inference={"backend": "onnx"}) as local,
        ):
            addresses = {"triton": remote.address, "onnx": local.address}
            cells = asyncio.run(measure(addresses, texts, options.seconds, options.rounds))
            batch = triton_batch_size(triton.ports.metrics)
    console.print(table(cells))
    console.print(
        f"{texts.name}; {options.rounds} rounds of {options.seconds:g} s; mean Triton batch "
        f"{batch:.1f}; {machine()}; {datetime.now(UTC):%Y-%m-%d}"
    )
    if options.json:
        rows = [
            {
                "operation": operation,
                "clients": count,
                "inference": name,
                "texts_per_second": cell.rate,
                "failed": cell.failed,
                **{f"p{p}_ms": cell.percentile(p) for p in (50, 95, 99)},
            }
            for (operation, count, name), cell in cells.items()
        ]
        options.json.write_text(json.dumps(rows, indent=2) + "\n")


if __name__ == "__main__":
    main()
