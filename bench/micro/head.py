"""Times SPLADE's head on a GPU: every logit pooled as written, blocks, one kernel, and CUDA graphs.

    PYTHONPATH=server:. python -m bench.micro.head [--batch 32] [--length 128] [--seconds 5]
    PYTHONPATH=server:. python -m bench.micro.head --smoke

It runs in the environment that Triton's torch models run in, with torch, OpenAI's Triton and NumPy;
without CUDA it ends with code 2. The model has the shape of BERT-base, random weights, float16, and
a bias that leaves a text about as many terms as SPLADE does. All ways share the encoder and end in
the same terms and weights on the host, which is checked before the clock starts; "plain" makes all
logits and takes log(1 + max(logit, 0)) of each before the maximum. The ways take turns, and each
figure is the least of its rounds. The floor is a document's operations at the speed of one large
product in the same precision, in the same run.

`--smoke` tries all of it on a processor, with a tiny model and the kernel in Triton's interpreter;
its figures mean nothing.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from types import ModuleType
from typing import Any, Final

import numpy as np
from bench.stopwatch import least
from numpy.typing import NDArray

_TERMS: Final = 300
"""That a document has on average, as SciFact's do."""
_SPREAD: Final = 0.02
"""Standard deviation of weights, as BERT's were before it was trained."""
_NEAR: Final = 0.05
"""How far apart weights of two ways may be; float16 logits as great as 8 are 0.004 apart."""

Arrays = dict[str, NDArray[Any]]
Way = Callable[[NDArray[np.int32], NDArray[np.int32]], Arrays]


@dataclass(frozen=True, slots=True)
class Shape:
    """Of a model, and of the square product that stands for the device's peak."""

    layers: int
    heads: int
    hidden: int
    vocabulary: int
    positions: int
    square: int

    def tensors(self, torch: Any) -> dict[str, Any]:
        """Random ones, by the names of `torch_executor`."""
        inner = 4 * self.hidden
        shapes: dict[str, tuple[int, ...]] = {
            "bert.embeddings.word_embeddings.weight": (self.vocabulary, self.hidden),
            "bert.embeddings.position_embeddings.weight": (self.positions, self.hidden),
            "bert.embeddings.token_type_embeddings.weight": (2, self.hidden),
        }
        dense = {"cls.predictions.transform.dense": (self.hidden, self.hidden)}
        norms = ["bert.embeddings", "cls.predictions.transform"]
        for layer in range(self.layers):
            name = f"bert.encoder.layer.{layer}"
            for part in ("query", "key", "value"):
                dense[f"{name}.attention.self.{part}"] = (self.hidden, self.hidden)
            dense[f"{name}.attention.output.dense"] = (self.hidden, self.hidden)
            dense[f"{name}.intermediate.dense"] = (inner, self.hidden)
            dense[f"{name}.output.dense"] = (self.hidden, inner)
            norms += [f"{name}.attention.output", f"{name}.output"]
        for name, shape in dense.items():
            shapes |= {f"{name}.weight": shape, f"{name}.bias": shape[:1]}
        random = torch.Generator().manual_seed(0)
        tensors = {
            name: (_SPREAD * torch.randn(shape, generator=random)).half()
            for name, shape in shapes.items()
        }
        for name in norms:
            tensors[f"{name}.LayerNorm.weight"] = torch.ones(self.hidden).half()
            tensors[f"{name}.LayerNorm.bias"] = torch.zeros(self.hidden).half()
        tensors["cls.predictions.bias"] = torch.zeros(self.vocabulary)
        return tensors

    def head_work(self, length: int) -> float:
        """FLOP of a document's logits."""
        return 2.0 * length * self.hidden * self.vocabulary

    def work(self, length: int) -> float:
        """FLOP of a document: every weight once a token, attention, and the head."""
        weights = (12 * self.layers + 1) * self.hidden**2
        attention = 2 * self.layers * self.hidden * length
        return 2.0 * length * (weights + attention) + self.head_work(length)


BERT_BASE: Final = Shape(12, 12, 768, 30522, 512, 8192)
TINY: Final = Shape(2, 2, 32, 500, 32, 256)


def executor() -> Any:
    """The module that Triton runs as a model's `model.py`, without Triton's server around it."""
    name = "triton_python_backend_utils"
    sys.modules.setdefault(name, ModuleType(name))
    return import_module("sparsegate_server.models.torch_executor")


def facts_of(module: Any, shape: Shape, length: int) -> Any:
    return module.Facts(
        layers=shape.layers,
        heads=shape.heads,
        epsilon=1e-12,
        pooling="max",
        logarithms=1,
        floor=0.0,
        most_terms=shape.vocabulary,
        output="terms",
        positions=False,
        outputs={"indices": "uint16", "values": "float32"},
        lengths=[length],
    )


def ways_of(
    module: Any, shape: Shape, ids: NDArray[np.int32], mask: NDArray[np.int32], device: str
) -> dict[str, Way]:
    """Each way as Triton would call it, of arrays and to arrays; graphs on a GPU alone."""
    import torch  # noqa: PLC0415

    tensors = shape.tensors(torch)
    facts = facts_of(module, shape, ids.shape[1])

    def encoder() -> Any:
        return module.SparseEncoder(tensors, facts, device)

    tensors["cls.predictions.bias"] = bias_for(torch, encoder(), ids, mask)
    plain, blocks, fused = encoder(), encoder(), encoder()
    plain.infer = lambda ids, mask: as_written(torch, plain, ids, mask)
    fused.fuse_head()
    ways: dict[str, Way] = {"plain": plain, "blocks": blocks, "fused": fused}
    if device != "cpu":
        for name in ("blocks", "fused"):
            recorded = encoder()
            recorded.head = ways[name].head  # type: ignore[attr-defined]
            recorded.record_graphs()
            ways[f"{name} + graphs"] = recorded
    return ways


def bias_for(torch: Any, encoder: Any, ids: NDArray[np.int32], mask: NDArray[np.int32]) -> Any:
    """That of all terms, by which a text has `_TERMS` on average."""
    with torch.inference_mode():
        arrays = (torch.from_numpy(each).to(encoder.device) for each in (ids, mask))
        scores = encoder.score(*arrays).scores.cpu()
    kept = min(_TERMS, scores.shape[1] // 2) * len(scores)
    least = scores.flatten().topk(kept).values[-1]
    return torch.full((scores.shape[1],), -float(least))


def as_written(torch: Any, encoder: Any, ids: Any, mask: Any) -> tuple[Any, Any]:
    """Terms and weights by way of the weight of every term for every token."""
    logits = encoder.encode(ids, mask) @ encoder.decoder.T + encoder.bias.half()
    weights = (torch.log1p(torch.relu(logits)) * mask[:, :, None]).amax(dim=1).float()
    k = max(int((weights > 0).sum(dim=1).max()), 1)
    values, terms = weights.topk(k, dim=1)
    return terms, values


def dense(arrays: Arrays, vocabulary: int) -> NDArray[np.float32]:
    weights = np.zeros((len(arrays["values"]), vocabulary), np.float32)
    np.put_along_axis(weights, arrays["indices"].astype(np.int64), arrays["values"], axis=1)
    return weights


def check(ways: Mapping[str, Way], ids: Any, mask: Any, vocabulary: int) -> None:
    """Raises RuntimeError where a way's weights are others than those of "plain"."""
    expected = dense(ways["plain"](ids, mask), vocabulary)
    for name, way in ways.items():
        off = float(np.abs(dense(way(ids, mask), vocabulary) - expected).max())
        if not off <= _NEAR:
            raise RuntimeError(f"weights of {name} are off by {off:.3f}")


def peak(square: int, device: str) -> float:
    """FLOP/s of one large product, float16 on a GPU."""
    import torch  # noqa: PLC0415

    ones = torch.ones(square, square, dtype=torch.float16, device=device)

    def product() -> None:
        # Reading one number waits for all of them.
        (ones @ ones)[0, 0].item()

    return 2.0 * square**3 / least({"product": product}, 1.0)["product"]


def _call(way: Way, ids: Any, mask: Any) -> Callable[[], object]:
    # Every way ends in arrays on the host, and so waits for the GPU.
    return lambda: way(ids, mask)


def report(shape: Shape, batch: int, length: int, best: Mapping[str, float], top: float) -> None:
    work, head = shape.work(length), shape.head_work(length)
    print(f"{batch} texts of {length} tokens")
    print(f"{work / 1e9:.3g} GFLOP a document, of which the head is {head / 1e9:.3g}")
    print(f"peak {top / 1e12:.4g} TFLOP/s; floor {top / work:,.0f} documents/s")
    logits = 2 * length * shape.vocabulary / 1e6
    print(f"logits in float16: {logits:.3g} MB a document, which the fused head does not write")
    headings = f"{'documents/s':>12}{'ms a batch':>12}{'TFLOP/s':>10}{'of floor':>10}{'÷ plain':>9}"
    print(f"{'way':<16}{headings}")
    for name, seconds in best.items():
        speed = batch / seconds
        print(
            f"{name:<16}{speed:>12,.0f}{1e3 * seconds:>12.2f}{speed * work / 1e12:>10.4g}"
            f"{speed * work / top:>10.1%}{best['plain'] / seconds:>9.2f}"
        )


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--length", type=int, default=128)
    parser.add_argument("--seconds", type=float, default=5.0, help="for all rounds together")
    parser.add_argument("--smoke", action="store_true", help="tiny, on a processor")
    options = parser.parse_args(arguments)
    if options.smoke:
        # Read when triton is imported.
        os.environ["TRITON_INTERPRET"] = "1"
    import torch  # noqa: PLC0415

    if not options.smoke and not torch.cuda.is_available():
        print(
            "this benchmark needs a GPU with CUDA; try it without one by --smoke", file=sys.stderr
        )
        return 2
    shape, device = (TINY, "cpu") if options.smoke else (BERT_BASE, "cuda:0")
    batch, length = (2, 24) if options.smoke else (options.batch, options.length)
    random = np.random.default_rng(0)
    ids = random.integers(shape.vocabulary, size=(batch, length), dtype=np.int32)
    mask = np.ones_like(ids)
    ways = ways_of(executor(), shape, ids, mask, device)
    check(ways, ids, mask, shape.vocabulary)
    place = "processor, in Triton's interpreter: figures mean nothing"
    print(f"torch {torch.__version__}, {place if options.smoke else torch.cuda.get_device_name()}")
    calls = {name: _call(way, ids, mask) for name, way in ways.items()}
    best = least(calls, 0.0 if options.smoke else options.seconds)
    report(shape, batch, length, best, peak(shape.square, device))
    return 0


if __name__ == "__main__":
    sys.exit(main())
