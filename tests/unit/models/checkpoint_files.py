"""Writes checkpoints' folders in every format that weights are saved in."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file

from . import bert_oracle
from .family_oracle import VOCABULARY
from .torch_writer import save_legacy, save_zip

Arrays = dict[str, NDArray[Any]]


def write(
    folder: Path,
    tensors: Mapping[str, NDArray[Any]],
    config: Mapping[str, Any] | None = None,
    save: Callable[[Arrays, Path], None] | None = None,
) -> Path:
    """A folder with weights, a tokenizer and a config, which is BERT's where none is given."""
    folder.mkdir(parents=True, exist_ok=True)
    (save or safetensors)(dict(tensors), folder)
    bert_oracle.write_tokenizer(folder / "tokenizer.json", VOCABULARY)
    config = {"num_attention_heads": bert_oracle.HEADS} if config is None else config
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def safetensors(tensors: Arrays, folder: Path) -> None:
    save_file(tensors, folder / "model.safetensors")


def torch_zip(tensors: Arrays, folder: Path) -> None:
    save_zip(folder / "pytorch_model.bin", tensors)


def torch_legacy(tensors: Arrays, folder: Path) -> None:
    save_legacy(folder / "pytorch_model.bin", tensors)


def shards(tensors: Arrays) -> dict[str, Arrays]:
    """Three parts, by the number that a file's name bears."""
    names = sorted(tensors)
    return {f"0000{i + 1}-of-00003": {n: tensors[n] for n in names[i::3]} for i in range(3)}


def safetensors_shards(tensors: Arrays, folder: Path) -> None:
    places = {}
    for number, part in shards(tensors).items():
        save_file(part, folder / f"model-{number}.safetensors")
        places |= dict.fromkeys(part, f"model-{number}.safetensors")
    index = {"metadata": {"total_size": 1}, "weight_map": places}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))


def torch_shards(tensors: Arrays, folder: Path) -> None:
    places = {}
    for number, part in shards(tensors).items():
        save_zip(folder / f"pytorch_model-{number}.bin", part)
        places |= dict.fromkeys(part, f"pytorch_model-{number}.bin")
    (folder / "pytorch_model.bin.index.json").write_text(json.dumps({"weight_map": places}))


FORMATS = [safetensors, safetensors_shards, torch_zip, torch_shards, torch_legacy]


def bert_tensors(tmp_path: Path, **options: bool) -> Arrays:
    bert_oracle.write_checkpoint(tmp_path / "bert", VOCABULARY, **options)
    return load_file(tmp_path / "bert" / "model.safetensors")
