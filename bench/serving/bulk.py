"""Uploads documents over and over until it is stopped; a process of its own, beside queries.

    python -m bench.serving.bulk ADDRESS COLLECTION FILE    # started by bench.serving

FILE has a JSON list of texts. Prints a line for every acknowledged batch: all documents so far.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import sys
from pathlib import Path

from sparsegate import Document
from sparsegate.aio import Client
from sparsegate.results import UploadProgress

_BATCH = 32
_PATIENCE = 600.0


async def upload(address: str, collection: str, texts: list[str]) -> None:
    async with Client(address, timeout=_PATIENCE) as client:
        # Ids begin again with the texts: the collection stays as large as they are.
        documents = (
            Document(id=at, text=text) for at, text in itertools.cycle(list(enumerate(texts)))
        )
        await client.upload(collection, documents, batch_size=_BATCH, on_progress=_tell)


def _tell(progress: UploadProgress) -> None:
    print(progress.acknowledged, flush=True)


if __name__ == "__main__":
    address, collection, file = sys.argv[1:]
    asyncio.run(upload(address, collection, json.loads(Path(file).read_text())))
