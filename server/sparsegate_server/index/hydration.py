"""From places in the index to documents: one read of the store for all of them."""

from __future__ import annotations

from collections.abc import Sequence

from sparsegate_server.index import ids
from sparsegate_server.index.store.codec import fits_payload, fits_text, read_payload
from sparsegate_server.index.store.database import Store
from sparsegate_server.index.store.documents import StoredParts, damaged_document
from sparsegate_server.index.tail import TailView
from sparsegate_server.index.values import Record
from sparsegate_server.index.view import Place
from sparsegate_server.operations import Found, Selection

_NOTHING = Record(None, {})


class Hydration:
    """Texts and payloads of new documents are still in memory; those of sealed ones come from the
    store, all that a request needs at once."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def found(self, places: Sequence[Place], select: Selection) -> list[Found]:
        """The selected parts of documents, in order.

        Raises:
            CorruptStore: the store lacks a document that the index has, or what it has of it does
                not fit its checksum.
        """
        records = self.records(places, text=select.text, payload=select.payload)
        return [
            Found(
                ids.decode(part.key(row)),
                select.of_vector(part.vector(row)) if select.vector else None,
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
        stored = self._store.read_parts(sealed, text=text, payload=payload) if sealed else {}
        records = []
        for part, row in places:
            if isinstance(part, TailView):
                records.append(part.tail.records[row])
                continue
            number = part.number(row)
            record = _record(stored.get(number), text=text, payload=payload)
            if record is None:
                raise damaged_document(part.key(row), number)
            records.append(record)
        return records


def _record(stored: StoredParts | None, *, text: bool, payload: bool) -> Record | None:
    """None where the store has nothing, or something that does not fit its checksum."""
    if (
        stored is None
        or (text and not fits_text(stored.checksums, stored.text))
        or (payload and not fits_payload(stored.checksums, stored.payload))
    ):
        return None
    try:
        return Record(
            None if stored.text is None else stored.text.decode(), read_payload(stored.payload)
        )
    except (ValueError, RecursionError):
        return None
