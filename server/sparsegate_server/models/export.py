"""Writes a checkpoint's graph as ONNX, straight from its tensors."""

from __future__ import annotations

from pathlib import Path

from sparsegate_server.errors import ModelSourceError
from sparsegate_server.models.arithmetic import arithmetic
from sparsegate_server.models.bert import BertWriter
from sparsegate_server.models.checkpoint import Checkpoint
from sparsegate_server.models.graph import GraphBuilder
from sparsegate_server.models.pooling import (
    Pooled,
    all_positions,
    candidates,
    exact_scores,
    over_padding,
    pool,
    positions_of,
    scored,
    token_logits,
)
from sparsegate_server.models.query_table import table_sha256
from sparsegate_server.models.recipe import Recipe
from sparsegate_server.models.signature import FINGERPRINT_KEY, INPUTS, TensorSpec, outputs_of
from sparsegate_server.models.spec import TOKENIZER_FILE, ModelIdentity, Output, Precision
from sparsegate_server.models.vocabulary import Vocabulary

_CANDIDATES = 8
"""Times a vector's most terms: that many may be looked at to find them, so that a model whose
vectors are not sparse does not fill the memory."""


def identity_of(
    checkpoint: Checkpoint, recipe: Recipe | None = None, queries: Checkpoint | None = None
) -> ModelIdentity:
    """The identity of the model that a checkpoint makes.

    Args:
        checkpoint: of the documents.
        recipe: SPLADE's when None.
        queries: the checkpoint of a query graph of its own.

    Raises:
        ModelSourceError: the two checkpoints do not go together.
    """
    recipe = recipe or Recipe()
    shape = checkpoint.shape
    if queries is not None:
        _check_pair(checkpoint, queries, recipe)
    table = checkpoint.query_weights if recipe.family == "splade-doc" else None
    return ModelIdentity(
        family=recipe.family,
        weights_sha256=checkpoint.weights_sha256,
        tokenizer_sha256=checkpoint.tokenizer_sha256,
        vocabulary_size=shape.vocabulary_size,
        pooling=recipe.pooling,
        max_length=min(shape.positions, queries.shape.positions) if queries else shape.positions,
        activation=recipe.activation,
        dropped_terms=checkpoint.special_ids if recipe.drop_special else (),
        query_weights_sha256=queries.weights_sha256 if queries else "",
        idf_sha256="" if table is None else table_sha256(table),
    )


def _check_pair(documents: Checkpoint, queries: Checkpoint, recipe: Recipe) -> None:
    if recipe.family == "splade-doc":
        raise ModelSourceError(
            "splade-doc has no query model: leave --query out, or choose --family splade"
        )
    ours, theirs = (
        Vocabulary.parse(each.tokenizer, Path(TOKENIZER_FILE)) for each in (documents, queries)
    )
    if ours.tokens != theirs.tokens:
        raise ModelSourceError(
            "the checkpoints of queries and documents have different vocabularies, and would not "
            "share terms: take both from one model"
        )
    if documents.pooling and queries.pooling and documents.pooling != queries.pooling:
        raise ModelSourceError(
            f"queries are pooled by {queries.pooling}, documents by {documents.pooling}: there is "
            "no graph for two ways in one model"
        )


def export_graph(
    checkpoint: Checkpoint,
    identity: ModelIdentity,
    output: Output = "terms",
    precision: Precision = "fp32",
    *,
    positions: bool = False,
    screened: bool = False,
) -> bytes:
    """The ONNX model, the same bytes for the same arguments.

    Inputs and outputs are those of `models.signature`; what the numbers mean,
    `inference.base.InferenceBackend` says. The identity's fingerprint is in its metadata, so that a
    graph in another model's folder is found out.

    Args:
        checkpoint: of the documents, or of the queries where those have a graph of their own.
        screened: whether float32 terms are found with a screen of integers, half the work or less
            for a processor; graphics processors have no such products. The vectors are the same.

    Raises:
        ModelSourceError: a tensor is missing or has a size that does not fit.
    """
    graph = GraphBuilder()
    input_ids, attention_mask = (
        graph.input(tensor.name, tensor.dtype, ["batch", *tensor.dims]) for tensor in INPUTS
    )
    # What goes through no screen has need of every term's number.
    numbers = arithmetic(graph, precision, screened=screened and output == "terms")
    bert = BertWriter(graph, checkpoint, numbers)
    try:
        head = _HeadWriter(graph, bert, identity, attention_mask)
        h = bert.head_transform(bert.encoder(input_ids, attention_mask))
        match output:
            case "logits":
                values = head.logits(h)
            case "pooled":
                values = head.pooled(h, positions)
            case "terms":
                values = head.terms(h, positions)
        tensors = outputs_of(identity, output, positions)
        for value, tensor in zip(values, tensors, strict=True):
            _output(graph, value, tensor)
        metadata = {FINGERPRINT_KEY: identity.fingerprint}
        return graph.build(f"{identity.family}_{output}", metadata)
    except ValueError as error:
        raise ModelSourceError(f"the checkpoint's tensors do not fit together: {error}") from error


def _output(graph: GraphBuilder, value: str, tensor: TensorSpec) -> None:
    shape = ["batch", *tensor.dims]
    graph.output(graph.cast(value, tensor.dtype), tensor.name, tensor.dtype, shape)


class _HeadWriter:
    """From the states behind the head's transform to the values of each kind of output."""

    def __init__(
        self, graph: GraphBuilder, bert: BertWriter, identity: ModelIdentity, attention_mask: str
    ) -> None:
        self._graph = graph
        self._decoder = bert.decoder()
        self._bias = bert.decoder_bias(identity.dropped_terms)
        self._identity = identity
        self._mask = attention_mask

    def logits(self, h: str) -> list[str]:
        """logits = h · Wᵀ + b, for every token."""
        g = self._graph
        products = self._decoder.logits(h, 0, self._identity.vocabulary_size)
        return [g.node("Add", g.cast(products, "float32"), g.constant(self._bias, "bias"))]

    def pooled(self, h: str, positions: bool) -> list[str]:
        """Every term's weight, and 0 where it is at or below the threshold."""
        g = self._graph
        h = over_padding(g, h, self._mask)
        pooled = self._pool(h)
        kept = g.node("Greater", pooled.scores, pooled.floor)
        weights = g.node("Where", kept, pooled.weigh(pooled.scores), g.scalar(0.0))
        if not positions:
            return [weights]
        where = all_positions(self._decoder, h, self._identity.vocabulary_size)
        return [weights, g.node("Where", kept, where, g.integers(0))]

    def terms(self, h: str, positions: bool) -> list[str]:
        """The greatest terms of each row. Nothing is cut: k is the fullest row's count.

        The choice of terms comes before the logarithm, which is then taken of the chosen few.
        """
        g = self._graph
        h = over_padding(g, h, self._mask)
        # One more than the cap, so that a capped row can be told from one that just fits.
        most = self._identity.max_terms + 1
        if self._decoder.rounded:
            pooled, among, logits = self._rescored(h)
            top, at = self._greatest(pooled.scores, pooled.floor, most)
            terms = g.node("GatherElements", among, at, axis=1)
        else:
            pooled = self._pool(h)
            top, terms = self._greatest(pooled.scores, pooled.floor, most)
        kept = g.node("Greater", top, pooled.floor)
        values = g.node("Where", kept, pooled.weigh(top), g.scalar(0.0))
        # Onnxruntime runs nodes that lead to no output as well.
        if not positions:
            return [terms, values]
        if self._decoder.rounded:
            where = g.node("GatherElements", positions_of(g, logits), at, axis=1)
        else:
            where = positions_of(g, token_logits(g, self._decoder, h, terms))
        return [terms, values, g.node("Where", kept, where, g.integers(0))]

    def _rescored(self, h: str) -> tuple[Pooled, str, str]:
        """Rounded products only choose terms, a few hundred, which are scored anew without them.

        Returns:
            The scores of the chosen, [batch, k]; the chosen, int64 [batch, k]; and their logits.
        """
        g, identity = self._graph, self._identity
        rough, floor = candidates(g, self._decoder, self._bias, h, identity)
        _, terms = self._greatest(rough, floor, _CANDIDATES * identity.max_terms)
        logits = token_logits(g, self._decoder, h, terms)
        scores = exact_scores(g, self._bias, logits, terms, self._mask, identity)
        return scored(g, scores, identity), terms, logits

    def _greatest(self, scores: str, floor: str, most: int) -> list[str]:
        """Scores and places of the greatest in each row, as many as the fullest row has."""
        g = self._graph
        above = g.cast(g.node("Greater", scores, floor), "int32")
        counts = g.node("ReduceSum", above, g.integers(1), keepdims=0)
        fullest = g.cast(g.node("ReduceMax", counts, keepdims=1), "int64")
        k = g.node("Min", g.node("Max", fullest, g.integers(1)), g.integers(most))
        return g.nodes("TopK", scores, k, outputs=2, axis=1, largest=1, sorted=1)

    def _pool(self, h: str) -> Pooled:
        return pool(self._graph, self._decoder, self._bias, h, self._mask, self._identity)
