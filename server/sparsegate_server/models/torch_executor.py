"""Runs a model in PyTorch inside Triton's python backend, on a GPU or a processor.

The weights are in `model.safetensors` beside this file, with all that there is to know of the
model. This file is the same for every model and needs only torch and numpy.

The logits of a batch are never in memory at once: a block of 4096 terms is pooled before the next
is made. For 32 texts of 128 tokens in half precision, a block takes 34 MB and all logits 250 MB. On
a GPU, the kernel of `fused_head` pools in half precision and writes none at all.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from math import prod
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
import triton_python_backend_utils as pb_utils  # type: ignore[import-not-found]
from torch.nn import functional

INPUTS = ("input_ids", "attention_mask")
WEIGHTS_FILE = "model.safetensors"

_WORDS = "bert.embeddings.word_embeddings.weight"
_DECODER = "cls.predictions.decoder.weight"
_BIAS = "cls.predictions.bias"
_DTYPES = {"F32": torch.float32, "F16": torch.float16}
_MASKED = {torch.float32: -1e9, torch.float16: -1e4}
"""Added to the attention scores of padding. Its exp is 0, and a row of padding stays finite."""
_BLOCK = 4096
"""Terms that are scored at a time. All at once took twice as long on a processor, where 1024 at a
time saved another tenth; a GPU would be short of work with those."""
_ROUNDED = 0.01
"""Of the greatest logit: how far apart two ways of multiplying halves may be."""


class TritonPythonModel:
    def initialize(self, args: dict[str, str]) -> None:
        """Loads `model.safetensors` from beside this file.

        Parameters of config.pbtxt: `intra_op_threads`, on a processor, is how many threads one
        batch may use; `cuda_graphs`, on a GPU, is 1 to record and replay a graph for every length,
        and `fused_head` 0 to score in blocks even where one kernel could.
        """
        parameters = json.loads(args["model_config"])["parameters"]
        on_gpu = args["model_instance_kind"] == "GPU"
        if not on_gpu:
            torch.set_num_threads(int(string_of(parameters, "intra_op_threads", "1")))
        # NVIDIA's images round float32 products to 10 bits of fraction unless they are told not to.
        torch.set_float32_matmul_precision("highest")
        device = f"cuda:{args['model_instance_device_id']}" if on_gpu else "cpu"
        file = Path(args["model_repository"]) / args["model_version"] / WEIGHTS_FILE
        tensors, facts = read_weights(file)
        self.encoder = SparseEncoder(tensors, facts, device)
        if on_gpu and string_of(parameters, "fused_head", "1") == "1":
            fuse_head(self.encoder)
        if on_gpu and string_of(parameters, "cuda_graphs", "0") == "1":
            self.encoder.record_graphs()

    def execute(self, requests: list[Any]) -> list[Any]:
        feeds = [
            [pb_utils.get_input_tensor_by_name(request, name).as_numpy() for name in INPUTS]
            for request in requests
        ]
        try:
            return self.run(feeds)
        except Exception as error:
            if len(requests) == 1:
                return [failure(error)]
        # One bad request must not fail the others of its batch: find it by running each alone.
        responses: list[Any] = []
        for feed in feeds:
            try:
                responses += self.run([feed])
            except Exception as error:
                responses.append(failure(error))
        return responses

    def run(self, feeds: list[list[Any]]) -> list[Any]:
        """One response per [input_ids, attention_mask], from one run of the model."""
        outputs = self.encoder(*(np.concatenate(arrays) for arrays in zip(*feeds, strict=True)))
        ends = np.cumsum([len(ids) for ids, _ in feeds])[:-1]
        split = {name: np.split(array, ends) for name, array in outputs.items()}
        return [
            response({name: arrays[at] for name, arrays in split.items()})
            for at in range(len(feeds))
        ]


def response(named: dict[str, Any]) -> Any:
    if "values" in named:
        # The batch was as wide as the fullest row of all its requests.
        width = max(1, int((named["values"] > 0).sum(axis=1).max()))
        named = {name: array[:, :width] for name, array in named.items()}
    return pb_utils.InferenceResponse(
        [pb_utils.Tensor(name, np.ascontiguousarray(array)) for name, array in named.items()]
    )


def failure(error: Exception) -> Any:
    return pb_utils.InferenceResponse(error=pb_utils.TritonError(str(error)))


def fuse_head(encoder: SparseEncoder) -> None:
    """Has a kernel pool, or says in the log of Triton's server why blocks do."""
    if not encoder.is_fusible:
        pb_utils.Logger.log_info("terms are scored in blocks: the fused head is for maxima in fp16")
        return
    try:
        encoder.fuse_head()
    except Exception as error:
        pb_utils.Logger.log_warn(f"terms are scored in blocks, without a fused head: {error!r}")


def sibling(name: str) -> Any:
    """A module beside this one, in Triton too, where the package is the version's folder."""
    return import_module(f".{name}", __package__)


def string_of(parameters: dict[str, Any], name: str, default: str) -> str:
    return str(parameters.get(name, {}).get("string_value", default))


@dataclass(frozen=True)
class Facts:
    """What a model is, besides its tensors.

    Attributes:
        layers, heads, epsilon: of the encoder.
        pooling: `max` or `sum` over the tokens.
        logarithms: how often a logit goes through log(1 + x).
        floor: a term is kept where its score is above this: its sum, or its greatest logit.
        most_terms: kept of one text.
        output: `terms`, `pooled` or `logits`.
        positions: whether each term comes with the token that caused it.
        outputs: NumPy types by name, in the order in which `output` has them.
        lengths: that requests are padded to.
    """

    layers: int
    heads: int
    epsilon: float
    pooling: str
    logarithms: int
    floor: float
    most_terms: int
    output: str
    positions: bool
    outputs: dict[str, str]
    lengths: list[int]


def read_weights(file: Path) -> tuple[dict[str, Any], Facts]:
    """Reads safetensors: the length of a header, 8 bytes; the header, JSON; then the tensors.

    https://github.com/huggingface/safetensors#format
    """
    raw = np.fromfile(file, np.uint8)
    start = 8 + int.from_bytes(raw[:8].tobytes(), "little")
    header = json.loads(raw[8:start].tobytes())
    facts = Facts(**json.loads(header.pop("__metadata__")["sparsegate"]))
    tensors = {
        name: torch.frombuffer(
            raw,
            dtype=_DTYPES[entry["dtype"]],
            count=prod(entry["shape"]),
            offset=start + entry["data_offsets"][0],
        ).reshape(entry["shape"])
        for name, entry in header.items()
    }
    return tensors, facts


class Scored(NamedTuple):
    """What a term's weight is made of.

    Attributes:
        h: hidden states, [batch, length, hidden].
        scores: every term's, float32 [batch, vocabulary].
        positions: of the tokens that caused them, int32 [batch, vocabulary]; None where they have
            yet to be found in the hidden states, or are not wanted.
    """

    h: Any
    scores: Any
    positions: Any | None = None


class SparseEncoder:
    """BERT (Devlin et al. 2019, https://arxiv.org/abs/1810.04805) with SPLADE's pooling.

    `h` stands for hidden states, [batch, length, hidden], in the precision of the weights.
    """

    def __init__(self, tensors: dict[str, Any], facts: Facts, device: str) -> None:
        self.facts = facts
        self.device = device
        self.weights = {name: tensor.to(device) for name, tensor in tensors.items()}
        self.words = self.weights[_WORDS]
        self.dtype = self.words.dtype
        self.places = self._places()
        for layer in range(facts.layers):
            self._join(f"bert.encoder.layer.{layer}.attention.self")
        self.decoder = self.weights.get(_DECODER, self.words)
        self.blocks = self.decoder.split(_BLOCK)
        self.bias = self.weights[_BIAS].float()
        self.head: Callable[[Any, Any], tuple[Any, Any | None]] | None = None
        self.scored: Callable[[Any, Any], Scored] = self.score

    def _places(self) -> Any:
        """Every token is of segment 0, so that its embedding is one more constant of a position."""
        name = "bert.embeddings"
        positions = self.weights.pop(f"{name}.position_embeddings.weight").float()
        segments = self.weights.pop(f"{name}.token_type_embeddings.weight").float()
        return (positions + segments[0]).to(self.dtype)

    def _join(self, name: str) -> None:
        """Makes one product of the three of queries, keys and values."""
        for kind in ("weight", "bias"):
            parts = [
                self.weights.pop(f"{name}.{part}.{kind}") for part in ("query", "key", "value")
            ]
            self.weights[f"{name}.{kind}"] = torch.cat(parts)

    def __call__(self, input_ids: Any, attention_mask: Any) -> dict[str, Any]:
        """Arrays by the names of `Facts.outputs`, of int32 [batch, length] arrays.

        Raises:
            ValueError: no such token, or a text that is too long. A GPU would not survive it.
        """
        self._check(input_ids, attention_mask)
        with torch.inference_mode():
            arrays = (input_ids, attention_mask)
            found = self.infer(*(torch.from_numpy(each).to(self.device) for each in arrays))
            return {
                name: each.cpu().numpy().astype(dtype, copy=False)
                for (name, dtype), each in zip(self.facts.outputs.items(), found, strict=True)
            }

    def _check(self, input_ids: Any, attention_mask: Any) -> None:
        if input_ids.shape != attention_mask.shape or input_ids.ndim != 2:
            raise ValueError(
                f"input_ids {input_ids.shape} and attention_mask {attention_mask.shape} are not of "
                "one shape [batch, length]"
            )
        if not 0 < input_ids.shape[1] <= len(self.places):
            raise ValueError(
                f"{input_ids.shape[1]} tokens, and the model takes 1 to {len(self.places)}"
            )
        if input_ids.size and not 0 <= input_ids.min() <= input_ids.max() < len(self.words):
            raise ValueError(
                f"token ids from {input_ids.min()} to {input_ids.max()}, and the model has "
                f"0 to {len(self.words) - 1}"
            )

    def infer(self, ids: Any, mask: Any) -> tuple[Any, ...]:
        """The model's output, of int32 [batch, length] tensors."""
        match self.facts.output:
            case "logits":
                return ((self.encode(ids, mask) @ self.decoder.T).float() + self.bias,)
            case "pooled":
                return self.pooled(self.scored(ids, mask), mask == 0)
            case _:
                return self.terms(self.scored(ids, mask), mask == 0)

    def score(self, ids: Any, mask: Any) -> Scored:
        h = self.encode(ids, mask)
        if self.head is not None:
            return Scored(h, *self.head(h, mask))
        # Padding takes the state of [CLS], a real token, and so never changes a maximum.
        h = torch.where(mask.bool()[:, :, None], h, h[:, :1])
        return Scored(h, self.sums(h, mask) if self.facts.pooling == "sum" else self.greatest(h))

    def encode(self, ids: Any, mask: Any) -> Any:
        """The states behind the transform of the masked-language-model head."""
        hidden_keys = ((1 - mask) * _MASKED[self.dtype]).to(self.dtype)[:, None, None, :]
        h = functional.embedding(ids, self.words) + self.places[: ids.shape[1]]
        h = self.norm(h, "bert.embeddings")
        for layer in range(self.facts.layers):
            name = f"bert.encoder.layer.{layer}"
            context = self.attention(h, hidden_keys, f"{name}.attention.self")
            attended = self.dense(context, f"{name}.attention.output.dense")
            h = self.norm(attended + h, f"{name}.attention.output")
            inner = functional.gelu(self.dense(h, f"{name}.intermediate.dense"))
            h = self.norm(self.dense(inner, f"{name}.output.dense") + h, f"{name}.output")
        name = "cls.predictions.transform"
        return self.norm(functional.gelu(self.dense(h, f"{name}.dense")), name)

    def attention(self, h: Any, hidden_keys: Any, name: str) -> Any:
        batch, length, hidden = h.shape
        heads = self.facts.heads
        joined = self.dense(h, name).view(batch, length, 3, heads, hidden // heads)
        query, key, value = joined.permute(2, 0, 3, 1, 4).unbind()
        context = functional.scaled_dot_product_attention(query, key, value, attn_mask=hidden_keys)
        return context.transpose(1, 2).reshape(batch, length, hidden)

    def dense(self, h: Any, name: str) -> Any:
        return functional.linear(h, self.weights[f"{name}.weight"], self.weights[f"{name}.bias"])

    def norm(self, h: Any, name: str) -> Any:
        scale, shift = (self.weights[f"{name}.LayerNorm.{kind}"] for kind in ("weight", "bias"))
        return functional.layer_norm(h, h.shape[-1:], scale, shift, self.facts.epsilon)

    def greatest(self, h: Any) -> Any:
        """Each term's greatest logit. ReLU and log(1 + x) keep order, so they can wait."""
        blocks = [(h @ rows.T).amax(dim=1) for rows in self.blocks]
        return torch.cat(blocks, dim=1).float() + self.bias

    def sums(self, h: Any, mask: Any) -> Any:
        """Each term's sum over the tokens of its activated logits."""
        # The product with the mask, a row vector a text, leaves padding out and sums in one step.
        tokens = mask.float()[:, None, :]
        biases = self.bias.split(_BLOCK)
        blocks = [
            tokens @ self.activate((h @ rows.T).float() + bias)
            for rows, bias in zip(self.blocks, biases, strict=True)
        ]
        return torch.cat(blocks, dim=2)[:, 0]

    def activate(self, logits: Any) -> Any:
        weights = logits.relu()
        for _ in range(self.facts.logarithms):
            weights = weights.log1p()
        return weights

    def weigh(self, scores: Any, kept: Any) -> Any:
        """The weights of scores, and 0 of those that are not kept."""
        weights = scores if self.facts.pooling == "sum" else self.activate(scores)
        return torch.where(kept, weights, 0.0)

    def pooled(self, scored: Scored, padding: Any) -> tuple[Any, ...]:
        """Every term's weight, [batch, vocabulary]."""
        h, scores, positions = scored
        kept = scores > self.facts.floor
        weights = self.weigh(scores, kept)
        if not self.facts.positions:
            return (weights,)
        if positions is None:
            blocks = [first_greatest(h @ rows.T, padding[:, :, None], 1) for rows in self.blocks]
            positions = torch.cat(blocks, dim=1)
        return weights, torch.where(kept, positions, 0)

    def terms(self, scored: Scored, padding: Any) -> tuple[Any, ...]:
        """The greatest terms of each row, [batch, k]. Nothing is cut: k is the fullest's count."""
        h, scores, positions = scored
        fullest = int((scores > self.facts.floor).sum(dim=1).max())
        k = min(max(fullest, 1), self.facts.most_terms)
        top, terms = scores.topk(k, dim=1)
        kept = top > self.facts.floor
        values = self.weigh(top, kept)
        if not self.facts.positions:
            return terms, values
        if positions is None:
            # A few hundred terms are multiplied again, which costs a hundredth of all.
            logits = self.decoder[terms] @ h.transpose(1, 2)
            positions = first_greatest(logits, padding[:, None, :], 2)
        else:
            positions = positions.gather(1, terms)
        return terms, values, torch.where(kept, positions, 0)

    @property
    def is_fusible(self) -> bool:
        """Whether `fused_head` is for such a model. It keeps maxima, and in float32 a GPU's tensor
        cores, which it is written for, would round."""
        facts = self.facts
        return (self.dtype, facts.pooling) == (torch.float16, "max") and facts.output != "logits"

    def fuse_head(self) -> None:
        """Pools by one kernel from now on, if it agrees with `greatest` at every length.

        Raises:
            RuntimeError: it does not.
            Exception: there is no OpenAI Triton, or its compiler fails.
        """
        lengths, positions = self.facts.lengths, self.facts.positions
        make = sibling("fused_head").fused_head
        with torch.inference_mode():
            head = make(self.decoder, self.bias, lengths, positions=positions)
            for length in lengths:
                self._compare(head, length)
        self.head = head

    def _compare(self, head: Callable[[Any, Any], tuple[Any, Any | None]], length: int) -> None:
        ids = torch.arange(length, dtype=torch.int32, device=self.device)[None] % len(self.words)
        mask = torch.ones_like(ids)
        mask[:, length // 2 + 1 :] = 0
        expected = self.score(ids, mask).scores
        found, _ = head(self.encode(ids, mask), mask)
        off = float((found - expected).abs().max())
        if not off <= _ROUNDED * float((expected - self.bias).abs().max()):
            raise RuntimeError(f"scores of {length} tokens are off by {off}")

    def record_graphs(self) -> None:
        """Records the part before the choice of terms, whose number is not known beforehand."""
        if self.facts.output == "logits":
            return
        with torch.inference_mode():
            graphs = sibling("recorded_graphs").RecordedGraphs
            self.scored = graphs(self.score, self.facts.lengths, self.device)


def first_greatest(logits: Any, padding: Any, dim: int) -> Any:
    """The token whose logit is greatest; padding has the logits of [CLS] and is never taken."""
    return logits.masked_fill(padding, float("-inf")).argmax(dim=dim)
