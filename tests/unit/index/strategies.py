"""What hypothesis draws: ids of both kinds, weights that are hard to add up, filters that pass."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st

from sparsegate_server.filters import (
    Condition,
    Contains,
    Except,
    FieldKind,
    Filter,
    HasId,
    IsEmpty,
    IsNull,
    Match,
    MatchText,
    MinShould,
    Range,
    TimeRange,
)
from sparsegate_server.operations import Document, PayloadChange, PayloadMode, SearchOptions

from .oracle import sparse

VOCABULARY = 12

SMALLEST = float(np.finfo(np.float32).smallest_subnormal)
AWKWARD = [SMALLEST, 1.1e-38, 1e-30, 0.1, 1 / 3, 0.5, 1.0, 2.0, 16_777_216 / 1e3, 1e6]

weights = st.one_of(
    st.sampled_from([float(np.float32(weight)) for weight in AWKWARD]),
    st.floats(2.0**-100, 1e6, width=32),
)
vectors = st.dictionaries(st.integers(0, VOCABULARY - 1), weights, max_size=8)
queries = st.dictionaries(st.integers(0, VOCABULARY - 1), weights, min_size=1, max_size=8)

# Few of them, so that documents are replaced and deleted often; 5 and "5" side by side.
ids = st.one_of(
    st.integers(0, 9),
    st.integers(0, 9).map(str),
    st.sampled_from([2**64 - 1, 2**32, "é", "\U0001f600", "z" * 256, "a\0b"]),
)
limits = st.sampled_from([1, 2, 3, 10, 10_000])

# Payloads of few fields and values, so that filters and indexes meet all kinds of them.
FIELDS = {
    "n": [FieldKind.NUMBER],
    "k": [FieldKind.KEYWORD, FieldKind.TEXT],
    "a.b": [FieldKind.NUMBER, FieldKind.BOOL],
    "when": [FieldKind.DATETIME, FieldKind.KEYWORD],
    "$text": [FieldKind.TEXT],
}
WORDS = ["red", "fox", "AB-12", "é"]
DAYS = ["2024-01-01", "2024-06-30T12:00:00+02:00", "no day"]
_numbers = st.sampled_from([0, 1, 2, 3, 2.5, -1])
_values = st.one_of(_numbers, st.sampled_from(WORDS), st.none(), st.booleans())
texts = st.none() | st.lists(st.sampled_from(WORDS), max_size=3).map(" ".join)
payloads = st.fixed_dictionaries(
    {},
    optional={
        "n": _values | st.lists(_numbers, max_size=2),
        "k": _values | st.lists(st.sampled_from(WORDS), max_size=2),
        "a": st.fixed_dictionaries({}, optional={"b": _values}),
        "when": st.sampled_from(DAYS),
    },
)
documents = st.builds(
    lambda *parts: Document(parts[0], sparse(parts[1]), *parts[2:]), ids, vectors, texts, payloads
)
batches = st.lists(documents, max_size=6)

_paths = st.sampled_from([each for each in FIELDS if each != "$text"])
_wanted = st.lists(_values.filter(lambda value: value is not None), max_size=2).map(tuple)
_bounds = st.none() | _numbers
conditions: st.SearchStrategy[Condition] = st.one_of(
    st.builds(Match, _paths, _wanted),
    st.builds(Except, _paths, _wanted),
    st.builds(MatchText, st.just("k") | st.just("$text"), st.sampled_from(WORDS)),
    st.builds(Range, _paths, gte=_bounds, lt=_bounds),
    st.builds(TimeRange, st.just("when"), gte=st.none() | st.just(1_710_000_000_000_000)),
    st.builds(IsNull, _paths),
    st.builds(IsEmpty, _paths),
    st.builds(HasId, st.lists(ids, max_size=3).map(tuple)),
    st.builds(Contains, st.sampled_from([*WORDS, "red fox"])),
)
_some = st.lists(conditions, max_size=2).map(tuple)
filters = st.builds(
    Filter,
    must=_some,
    should=_some,
    must_not=st.lists(conditions, max_size=1).map(tuple),
    min_should=st.none() | st.builds(MinShould, _some, st.integers(1, 2)),
)
targets = st.lists(ids, max_size=5).map(tuple) | filters
changes = st.one_of(
    st.builds(PayloadChange, st.just(PayloadMode.MERGE), payloads),
    st.builds(PayloadChange, st.just(PayloadMode.REPLACE), payloads),
    st.builds(
        lambda keys: PayloadChange(PayloadMode.REMOVE, keys=tuple(keys)),
        st.lists(st.sampled_from(["n", "k", "a", "when", "missing"]), max_size=3),
    ),
)
options = st.builds(
    SearchOptions,
    limit=limits,
    offset=st.sampled_from([0, 0, 1, 3, 9_000]),
    threshold=st.none() | weights,
    filter=st.none() | filters,
    idf=st.booleans(),
)
