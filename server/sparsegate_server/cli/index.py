"""`sparsegate-server index`: check and rebuild the index of a gateway that is stopped."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table
from rich.text import Text

from sparsegate_server import settings
from sparsegate_server.cli.console import out, progress
from sparsegate_server.errors import CollectionNotFound, DataFolderUnusable

app = typer.Typer(
    no_args_is_help=True,
    help="Check the files of collections, and make their index anew. The gateway must be stopped.",
)

Names = Annotated[
    list[str] | None,
    typer.Argument(metavar="[COLLECTION]...", help="Names of collections; all without any."),
]
Data = Annotated[
    Path | None,
    typer.Option("--data", help="The data folder.", show_default="index.folder of the settings"),
]


@app.command()
def verify(names: Names = None, data: Data = None) -> None:
    """Read every file of collections and compare it with its checksums and with the store.

    Changes nothing. Exit code 1 if anything is damaged.
    """
    from sparsegate_server import index  # noqa: PLC0415
    from sparsegate_server.index import verification  # noqa: PLC0415

    index.warm_up()
    table = Table("collection", "file", "state")
    sound = True
    with _collections(names, data) as folders:
        for folder in folders:

            def report(file: str, problem: str, folder: Path = folder) -> None:
                state = Text(problem, "red") if problem else Text("sound", "green")
                table.add_row(Text(folder.name), Text(file), state)

            with progress(f"Reading {folder.name}"):
                sound = verification.verify(folder, report) and sound
    out.print(table)
    if not sound:
        raise typer.Exit(1)


@app.command()
def rebuild(names: Names = None, data: Data = None) -> None:
    """Make the index of collections anew from their stores, which hold everything.

    The old index is kept until the new one is complete.
    """
    from sparsegate_server import index  # noqa: PLC0415
    from sparsegate_server.index import recovery  # noqa: PLC0415

    index.warm_up()
    with _collections(names, data) as folders:
        for folder in folders:
            with progress(f"Rebuilding {folder.name}") as tell:
                count = recovery.rebuild(folder, lambda done: tell(f"{done:,} documents"))
            out.print(f"{folder.name}: {count:,} documents", markup=False)


@contextmanager
def _collections(names: list[str] | None, data: Path | None) -> Iterator[list[Path]]:
    """The folders of collections, locked against a gateway.

    Raises:
        CollectionNotFound: there is no such collection.
        DataFolderLocked: a gateway is running on the data folder.
        DataFolderUnusable: there is none.
    """
    from sparsegate_server.index.data_folder import DataFolder  # noqa: PLC0415

    path = data or settings.load().index.folder
    if not path.is_dir():
        raise DataFolderUnusable(
            f"there is no data folder {path}: name it with --data", field="index.folder"
        )
    opened = DataFolder(path)
    try:
        known = opened.names()
        for name in names or ():
            if name not in known:
                raise CollectionNotFound(
                    f"{opened.path} has no collection {name!r}: it has {', '.join(known) or 'none'}"
                )
        yield [opened.collection(name) for name in names or known]
    finally:
        opened.close()
