"""What a terminal shows of results."""

from __future__ import annotations

import io

from rich.console import Console, RenderableType

from sparsegate import Hit, SearchResult, Timings


def shown(renderable: RenderableType, width: int = 100) -> str:
    file = io.StringIO()
    Console(file=file, width=width, color_system=None).print(renderable)
    return file.getvalue()


def lines_of(renderable: RenderableType) -> list[str]:
    """What 80 columns show."""
    return [line.strip() for line in shown(renderable, width=80).splitlines()]


def facts_of(renderable: RenderableType) -> dict[str, str]:
    """Names and values of a table of two columns."""
    rows = (line.split("   ", 1) for line in lines_of(renderable) if "   " in line)
    return {name: value.strip() for name, value in rows}


def found(*hits: Hit) -> SearchResult:
    return SearchResult(hits, None, Timings(), False, False, "f", 1, 0)
