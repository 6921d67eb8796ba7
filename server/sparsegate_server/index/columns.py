"""From documents to the payload column of one field."""

from __future__ import annotations

from collections.abc import Iterable

from sparsegate_server.filters import FieldKind
from sparsegate_server.index.filter.column import Column
from sparsegate_server.index.filter.match import values_of
from sparsegate_server.index.values import Record


def column_of(kind: FieldKind, name: str, records: Iterable[Record]) -> Column:
    """A column with a row for every record.

    Args:
        name: canonical path of the field, or `TEXT_FIELD`.
    """
    return Column.build(kind, (values_of(name, each.text, each.payload) for each in records))
