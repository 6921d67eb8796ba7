"""What a model is and how it runs, as messages."""

from __future__ import annotations

from dataclasses import fields

from sparsegate.v1 import model_pb2
from sparsegate_server.models.spec import ModelIdentity
from sparsegate_server.search.models import Execution


def identity_to(identity: ModelIdentity) -> model_pb2.ModelIdentity:
    """The message has every field under its own name, and what encodes a query besides."""
    own = {field.name: getattr(identity, field.name) for field in fields(identity)}
    return model_pb2.ModelIdentity(**own, queries=identity.queries)


def execution_to(execution: Execution) -> model_pb2.ModelExecution:
    return model_pb2.ModelExecution(precision=execution.precision, backend=execution.backend)
