"""The settings of a collection that are not fixed when it is made."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Tuning:
    """What may differ from one start to the next.

    Attributes:
        tail_documents: new documents that are kept unsorted before they are sealed.
        most_unindexed: sealed documents that one filter may read from the store.
        threads: how many threads one search may use, the calling one included.
        scrub_seconds: pause between two readings of all files in the background; 0 for none.
        most_payload_bytes: of a payload that has been changed in place; 0 for no limit.
    """

    tail_documents: int = 1024
    most_unindexed: int = 20_000
    threads: int = 1
    scrub_seconds: float = 0.0
    most_payload_bytes: int = 0
