"""BERT in plain NumPy, one text at a time, and small random checkpoints for it."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save_file
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import WhitespaceSplit
from tokenizers.processors import TemplateProcessing

from sparsegate_server.models.checkpoint import Checkpoint

Array = NDArray[np.float64]

HIDDEN, HEADS, LAYERS, POSITIONS = 12, 3, 2, 24
EPSILON = 1e-12


def write_checkpoint(
    folder: Path, vocabulary: int = 50, *, old_names: bool = False, tied: bool = True
) -> Checkpoint:
    """Random tensors under Hugging Face's names, in files, read back."""
    random = np.random.default_rng(vocabulary)
    scale, shift = ("gamma", "beta") if old_names else ("weight", "bias")
    tensors: dict[str, NDArray[np.float32]] = {}

    def put(name: str, *shape: int) -> None:
        tensors[name] = random.normal(size=shape, scale=0.5).astype(np.float32)

    def dense(name: str, out: int, into: int) -> None:
        put(f"{name}.weight", out, into)
        put(f"{name}.bias", out)

    def norm(name: str) -> None:
        put(f"{name}.{scale}", HIDDEN)
        put(f"{name}.{shift}", HIDDEN)

    put("bert.embeddings.word_embeddings.weight", vocabulary, HIDDEN)
    put("bert.embeddings.position_embeddings.weight", POSITIONS, HIDDEN)
    put("bert.embeddings.token_type_embeddings.weight", 2, HIDDEN)
    norm("bert.embeddings.LayerNorm")
    for layer in range(LAYERS):
        name = f"bert.encoder.layer.{layer}"
        for part in ("query", "key", "value"):
            dense(f"{name}.attention.self.{part}", HIDDEN, HIDDEN)
        dense(f"{name}.attention.output.dense", HIDDEN, HIDDEN)
        norm(f"{name}.attention.output.LayerNorm")
        dense(f"{name}.intermediate.dense", 4 * HIDDEN, HIDDEN)
        dense(f"{name}.output.dense", HIDDEN, 4 * HIDDEN)
        norm(f"{name}.output.LayerNorm")
    dense("cls.predictions.transform.dense", HIDDEN, HIDDEN)
    norm("cls.predictions.transform.LayerNorm")
    put("cls.predictions.bias", vocabulary)
    if not tied:
        put("cls.predictions.decoder.weight", vocabulary, HIDDEN)
    folder.mkdir(parents=True, exist_ok=True)
    save_file(tensors, folder / "model.safetensors")
    write_tokenizer(folder / "tokenizer.json", vocabulary)
    (folder / "config.json").write_text(json.dumps({"num_attention_heads": HEADS}))
    return Checkpoint.load(folder)


def write_tokenizer(file: Path, vocabulary: int) -> None:
    """One token a word: five special ones, then w5, w6, …"""
    specials = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    words = [*specials, *(f"w{id}" for id in range(len(specials), vocabulary))]
    tokenizer = Tokenizer(WordLevel({word: id for id, word in enumerate(words)}, "[UNK]"))
    tokenizer.add_special_tokens(specials)
    tokenizer.pre_tokenizer = WhitespaceSplit()
    tokenizer.post_processor = TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    tokenizer.save(str(file))


def logits(checkpoint: Checkpoint, ids: list[int]) -> Array:
    """float64 [tokens, vocabulary] of one text without padding."""
    t = {name: tensor.astype(np.float64) for name, tensor in checkpoint.tensors.items()}
    words = t["bert.embeddings.word_embeddings.weight"]

    def dense(x: Array, name: str) -> Array:
        return x @ t[f"{name}.weight"].T + t[f"{name}.bias"]

    def norm(x: Array, name: str) -> Array:
        scale = t.get(f"{name}.weight", t.get(f"{name}.gamma"))
        shift = t.get(f"{name}.bias", t.get(f"{name}.beta"))
        assert scale is not None
        assert shift is not None
        centred = x - x.mean(axis=-1, keepdims=True)
        return (
            centred / np.sqrt((centred**2).mean(axis=-1, keepdims=True) + EPSILON) * scale + shift
        )

    h = (
        words[ids]
        + t["bert.embeddings.position_embeddings.weight"][: len(ids)]
        + t["bert.embeddings.token_type_embeddings.weight"][0]
    )
    h = norm(h, "bert.embeddings.LayerNorm")
    for layer in range(LAYERS):
        name = f"bert.encoder.layer.{layer}"
        q, k, v = (dense(h, f"{name}.attention.self.{part}") for part in ("query", "key", "value"))
        context = np.concatenate(
            [
                attention(*each)
                for each in zip(*(np.split(x, HEADS, axis=1) for x in (q, k, v)), strict=True)
            ],
            axis=1,
        )
        h = norm(
            dense(context, f"{name}.attention.output.dense") + h,
            f"{name}.attention.output.LayerNorm",
        )
        inner = gelu(dense(h, f"{name}.intermediate.dense"))
        h = norm(dense(inner, f"{name}.output.dense") + h, f"{name}.output.LayerNorm")
    h = gelu(dense(h, "cls.predictions.transform.dense"))
    h = norm(h, "cls.predictions.transform.LayerNorm")
    return h @ t.get("cls.predictions.decoder.weight", words).T + t["cls.predictions.bias"]


def weights(checkpoint: Checkpoint, ids: list[int]) -> Array:
    """float64 [vocabulary]: SPLADE's weights of one text."""
    return np.log1p(np.maximum(logits(checkpoint, ids), 0)).max(axis=0)


def attention(q: Array, k: Array, v: Array) -> Array:
    scores = q @ k.T / math.sqrt(q.shape[1])
    exp = np.exp(scores - scores.max(axis=1, keepdims=True))
    return exp / exp.sum(axis=1, keepdims=True) @ v


def gelu(x: Array) -> Array:
    return x * 0.5 * (1 + np.vectorize(math.erf)(x / math.sqrt(2)))
