"""The weights of query tokens of a model whose queries need no graph: a file beside the tokenizer.

SPLADE-doc (Formal et al. 2021, https://arxiv.org/abs/2109.10086, section 3.2) gives each token of a
query the weight 1; Geng et al. 2024 (https://arxiv.org/abs/2411.04403) give it its IDF.
"""

from __future__ import annotations

import hashlib
import io
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sparsegate_server.errors import ModelSourceError
from sparsegate_server.models.spec import ModelIdentity

QUERY_TABLE_FILE = "query_weights.npy"

Table = NDArray[np.float32]


def table_sha256(table: Table) -> str:
    """Over the little-endian float32 weights, as hex."""
    return hashlib.sha256(np.ascontiguousarray(table, "<f4").tobytes()).hexdigest()


def table_bytes(table: Table) -> bytes:
    """The file's content, in NumPy's own format."""
    stream = io.BytesIO()
    np.save(stream, np.ascontiguousarray(table, "<f4"), allow_pickle=False)
    return stream.getvalue()


def load_query_table(folder: Path, identity: ModelIdentity) -> Table:
    """The weight that each token of a query has.

    Args:
        folder: the model's, in the model repository.
        identity: of a model whose queries come from `tokens`.

    Returns:
        float32 [vocabulary], read-only: all 1 for a model without a table, and 0 for dropped terms.

    Raises:
        ModelSourceError: the table is missing or is not the model's.
    """
    table = np.ones(identity.vocabulary_size, np.float32)
    if identity.idf_sha256:
        table = _read(folder / QUERY_TABLE_FILE, identity)
    table[list(identity.dropped_terms)] = 0
    table.flags.writeable = False
    return table


def _read(file: Path, identity: ModelIdentity) -> Table:
    try:
        with file.open("rb") as stream:
            table = np.lib.format.read_array(stream, allow_pickle=False)
    except (OSError, ValueError) as error:
        raise ModelSourceError(
            f"{file} cannot be read ({error}): export the model again"
        ) from error
    if table.shape != (identity.vocabulary_size,) or table_sha256(table) != identity.idf_sha256:
        raise ModelSourceError(
            f"{file} is not the table that the model was exported with: export the model again"
        )
    return np.array(table, np.float32)
