"""`sparsegate snapshots`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from sparsegate import Client
from sparsegate.cli.meter import transfer
from sparsegate.cli.options import (
    DEFAULT_ADDRESS,
    DEFAULT_TIMEOUT,
    LONG_TIMEOUT,
    Address,
    AsJson,
    CollectionName,
    Timeout,
)
from sparsegate.cli.output import answer
from sparsegate.cli.render import collection_table, snapshots_table
from sparsegate.errors import NotFound
from sparsegate.types import Snapshot

app = typer.Typer(no_args_is_help=True, help="Take, keep and restore snapshots of collections.")

SnapshotName = Annotated[str, typer.Argument(metavar="SNAPSHOT", help="Name of the snapshot.")]


@app.command("create")
def create(
    collection: CollectionName,
    address: Address = DEFAULT_ADDRESS,
    timeout: Timeout = LONG_TIMEOUT,
    as_json: AsJson = False,
) -> None:
    """Take a snapshot, which the gateway keeps."""
    with Client(address) as client:
        snapshot = client.create_snapshot(collection, timeout=timeout)
    answer(snapshot, snapshots_table([snapshot]), as_json=as_json)


@app.command("list")
def list_all(
    collection: CollectionName,
    address: Address = DEFAULT_ADDRESS,
    timeout: Timeout = DEFAULT_TIMEOUT,
    as_json: AsJson = False,
) -> None:
    """List the snapshots of a collection, the newest first."""
    with Client(address, timeout=timeout) as client:
        snapshots = client.list_snapshots(collection)
    answer({"snapshots": snapshots}, snapshots_table(snapshots), as_json=as_json)


@app.command("download")
def download(
    collection: CollectionName,
    snapshot: SnapshotName,
    file: Annotated[
        Path | None,
        typer.Argument(
            metavar="FILE",
            help="File to write; SNAPSHOT in this folder if not given.",
            dir_okay=False,
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="The same, as an option.", dir_okay=False),
    ] = None,
    address: Address = DEFAULT_ADDRESS,
    timeout: Timeout = LONG_TIMEOUT,
    as_json: AsJson = False,
) -> None:
    """Write the archive of a snapshot to a file."""
    target = _target(file, output, snapshot)
    with Client(address) as client, transfer() as meter:
        try:
            size = client.download_snapshot(
                collection, snapshot, target, on_progress=meter, timeout=timeout
            )
        except OSError as error:
            raise typer.BadParameter(str(error), param_hint="FILE") from None
    told = f"Wrote {size:,} bytes to {target}."
    answer({"file": str(target), "bytes": size}, told, as_json=as_json)


def _target(file: Path | None, output: Path | None, snapshot: str) -> Path:
    """Raises:
    typer.BadParameter: it was given twice, or its folder does not exist.
    """
    if file is not None and output is not None:
        raise typer.BadParameter("give either FILE or --output", param_hint="FILE")
    target = file or output or Path(snapshot)
    if not target.parent.is_dir():
        raise typer.BadParameter(f"there is no folder {target.parent}", param_hint="FILE")
    return target


@app.command("delete")
def delete(
    collection: CollectionName,
    snapshot: SnapshotName,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    address: Address = DEFAULT_ADDRESS,
    timeout: Timeout = DEFAULT_TIMEOUT,
    as_json: AsJson = False,
) -> None:
    """Delete a snapshot."""
    if not yes:
        typer.confirm(f"Delete snapshot {snapshot} of {collection}?", abort=True, err=True)
    with Client(address, timeout=timeout) as client:
        client.delete_snapshot(collection, snapshot)
    answer({"deleted": snapshot}, f"Deleted {snapshot}.", as_json=as_json)


@app.command("restore")
def restore(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Name of the new collection.")],
    archive: Annotated[
        Path | None,
        typer.Argument(metavar="FILE", help="Archive to send.", exists=True, dir_okay=False),
    ] = None,
    collection: Annotated[
        str | None,
        typer.Option("--from", metavar="COLLECTION", help="Whose snapshot, kept by the gateway."),
    ] = None,
    snapshot: Annotated[
        str | None,
        typer.Option("--snapshot", help="Its name; the newest when not given."),
    ] = None,
    address: Address = DEFAULT_ADDRESS,
    timeout: Timeout = LONG_TIMEOUT,
    as_json: AsJson = False,
) -> None:
    """Make a new collection from an archive, or from a snapshot that the gateway keeps."""
    if (archive is None) == (collection is None):
        raise typer.BadParameter("give either FILE or --from", param_hint="FILE")
    with Client(address) as client, transfer() as meter:
        source = archive or _kept(client, collection or "", snapshot)
        restored = client.restore_snapshot(name, source, on_progress=meter, timeout=timeout)
    answer(restored, collection_table(restored), as_json=as_json)


def _kept(client: Client, collection: str, name: str | None) -> Snapshot:
    for snapshot in client.list_snapshots(collection):
        if name in {None, snapshot.name}:
            return snapshot
    raise NotFound(f"{collection} has no snapshot{f' {name}' if name else ''}", field="snapshot")
