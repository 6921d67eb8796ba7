"""`sparsegate collections copy`: reshard or encode anew, beside the old, then switch the alias."""

from __future__ import annotations

import re
from typing import Annotated

import typer

from sparsegate import Client
from sparsegate.cli.meter import Meter
from sparsegate.cli.options import (
    DEFAULT_ADDRESS,
    DEFAULT_TIMEOUT,
    Address,
    AsJson,
    ModelName,
    Timeout,
)
from sparsegate.cli.output import complain, plain_error, show, show_json
from sparsegate.cli.tiers import Ladder
from sparsegate.errors import (
    AlreadyExists,
    FailedPrecondition,
    InvalidArgument,
    UploadInterrupted,
)
from sparsegate.results import UploadProgress, UploadSummary
from sparsegate.types import Collection

PAGE = 256
SHOWN_ERRORS = 10
NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_-]{0,62}")


def copy(
    source: Annotated[str, typer.Argument(metavar="SOURCE", help="Collection to copy.")],
    target: Annotated[str, typer.Argument(metavar="TARGET", help="Name of the copy.")],
    shards: Annotated[
        int | None, typer.Option("--shards", help="Shards of the copy; as many when not given.")
    ] = None,
    model: ModelName = "",
    ladder: Ladder = None,
    no_ladder: Annotated[
        bool, typer.Option("--no-ladder", help="Leave the source's ladder out.")
    ] = False,
    switch_alias: Annotated[
        str | None,
        typer.Option("--switch-alias", metavar="ALIAS", help="Point this alias to the copy."),
    ] = None,
    address: Address = DEFAULT_ADDRESS,
    timeout: Timeout = DEFAULT_TIMEOUT,
    as_json: AsJson = False,
) -> None:
    """Copy a collection, to other shards or another model.

    Vectors are kept where the model is the same; else all texts are encoded anew, as they are for
    the models of a ladder. The alias is switched only once every document was copied. Writes to the
    source meanwhile are not copied.
    """
    with Client(address, timeout=timeout) as client:
        old = client.get_collection(source)
        same_model = _is_same(client, old, model)
        rungs = _ladder(old, ladder, no_ladder)
        _check_texts(old, same_model and not rungs)
        if switch_alias is not None:
            _check_alias(client, switch_alias, target)
        client.create_collection(
            target,
            model=model or old.model,
            shards=old.shards if shards is None else shards,
            keep_text=old.keep_text,
            ladder=rungs,
        )
        complain(f"writes to {old.name} from now on are not copied")
        for index in old.payload_indexes:
            client.create_payload_index(target, index.field, index.kind)
        summary = _transfer(client, old, target, same_model)
        if switch_alias is not None and not summary.errors:
            client.set_alias(switch_alias, target)
    if old.calibration is not None:
        complain(f"{target} is not calibrated: what was measured of {old.name} may not hold for it")
    _report(target, summary, switch_alias, as_json)


def _check_alias(client: Client, alias: str, target: str) -> None:
    """What would fail once everything is copied fails before.

    Raises:
        AlreadyExists: the alias is, or would be, the name of a collection.
        InvalidArgument: it is no name.
    """
    if not NAME.fullmatch(alias):
        raise InvalidArgument(
            f"{alias!r} is no name: 1 to 63 letters, digits, _ and -, not beginning with -",
            field="alias",
        )
    names = {collection.name for collection in client.list_collections()}
    if alias in {target, *names, *client.collection_problems()}:
        raise AlreadyExists(f"{alias} is the name of a collection: choose another alias")


def _is_same(client: Client, old: Collection, model: str) -> bool:
    """Whether the copy's model made the vectors of the old collection."""
    return client.get_model(model or old.model).fingerprint == old.fingerprint


def _ladder(old: Collection, given: list[str] | None, none: bool) -> list[str]:
    """Names of the models of the copy's ladder; those of the source where nothing was said."""
    if none:
        return []
    return given or [tier.model for tier in old.ladder]


def _check_texts(old: Collection, vectors_suffice: bool) -> None:
    """Raises FailedPrecondition: there are no texts to encode anew, and they are needed."""
    if not vectors_suffice and not old.keep_text:
        raise FailedPrecondition(
            f"{old.name} keeps no texts, so that they cannot be encoded anew: copy it under the "
            "model that made its vectors, with --no-ladder"
        )


def _transfer(client: Client, old: Collection, target: str, same_model: bool) -> UploadSummary:
    with Meter(old.documents) as meter:

        def update(progress: UploadProgress) -> None:
            meter.show(progress.acknowledged, progress.applied, progress.failed)

        documents = client.scroll_all(old.name, page_size=PAGE, with_vector=same_model)
        try:
            return client.upload(target, documents, on_progress=update)
        except UploadInterrupted:
            complain(f"{target} is incomplete: delete it before trying again")
            raise


def _report(target: str, summary: UploadSummary, alias: str | None, as_json: bool) -> None:
    for error in list(summary.errors.values())[:SHOWN_ERRORS]:
        complain(str(error))
    switched = alias is not None and not summary.errors
    if as_json:
        show_json(
            {
                "collection": target,
                "applied": summary.applied,
                "failed": len(summary.errors),
                "alias": alias if switched else None,
                "errors": [plain_error(error) for error in summary.errors.values()],
            }
        )
    else:
        show(f"{summary.applied} copied to {target}, {len(summary.errors)} refused")
        if switched:
            show(f"{alias} now points to {target}.")
    if summary.errors:
        raise typer.Exit(1)
