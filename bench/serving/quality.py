"""nDCG@10 through the whole service: texts uploaded, questions searched, exact."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from bench.report import Row
from bench.serving.stand import ONNX, TRITON, Stand, counter
from bench.serving.texts import Beir

from sparsegate import Document
from sparsegate.aio import Client
from sparsegate_server.parity.measures import ndcg

BAR = 8
_REFERENCES = {"scifact": 0.6466, "cranfield": 0.3554}
"""Of the same model in PyTorch: 512 tokens, title and text, exact, float32."""

_TOLERANCE = 0.002
_TOKENS = ("sparsegate_tokens_total", "sparsegate_padded_tokens_total")
_UNDER_WAY = 16


def run(stand: Stand) -> None:
    for collection, names in (
        (stand.cranfield, (ONNX, TRITON)),
        (stand.scifact, (TRITON,)),
    ):
        for name in names:
            asyncio.run(_measure(stand, collection, name))


async def _measure(stand: Stand, collection: Beir, name: str) -> None:
    metrics = stand.gateway(name).metrics_port
    documents = collection.documents[: stand.choices.whole]
    whole = len(documents) == len(collection.documents)
    async with stand.clients(name, 1) as (client,):
        before = [counter(metrics, each) for each in _TOKENS]
        refused = await _upload(client, collection.name, documents)
        read, padded = (
            counter(metrics, each) - old for each, old in zip(_TOKENS, before, strict=True)
        )
        values = await _search(client, collection)
        await client.delete_collection(collection.name)
    note = f"{len(values)} questions, {refused} blank documents refused; "
    note += f"padded ÷ real tokens {padded / read:.3f}"
    stand.add(
        Row(BAR, f"nDCG@10, {collection.name}, {name}", sum(values) / len(values), "", "reference",
            _REFERENCES[collection.name], _TOLERANCE if whole else None, "±",
            note=note if whole else f"{note}; only {len(documents)} documents")
    )  # fmt: skip


async def _upload(client: Client, name: str, texts: Sequence[str]) -> int:
    """How many were refused, all of them for being blank; ids are positions in the corpus.

    Raises:
        RuntimeError: a document with a text was refused.
    """
    await client.create_collection(name)
    documents = [Document(id=position, text=text) for position, text in enumerate(texts)]
    summary = await client.upload(name, documents)
    for position, error in summary.errors.items():
        if texts[position].strip():
            raise RuntimeError(f"document {position} was refused: {error}")
    return len(summary.errors)


async def _search(client: Client, collection: Beir) -> list[float]:
    """nDCG@10 of every question that has a relevant document."""
    places = asyncio.Semaphore(_UNDER_WAY)

    async def one(question: str) -> float:
        async with places:
            result = await client.search(collection.name, collection.questions[question], limit=10)
        ranking = [int(hit.id) for hit in result.hits]
        return ndcg(ranking, collection.judged[question])

    return await asyncio.gather(*map(one, collection.judged))
