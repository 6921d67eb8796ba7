"""The synchronous client, generated from `_async` by `tools/unasync.py`."""
