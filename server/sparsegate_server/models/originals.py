"""The checkpoints that a model was exported from, read again."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from sparsegate_server.errors import ModelSourceError
from sparsegate_server.models.catalog import catalog_name
from sparsegate_server.models.checkpoint import Checkpoint
from sparsegate_server.models.layout import find_layout
from sparsegate_server.models.pull import Pulled, Report, pull, quiet
from sparsegate_server.models.spec import ModelSpec


@dataclass(frozen=True, eq=False, slots=True)
class Original:
    """An encoder's checkpoint.

    Attributes:
        checkpoint: as it was read.
        folder: of its config.json and weights.
    """

    checkpoint: Checkpoint
    folder: Path


@dataclass(frozen=True, eq=False, slots=True)
class Originals:
    """Attributes:
    documents: the encoder of documents.
    queries: of queries, where they have one of their own.
    """

    documents: Original
    queries: Original | None = None

    @classmethod
    def load(
        cls, documents: Pulled, queries: Pulled | None = None, *, own_queries: bool = True
    ) -> Originals:
        """Reads checkpoints.

        Args:
            documents: the checkpoint of documents.
            queries: that of queries, where the user has named one.
            own_queries: whether to look for a query encoder in the former when not.

        Raises:
            ModelSourceError: a checkpoint is not understood.
        """
        layout = find_layout(documents.folder)
        main = Original(Checkpoint.load(documents.folder), layout.model)
        if queries is not None:
            folder = find_layout(queries.folder).model
            return cls(main, Original(Checkpoint.load(queries.folder), folder))
        own = Checkpoint.load_query(documents.folder) if own_queries else None
        if own is None or layout.query_model is None:
            return cls(main)
        return cls(main, Original(own, layout.query_model))


def originals_of(spec: ModelSpec, report: Report = quiet) -> Originals:
    """Finds the checkpoints of an exported model where its description says they came from.

    Raises:
        ModelSourceError: they are not there any more, or are others.
    """
    try:
        queries = pull(catalog_name(spec.query_source), report) if spec.query_source else None
        documents = pull(catalog_name(spec.source), report)
        found = Originals.load(
            documents, queries, own_queries=spec.identity.queries == "graph" and queries is None
        )
    except ModelSourceError as error:
        raise ModelSourceError(
            f"the checkpoint of {spec.name!r} cannot be read again: {error.message}. It is what "
            "the graph is compared with: bring it back, or export the model from where it is now"
        ) from error
    _check(spec, found)
    return found


def _check(spec: ModelSpec, found: Originals) -> None:
    query_sum = found.queries.checkpoint.weights_sha256 if found.queries else ""
    pairs = (
        (found.documents.checkpoint.weights_sha256, spec.identity.weights_sha256, spec.source),
        (query_sum, spec.identity.query_weights_sha256, spec.query_source or spec.source),
        (found.documents.checkpoint.tokenizer_sha256, spec.identity.tokenizer_sha256, spec.source),
    )
    for actual, expected, source in pairs:
        if actual != expected:
            raise ModelSourceError(
                f"the checkpoint at {source} is not the one that {spec.name!r} was exported from: "
                "export the model again"
            )
