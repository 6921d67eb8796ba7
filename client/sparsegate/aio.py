"""The client for asyncio: the same methods as `sparsegate.Client`, to be awaited.

async with sparsegate.aio.Client() as client:
    result = await client.search("movies", "A movie about music", with_payload=True)
"""

from sparsegate._async.client import Client

__all__ = ["Client"]
