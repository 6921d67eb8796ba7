"""ModelService."""

from __future__ import annotations

from sparsegate.v1 import model_pb2, model_pb2_grpc
from sparsegate_server.encoders.base import Encoder
from sparsegate_server.rpc.interceptor import Context
from sparsegate_server.search.models import ServedModels


class ModelServicer(model_pb2_grpc.ModelServiceServicer):
    def __init__(self, models: ServedModels) -> None:
        self._models = models

    async def List(
        self, request: model_pb2.ListModelsRequest, context: Context
    ) -> model_pb2.ListModelsResponse:
        return model_pb2.ListModelsResponse(
            models=[await self._model(encoder) for encoder in self._models.all()]
        )

    async def Get(
        self, request: model_pb2.GetModelRequest, context: Context
    ) -> model_pb2.GetModelResponse:
        encoder = self._models.get(request.name, field="name")
        return model_pb2.GetModelResponse(model=await self._model(encoder))

    async def _model(self, encoder: Encoder) -> model_pb2.Model:
        spec = encoder.spec
        backend = self._models.backend
        return model_pb2.Model(
            name=spec.name,
            family=spec.identity.family,
            description=spec.description,
            source=spec.source,
            parameters=spec.parameters,
            vocabulary_size=spec.identity.vocabulary_size,
            max_length=spec.identity.max_length,
            max_terms=spec.identity.max_terms,
            fingerprint=spec.fingerprint,
            precision=spec.precision,
            output=spec.output,
            backend=backend.name,
            ready=await backend.ready(spec),
        )
