"""From places in the index to documents: one read of the store for all of them."""

from __future__ import annotations

from collections.abc import Sequence

from sparsegate_server.errors import CorruptStore
from sparsegate_server.index import ids
from sparsegate_server.index.store.codec import read_payload
from sparsegate_server.index.store.database import Store
from sparsegate_server.index.tail import TailView
from sparsegate_server.index.values import Record
from sparsegate_server.index.view import Place
from sparsegate_server.operations import Found, Selection
from sparsegate_server.types import Payload

_NOTHING = Record(None, {})


class Hydration:
    """Texts and payloads of new documents are still in memory; those of sealed ones come from the
    store, all that a request needs at once."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def found(self, places: Sequence[Place], select: Selection) -> list[Found]:
        """The selected parts of documents, in order.

        Raises:
            CorruptStore: the store lacks a document that the index has.
        """
        records = self.records(places, text=select.text, payload=select.payload)
        return [
            Found(
                ids.decode(part.key(row)),
                part.vector(row) if select.vector else None,
                record.text if select.text else None,
                select.of(record.payload) if select.payload else {},
            )
            for (part, row), record in zip(places, records, strict=True)
        ]

    def records(
        self, places: Sequence[Place], *, text: bool = True, payload: bool = True
    ) -> list[Record]:
        """Texts and payloads, in order; of sealed documents only what is asked for.

        Raises:
            CorruptStore: as `found`.
        """
        if not text and not payload:
            return [_NOTHING] * len(places)
        sealed = [part.number(row) for part, row in places if not isinstance(part, TailView)]
        stored = self._store.read_records(sealed, text=text, payload=payload) if sealed else {}
        return [
            part.tail.records[row]
            if isinstance(part, TailView)
            else _record(stored, part.number(row))
            for part, row in places
        ]


def _record(stored: dict[int, tuple[bytes | None, bytes]], number: int) -> Record:
    if number not in stored:
        raise CorruptStore(
            f"the store lacks the document number {number} that the index has: restore the"
            " collection's last snapshot",
            metadata={"number": str(number)},
        )
    text, payload = stored[number]
    try:
        decoded: Payload = read_payload(payload)
        return Record(None if text is None else text.decode(), decoded)
    except (ValueError, RecursionError) as error:
        raise CorruptStore(
            f"document number {number} of the store is damaged: restore the collection's last"
            " snapshot, or delete the document and send it again",
            metadata={"number": str(number)},
        ) from error
