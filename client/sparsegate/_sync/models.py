"""The models that are served, and which are to be."""

from __future__ import annotations

from typing import Unpack

from sparsegate import _descriptions
from sparsegate._sync.connection import Connection
from sparsegate.results import LoadResult, UnloadResult
from sparsegate.types import CallOptions, Model
from sparsegate.v1 import model_pb2 as pb


class ModelCalls(Connection):
    def list_models(self, **options: Unpack[CallOptions]) -> list[Model]:
        """Describes all served models, by name.

        Raises:
            SparsegateError: the call failed.
        """
        reply = self._call(self._models.List, pb.ListModelsRequest(), options)
        return [_descriptions.model(model) for model in reply.models]

    def get_model(self, name: str, **options: Unpack[CallOptions]) -> Model:
        """Describes a served model.

        Raises:
            NotFound: no such model.
            SparsegateError: any other failure.
        """
        reply = self._call(self._models.Get, pb.GetModelRequest(name=name), options)
        return _descriptions.model(reply.model)

    def load_model(self, name: str, **options: Unpack[CallOptions]) -> LoadResult:
        """Has the gateway serve a model of its repository, as its folder has it now.

        A model of that name that was served before is replaced: requests that have begun finish
        with it. A large model takes longer than the usual timeout; loading goes on all the same,
        and the same call again waits for the rest.

        Raises:
            NotFound: no such model in the gateway's repository.
            FailedPrecondition: it is not exported completely, is not verified, or was not loaded.
                Everything is as it was.
            InvalidArgument: an illegal name.
            SparsegateError: any other failure.
        """
        reply = self._call(self._models.Load, pb.LoadModelRequest(name=name), options)
        return _descriptions.loaded(reply)

    def unload_model(self, name: str, **options: Unpack[CallOptions]) -> UnloadResult:
        """Has the gateway serve a model no more; its memory is freed when requests that have begun
        have finished.

        Raises:
            NotFound: it is not served.
            InvalidArgument: an illegal name.
            SparsegateError: any other failure.
        """
        reply = self._call(self._models.Unload, pb.UnloadModelRequest(name=name), options)
        return _descriptions.unloaded(reply)
