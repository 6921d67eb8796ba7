"""Field paths: from `a.b[].c` to the values that it names in a payload."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final, TypeAlias

from sparsegate_server.errors import InvalidFilter
from sparsegate_server.filters import TEXT_FIELD
from sparsegate_server.types import Payload, PayloadValue

MAX_LENGTH: Final = 1024
"""Characters of a path. Parsed paths are cached, so that a caller must not choose their size."""

Step: TypeAlias = str | int | None
"""A name, the place of a list's element, or None for every element."""

_BARE: Final = r'[^."\[\]][^.\[\]]*'
_NAME: Final = re.compile(rf'(?:"([^"]*)"|({_BARE}))((?:\[[0-9]{{0,9}}\])*)(\.|\Z)')
_BRACKETS: Final = re.compile(r"\[([0-9]*)\]")


@lru_cache(maxsize=4096)
def parse(path: str) -> tuple[Step, ...]:
    """The steps of a path into the payload.

    A list at the end of a path counts as its elements anyway, so one `[]` there is left out.

    Raises:
        InvalidFilter: the path is malformed, longer than `MAX_LENGTH`, or goes on from `$text`.
    """
    if len(path) > MAX_LENGTH:
        raise InvalidFilter(f"a field path has {len(path)} characters: at most {MAX_LENGTH} go")
    steps: list[Step] = []
    position, more = 0, True
    while more:
        name = _NAME.match(path, position)
        if name is None:
            raise InvalidFilter(
                f"field path {path!r} is not understood from character {position + 1}: write "
                'a.b, a[].b, a[0].b, or "a.b" in double quotes for a name with dots or brackets'
            )
        quoted, bare, brackets, dot = name.groups()
        if bare == TEXT_FIELD and not steps:
            raise InvalidFilter(
                f"field path {path!r}: {TEXT_FIELD} is the document's own text and stands alone; "
                f'a payload field of that name is written "{TEXT_FIELD}" in double quotes'
            )
        steps.append(bare if quoted is None else quoted)
        steps.extend(int(place) if place else None for place in _BRACKETS.findall(brackets))
        position, more = name.end(), bool(dot)
    return tuple(steps[:-1] if steps[-1] is None else steps)


@lru_cache(maxsize=4096)
def canonical(field: str) -> str:
    """The one spelling of all paths that mean the same; `$text` is its own.

    Raises:
        InvalidFilter: as `parse` does.
    """
    if field == TEXT_FIELD:
        return field
    steps = parse(field)
    # What still ends in `[]` was written with one more, which parsing left out.
    ending: tuple[Step, ...] = (None,) if steps[-1] is None else ()
    return "".join(map(_spelled, (*steps, *ending))).removeprefix(".")


def _spelled(step: Step) -> str:
    if step is None:
        return "[]"
    if isinstance(step, int):
        return f"[{step}]"
    if step == TEXT_FIELD or not re.fullmatch(_BARE, step):
        return f'."{step}"'
    return f".{step}"


def resolve(payload: Payload, path: str) -> list[PayloadValue]:
    """The values at the end of a path, a list there flattened by one level.

    A missing field and an empty list yield no value; a JSON null yields None. A name finds
    nothing in a list: that takes `[]`.

    Raises:
        InvalidFilter: as `parse` does.
    """
    found: list[PayloadValue] = [payload]
    for step in parse(path):
        found = _taken(found, step)
    return _elements(found, keep=True)


def _taken(values: list[PayloadValue], step: Step) -> list[PayloadValue]:
    if step is None:
        return _elements(values, keep=False)
    if isinstance(step, str):
        return [each[step] for each in values if isinstance(each, dict) and step in each]
    return [each[step] for each in values if isinstance(each, list) and step < len(each)]


def _elements(values: list[PayloadValue], *, keep: bool) -> list[PayloadValue]:
    """The elements of those values that are lists, and the others as they are if `keep`."""
    elements: list[PayloadValue] = []
    for value in values:
        if isinstance(value, list):
            elements.extend(value)
        elif keep:
            elements.append(value)
    return elements
