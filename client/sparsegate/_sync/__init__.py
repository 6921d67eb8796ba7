"""The synchronous client, generated from `_async` by `tools/sync_client.py`."""
