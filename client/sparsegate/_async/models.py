"""The models that are served."""

from __future__ import annotations

from typing import Unpack

from sparsegate import _replies
from sparsegate._async.connection import Connection
from sparsegate.types import CallOptions, Model
from sparsegate.v1 import model_pb2 as pb


class ModelCalls(Connection):
    async def list_models(self, **options: Unpack[CallOptions]) -> list[Model]:
        """Describes all served models, by name.

        Raises:
            SparsegateError: the call failed.
        """
        reply = await self._call(self._models.List, pb.ListModelsRequest(), options)
        return [_replies.model(model) for model in reply.models]

    async def get_model(self, name: str, **options: Unpack[CallOptions]) -> Model:
        """Describes a served model.

        Raises:
            NotFound: no such model.
            SparsegateError: any other failure.
        """
        reply = await self._call(self._models.Get, pb.GetModelRequest(name=name), options)
        return _replies.model(reply.model)
