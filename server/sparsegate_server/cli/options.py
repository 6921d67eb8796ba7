"""Options that several commands have."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from sparsegate_server import settings

Repository = Annotated[
    Path | None,
    typer.Option(
        help="The model repository.",
        show_default="models.repository of the settings",
        file_okay=False,
    ),
]


def repository_of(option: Path | None) -> Path:
    """The absolute path of the repository that a command works on, for the user to find it."""
    return (option or settings.load().models.repository).absolute()
