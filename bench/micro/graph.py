"""Times exported graphs alone, beside raw logits that NumPy pools.

    .venv/bin/python -m bench.micro.graph [--model splade-tiny] [--threads 1 2]

Texts are this repository's README, cut to so many tokens without padding. Each figure is the least
of several rounds, in which the ways take turns. "GFLOP/s" counts the products that float32 without
a screen would take, and "of peak" compares them with one large product in onnxruntime on as many
threads; integers, which find most terms to be absent, make more than 100 % possible. "NumPy" is the
graph of raw logits and the formula as it is written, log(1 + max(logit, 0)) of every logit;
"gateway" takes the maximum first, as the gateway does with such a graph.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import numpy as np
from bench import machine
from bench.stopwatch import least
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from sparsegate_server.encoders import sparsify
from sparsegate_server.encoders.tokenizer import ModelTokenizer
from sparsegate_server.inference.base import TokenBatch
from sparsegate_server.inference.onnx import GRAPH_FILE, OnnxGraph
from sparsegate_server.models.checkpoint import Checkpoint
from sparsegate_server.models.execution import Execution
from sparsegate_server.models.graph import GraphBuilder
from sparsegate_server.models.pull import pull
from sparsegate_server.models.repository import export
from sparsegate_server.models.spec import ModelSpec

README: Final = Path(__file__).resolve().parents[2] / "README.md"
SHAPES: Final = ((1, 16), (1, 32), (1, 128), (1, 512), (8, 16), (8, 128), (2, 512))
"""Texts and tokens of a batch."""
GRAPHS: Final = {
    "float32": Execution(),
    "int8": Execution(precision="int8"),
    "logits": Execution(output="logits"),
}
_SQUARE: Final = 1024
"""Rows and columns of the product that stands for the peak."""

Way = Callable[[TokenBatch], object]


def ways_of(folder: Path, specs: Mapping[str, ModelSpec], threads: int) -> dict[str, Way]:
    graphs = {name: OnnxGraph(folder / name / GRAPH_FILE, threads) for name in specs}

    def served(name: str) -> Way:
        return lambda batch: sparsify.rows(
            specs[name], graphs[name].run(batch), batch.attention_mask
        )

    return {
        "float32": served("float32"),
        "int8": served("int8"),
        "NumPy": lambda batch: as_written(graphs["logits"].run(batch), batch.attention_mask),
        "gateway": served("logits"),
    }


def as_written(
    outputs: Mapping[str, NDArray[np.generic]], attention_mask: NDArray[np.int32]
) -> list[tuple[NDArray[np.intp], NDArray[np.float32]]]:
    """Terms and weights of each text."""
    logits = outputs["logits"].astype(np.float32, copy=False)
    weights = np.log1p(np.maximum(logits, 0)) * attention_mask[:, :, None].astype(np.float32)
    return [(found := np.flatnonzero(row), row[found]) for row in weights.max(axis=1)]


def batch_of(lines: Sequence[NDArray[np.int32]], texts: int, length: int) -> TokenBatch:
    """The lines' tokens one after the other, between the first and the last that all of them have.

    They begin anew where they do not reach.
    """
    ids = np.empty((texts, length), np.int32)
    ids[:, 0], ids[:, -1] = lines[0][0], lines[0][-1]
    ids[:, 1:-1] = np.resize(np.concatenate([line[1:-1] for line in lines]), (texts, length - 2))
    return TokenBatch(ids, np.ones_like(ids))


def work_of(checkpoint: Checkpoint, texts: int, length: int) -> float:
    """GFLOP of a batch's products: every weight once a token, the decoder, and attention."""
    shape = checkpoint.shape
    weights = shape.vocabulary_size * shape.hidden + sum(
        tensor.size
        for name, tensor in checkpoint.tensors.items()
        if name.endswith("dense.weight") or ".attention.self." in name
    )
    attention = 2 * shape.layers * shape.hidden * length
    return 2e-9 * texts * length * (weights + attention)


def peak(folder: Path, threads: int) -> float:
    """GFLOP/s of a large product by onnxruntime, of token ids cast to float32."""
    graph = GraphBuilder()
    shape: list[int | str] = ["batch", "length"]
    ids, mask = (graph.input(name, "int32", shape) for name in ("input_ids", "attention_mask"))
    square = graph.constant(np.ones((_SQUARE, _SQUARE), np.float32))
    product = graph.node("MatMul", graph.cast(graph.node("Mul", ids, mask), "float32"), square)
    graph.output(product, "product", "float32", shape)
    file = folder / "peak.onnx"
    file.write_bytes(graph.build("peak"))
    ones = np.ones((_SQUARE, _SQUARE), np.int32)
    loaded = OnnxGraph(file, threads)
    best = least({"product": lambda: loaded.run(TokenBatch(ones, ones))}, 2.0)
    return 2e-9 * _SQUARE**3 / best["product"]


def measured(
    ways: Mapping[str, Way], checkpoint: Checkpoint, lines: Sequence[NDArray[np.int32]], top: float
) -> Table:
    table = Table(caption=f"ms a batch; peak {top:.0f} GFLOP/s", title_justify="left")
    for heading in ("batch", "float32", "GFLOP/s", "of peak", *list(ways)[1:], "NumPy ÷ float32"):
        table.add_column(heading, justify="right")
    for texts, length in SHAPES:
        batch = batch_of(lines, texts, length)
        calls = {name: _call(each, batch) for name, each in ways.items()}
        ms = {name: 1e3 * best for name, best in least(calls, 2.0).items()}
        speed = 1e3 * work_of(checkpoint, texts, length) / ms["float32"]
        others = [f"{value:.2f}" for name, value in ms.items() if name != "float32"]
        table.add_row(
            f"{texts} × {length}",
            f"{ms['float32']:.2f}",
            f"{speed:.0f}",
            f"{speed / top:.0%}",
            *others,
            f"{ms['NumPy'] / ms['float32']:.1f}",
        )
    return table


def _call(each: Way, batch: TokenBatch) -> Callable[[], object]:
    return lambda: each(batch)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--model", default="splade-tiny", help="of the catalog, or a folder")
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    options = parser.parse_args(arguments)

    console = Console()
    pulled = pull(options.model, console.print)
    checkpoint = Checkpoint.load(pulled.folder)
    with TemporaryDirectory() as made:
        folder = Path(made)
        specs = {
            name: export(pulled, folder, name=name, execution=execution)
            for name, execution in GRAPHS.items()
        }
        tokenizer = ModelTokenizer(folder / "float32", specs["float32"])
        lines = [line.ids for line in tokenizer.encode(README.read_text().splitlines())]
        for name, fact in machine.facts(["onnxruntime", "numpy"]).items():
            console.print(f"{name}: {fact}")
        for threads in options.threads:
            ways = ways_of(folder, specs, threads)
            table = measured(ways, checkpoint, lines, peak(folder, threads))
            table.title = f"{options.model}, {threads} thread{'s' if threads > 1 else ''}"
            console.print(table)


if __name__ == "__main__":
    main()
