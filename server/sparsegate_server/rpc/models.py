"""ModelService."""

from __future__ import annotations

from sparsegate.v1 import model_pb2, model_pb2_grpc
from sparsegate_server.encoders.base import Encoder
from sparsegate_server.rpc.identity import identity_to
from sparsegate_server.rpc.interceptor import Context
from sparsegate_server.search.loading import ModelPlan, Outcome
from sparsegate_server.search.models import ServedModels

MOST_COLLECTIONS = 100
"""Of which a reply has the names."""

_OUTCOMES = {
    Outcome.LOADED: model_pb2.LOAD_OUTCOME_LOADED,
    Outcome.REPLACED: model_pb2.LOAD_OUTCOME_REPLACED,
    Outcome.UNCHANGED: model_pb2.LOAD_OUTCOME_UNCHANGED,
}


class ModelServicer(model_pb2_grpc.ModelServiceServicer):
    def __init__(self, models: ServedModels, plan: ModelPlan) -> None:
        self._models = models
        self._plan = plan

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

    async def Load(
        self, request: model_pb2.LoadModelRequest, context: Context
    ) -> model_pb2.LoadModelResponse:
        loaded = await self._plan.load(request.name)
        return model_pb2.LoadModelResponse(
            model=await self._model(loaded.encoder),
            outcome=_OUTCOMES[loaded.outcome],
            collections=loaded.refused[:MOST_COLLECTIONS],
            collection_count=len(loaded.refused),
        )

    async def Unload(
        self, request: model_pb2.UnloadModelRequest, context: Context
    ) -> model_pb2.UnloadModelResponse:
        collections = await self._plan.unload(request.name)
        return model_pb2.UnloadModelResponse(
            collections=collections[:MOST_COLLECTIONS], collection_count=len(collections)
        )

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
            identity=identity_to(spec.identity),
            positions=spec.positions,
            triton_backend=spec.backend,
            device=spec.device,
            query_source=spec.query_source,
        )
