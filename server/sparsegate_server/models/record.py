"""The parity gate's record of a model, in a file of its own beside the model's description.

A description says what a model is, and is the same wherever the model lies; whether the graph that
lies here was compared with its checkpoint is a fact of this folder. So the record names what it is
about, down to the bytes of the graph, and counts for nothing else.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from pathlib import Path

from sparsegate_server.errors import ModelSourceError
from sparsegate_server.models.jsonfile import read_object
from sparsegate_server.models.spec import ModelSpec
from sparsegate_server.models.verification import Verification

logger = logging.getLogger(__name__)

RECORD_FILE = "parity.json"

State = Mapping[str, str | bool]
"""What a record is about: two models of equal states give the same vectors, to the bit."""


def state_of(spec: ModelSpec, files: Iterable[Path]) -> State:
    """What a model is at this moment.

    Args:
        spec: its description.
        files: all others of its files that its vectors depend on, in an order that stays. Each is
            read to its end.

    Raises:
        OSError: one of them cannot be read.
    """
    total = hashlib.sha256()
    for file in files:
        with file.open("rb") as stream:
            total.update(hashlib.file_digest(stream, "sha256").digest())
    return {
        "fingerprint": spec.fingerprint,
        "precision": spec.precision,
        "backend": spec.backend,
        "device": spec.device,
        "output": spec.output,
        "positions": spec.positions,
        "files_sha256": total.hexdigest(),
    }


def record_bytes(state: State, found: Verification) -> bytes:
    """The file's content; the same for the same arguments."""
    return (json.dumps({"model": {**state}, "found": asdict(found)}, indent=2) + "\n").encode()


def read_record(folder: Path, spec: ModelSpec, files: Iterable[Path]) -> Verification | None:
    """What the gate found of the model that lies in a folder; None where nobody has asked it.

    A record that cannot be read, or is about another model, counts for nothing, and a warning in
    the log says so.

    Args:
        folder: of the model.
        spec: its description.
        files: as of `state_of`.
    """
    file = folder / RECORD_FILE
    if not file.exists():
        return None
    try:
        raw = read_object(file)
        about, found = raw["model"], Verification.from_dict(raw["found"])
        state = state_of(spec, files)
        different = [key for key, value in state.items() if about.get(key) != value]
    except (ModelSourceError, OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        _warn(file, spec, f"cannot be held against its files ({error})")
        return None
    if different or about.keys() - state.keys():
        what = ", ".join(different) or "what it names"
        _warn(file, spec, f"is of another model than lies there ({what} differs)")
        return None
    return found


def _warn(file: Path, spec: ModelSpec, problem: str) -> None:
    # All of it is in the message: not every command has a log that shows the fields.
    logger.warning(
        "the parity record %s %s and counts for nothing: run `sparsegate-server model verify %s`, "
        "which writes another",
        file,
        problem,
        spec.name,
        extra={"model": spec.name},
    )
