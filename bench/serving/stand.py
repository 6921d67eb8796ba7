"""What is measured: a gateway for each way of inference, and a real Triton, as they are needed."""

from __future__ import annotations

import itertools
import re
import shutil
import urllib.request
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path

from bench.report import Row
from bench.serving.load import Call
from bench.serving.texts import Beir, mixed, unseen
from rich.console import Console

from sparsegate import Document
from sparsegate.aio import Client
from sparsegate_server.inference.tritonserver import TritonServer
from sparsegate_server.launch import GatewayProcess
from sparsegate_server.models.pull import pull
from sparsegate_server.models.repository import export
from sparsegate_server.models.spec import ModelSpec

MODEL = "splade-tiny"
ONNX, TRITON, UNBATCHED = "onnx", "triton", "unbatched"
"""Gateways: inference in their own process, on Triton, and there with no batching anywhere."""

_COLLECTION = "bench"
_SHARDS = 2
_TIMEOUT = 600.0
_MIXED = 4096


@dataclass(frozen=True, slots=True)
class Choices:
    """What the command was told.

    Attributes:
        data: folder with `scifact` and `cranfield`.
        work: an empty folder.
        python: of an environment for the baseline, or None.
        documents: of SciFact, for all bars that do not need the whole.
        seconds: of one round.
        rounds: how often everything is measured, in turns.
        whole: documents of each collection for padding and quality; None for all.
    """

    data: Path
    work: Path
    python: str | None
    documents: int
    seconds: float
    rounds: int
    whole: int | None


@dataclass(eq=False)
class Stand:
    """Attributes:
    rows: of the report.
    """

    choices: Choices
    console: Console
    rows: list[Row] = field(default_factory=list)
    _open: ExitStack = field(default_factory=ExitStack)
    _gateways: dict[str, GatewayProcess] = field(default_factory=dict)
    _filled: set[str] = field(default_factory=set)

    @cached_property
    def repository(self) -> Path:
        """A model repository of its own, with the model and its raw logits."""
        folder = self.choices.work / "models"
        checkpoint = pull(MODEL, self.say)
        export(checkpoint, folder)
        export(checkpoint, folder, output="logits")
        return folder

    @cached_property
    def spec(self) -> ModelSpec:
        return ModelSpec.load(self.repository / MODEL)

    @cached_property
    def scifact(self) -> Beir:
        return Beir.read(self.choices.data / "scifact")

    @cached_property
    def cranfield(self) -> Beir:
        return Beir.read(self.choices.data / "cranfield")

    @cached_property
    def documents(self) -> list[str]:
        """The first documents of SciFact that are not blank."""
        good = (each for each in self.scifact.documents if each.strip())
        return list(itertools.islice(good, self.choices.documents))

    @cached_property
    def questions(self) -> Iterator[str]:
        """SciFact's, without end and each new to the gateways."""
        return unseen(list(self.scifact.questions.values()))

    @cached_property
    def mixed(self) -> Iterator[str]:
        """Texts of 4 to 128 words, likewise; see `mixed`."""
        return unseen(mixed(self.documents, _MIXED))

    @cached_property
    def triton(self) -> TritonServer:
        """As it is configured by the export."""
        return self._open.enter_context(TritonServer(self.repository, [MODEL], report=self.say))

    @cached_property
    def unbatched(self) -> TritonServer:
        """A second Triton, which runs every request by itself."""
        folder = self.choices.work / "unbatched"
        shutil.copytree(self.repository / MODEL, folder / MODEL)
        config = folder / MODEL / "config.pbtxt"
        config.write_text(without_batching(config.read_text()))
        return self._open.enter_context(TritonServer(folder, [MODEL], report=self.say))

    def gateway(self, name: str) -> GatewayProcess:
        if name not in self._gateways:
            self._gateways[name] = self._open.enter_context(self._configured(name))
        return self._gateways[name]

    def _configured(self, name: str) -> GatewayProcess:
        models = {"repository": self.repository, "names": [MODEL]}
        if name == ONNX:
            return GatewayProcess(models=models, inference={"backend": "onnx"})
        inference: dict[str, object] = {"backend": "triton"}
        if name == UNBATCHED:
            inference["max_batch_size"] = 1
        server = self.unbatched if name == UNBATCHED else self.triton
        return GatewayProcess(models=models, inference=inference, triton={"urls": [server.url]})

    @asynccontextmanager
    async def clients(self, name: str, number: int) -> AsyncIterator[list[Client]]:
        """Clients of a gateway, each with a connection of its own."""
        address = self.gateway(name).address
        async with AsyncExitStack() as stack:
            yield [
                await stack.enter_async_context(Client(address, timeout=_TIMEOUT))
                for _ in range(number)
            ]

    @asynccontextmanager
    async def searching(self, name: str, number: int) -> AsyncIterator[list[Call]]:
        """As many clients that search the documents; they are uploaded when they are not there."""
        async with self.clients(name, number) as clients:
            if name not in self._filled:
                await fill(clients[0], _COLLECTION, self.documents)
                self._filled.add(name)
            yield [partial(each.search, _COLLECTION) for each in clients]

    def say(self, text: str) -> None:
        self.console.print(text, style="dim", highlight=False, markup=False)

    def add(self, *rows: Row) -> None:
        self.rows.extend(rows)

    def end(self) -> None:
        """Stops everything that was started."""
        self._open.close()


async def fill(client: Client, collection: str, texts: Sequence[str]) -> None:
    """Makes a collection of texts; returns when all can be found.

    Raises:
        RuntimeError: a document was refused.
    """
    await client.create_collection(collection, shards=_SHARDS)
    documents = [Document(id=position, text=text) for position, text in enumerate(texts)]
    summary = await client.upload(collection, documents)
    if summary.applied != len(texts):
        raise RuntimeError(f"{summary.applied} of {len(texts)} documents: {summary.errors}")


def counter(port: int, name: str) -> float:
    """The sum of a counter's series on a /metrics page of loopback."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics") as reply:
        return total(reply.read().decode(), name)


def total(page: str, name: str) -> float:
    """The sum of a metric's series in Prometheus' text format; 0 where there is none."""
    pattern = rf"^{re.escape(name)}(?:\{{[^}}]*\}})? (\S+)"
    return sum(float(value) for value in re.findall(pattern, page, re.MULTILINE))


def without_batching(config: str) -> str:
    """A config.pbtxt without its dynamic batcher.

    Raises:
        ValueError: it has none.
    """
    start = config.index("dynamic_batching {")
    depth = 0
    for at in range(config.index("{", start), len(config)):
        depth += {"{": 1, "}": -1}.get(config[at], 0)
        if not depth:
            return config[:start] + config[at + 1 :]
    raise ValueError("the dynamic batcher's block has no end")
