from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sparsegate_server.errors import InvalidFilter
from sparsegate_server.index.filter.paths import MAX_LENGTH, canonical, parse, resolve
from sparsegate_server.types import Payload, PayloadValue

PAYLOAD: Payload = {
    "tags": ["a", "b"],
    "none": None,
    "nothing": [],
    "holes": ["a", None],
    "deep": [["a", ["b"]], "c"],
    "one": {"two": {"three": 3}},
    "films": [{"cast": [{"name": "x"}, {"name": "y"}]}, {"cast": []}, {"title": "z"}, 7],
    "dotted.name": {"x": 1},
    "[odd]": 2,
    "": 3,
    "$text": 4,
    'an "inch"': 5,
}

RESOLVED: list[tuple[str, list[PayloadValue]]] = [
    ("tags", ["a", "b"]),
    ("tags[]", ["a", "b"]),
    ("tags[1]", ["b"]),
    ("tags[2]", []),
    ("missing", []),
    ("missing[].x", []),
    ("none", [None]),
    ("none[]", [None]),
    ("none.x", []),
    ("nothing", []),
    ("holes", ["a", None]),
    ("deep", [["a", ["b"]], "c"]),
    ("deep[]", [["a", ["b"]], "c"]),
    ("deep[][]", ["a", ["b"], "c"]),
    ("deep[0]", ["a", ["b"]]),
    ("deep[][1]", ["b"]),
    ("one.two.three", [3]),
    ("one", [{"two": {"three": 3}}]),
    ("one[].two", []),
    ("films[].cast[].name", ["x", "y"]),
    ("films[0].cast[1].name", ["y"]),
    ("films[].title", ["z"]),
    ("films.title", []),
    ("films[].cast.name", []),
    ('"dotted.name".x', [1]),
    ("dotted.name.x", []),
    ('"[odd]"', [2]),
    ('""', [3]),
    ('"$text"', [4]),
    ('an "inch"', [5]),
]


@pytest.mark.parametrize(("path", "values"), RESOLVED)
def test_a_path_finds_its_values(path: str, values: list[PayloadValue]) -> None:
    assert resolve(PAYLOAD, path) == values


@pytest.mark.parametrize(
    "path",
    [
        *("", ".", "a.", ".a", "a..b", "[]", "[0].a", "a[", "a]", "a[-1]", "a[x]", "a[1", "a[]b"),
        *('"a', '"a"b', 'a."b', "a[٣]", "a[1234567890]", "a\n[", "x" * (MAX_LENGTH + 1)),
    ],
)
def test_a_malformed_path_is_refused(path: str) -> None:
    with pytest.raises(InvalidFilter, match="field path"):
        parse(path)


@pytest.mark.parametrize("path", ["$text.a", "$text[]", "$text[0].b"])
def test_the_text_has_no_parts(path: str) -> None:
    with pytest.raises(InvalidFilter, match="stands alone"):
        canonical(path)


@pytest.mark.parametrize(
    ("path", "spelled"),
    [
        ("tags", "tags"),
        ("tags[]", "tags"),
        ('"tags"[]', "tags"),
        ("tags[][]", "tags[][]"),
        ("tags[0][]", "tags[0]"),
        ("tags[007].x", "tags[7].x"),
        ('a."b"[]."c.d"', 'a.b[]."c.d"'),
        ("$text", "$text"),
        ('"$text"', '"$text"'),
        ('""', '""'),
        ('a.""', 'a.""'),
        ('"a]"', '"a]"'),
    ],
)
def test_paths_that_mean_the_same_are_spelled_alike(path: str, spelled: str) -> None:
    assert canonical(path) == spelled
    assert canonical(spelled) == spelled


@given(st.text('ab."[]0$', min_size=1, max_size=12))
def test_the_spelling_keeps_the_meaning(path: str) -> None:
    try:
        spelled = canonical(path)
    except InvalidFilter:
        return
    assert parse(spelled) == parse(path)
    assert canonical(spelled) == spelled
