"""Bars as rows: what is ours, what is theirs, what is required, and whether it is met."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from rich.console import Console
from rich.table import Table

Sense = Literal["≤", "<", "≥", "±"]

_WIDTH = 170
"""Of a table in a file."""


@dataclass(frozen=True, slots=True)
class Row:
    """One comparison.

    Attributes:
        bar: its number.
        ours, theirs: in `unit`; `theirs` is None where there is no peer.
        required: of the ratio `ours` ÷ `theirs`, or of `ours` itself if `absolute`, or with "±" the
            greatest difference between the two; None if the row only informs.
        note: what else one must know to judge it.
    """

    bar: int
    what: str
    ours: float
    unit: str
    peer: str = ""
    theirs: float | None = None
    required: float | None = None
    sense: Sense = "≤"
    absolute: bool = False
    note: str = ""

    @property
    def ratio(self) -> float | None:
        return self.ours / self.theirs if self.theirs else None

    @property
    def met(self) -> bool | None:
        """None where nothing is required or there is nothing to compare with."""
        judged = self._judged
        if self.required is None or judged is None or math.isnan(judged):
            return None
        if self.sense == "≥":
            return judged >= self.required
        return judged < self.required if self.sense == "<" else judged <= self.required

    @property
    def _judged(self) -> float | None:
        if self.sense == "±":
            return None if self.theirs is None else abs(self.ours - self.theirs)
        return self.ours if self.absolute else self.ratio

    def as_json(self) -> dict[str, Any]:
        return {**asdict(self), "ratio": self.ratio, "met": self.met}


def bars_table(rows: Iterable[Row], title: str = "") -> Table:
    table = Table(title=title or None)
    for name in ("bar", "what", "ours", "peer", "theirs", "ratio", "required", "met", "note"):
        numeric = name in {"ours", "theirs", "ratio", "required"}
        table.add_column(name, justify="right" if numeric else "left")
    for row in rows:
        table.add_row(
            str(row.bar),
            row.what,
            f"{_number(row.ours)} {row.unit}",
            row.peer,
            "" if row.theirs is None else _number(row.theirs),
            "" if row.ratio is None else f"{row.ratio:.2f}",
            _required(row),
            {True: "[green]met[/]", False: "[red]not met[/]", None: ""}[row.met],
            row.note,
        )
    return table


def _required(row: Row) -> str:
    if row.required is None:
        return ""
    of_ratio = not row.absolute and row.sense != "±"
    return f"{row.sense} {_number(row.required)}{' ×' if of_ratio else ''}"


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def wide_console() -> Console:
    """One whose tables are wide where it is no terminal."""
    console = Console()
    return console if console.is_terminal else Console(width=_WIDTH)


def integers(text: str) -> tuple[int, ...]:
    """An option's value: numbers with commas between them."""
    return tuple(int(each) for each in text.split(","))


def plain_table(title: str, columns: Sequence[str], rows: Iterable[Sequence[str]]) -> Table:
    """A table whose first column is words and whose others are numbers."""
    table = Table(title=title)
    for number, name in enumerate(columns):
        table.add_column(name, justify="right" if number else "left")
    for row in rows:
        table.add_row(*row)
    return table
