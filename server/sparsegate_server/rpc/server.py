"""The gRPC server: all services, health and reflection."""

from __future__ import annotations

import grpc
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from google.protobuf.descriptor_pool import DescriptorPool
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection, reflection_pb2

from sparsegate.v1 import (
    collection_pb2,
    collection_pb2_grpc,
    document_pb2,
    document_pb2_grpc,
    encode_pb2,
    encode_pb2_grpc,
    model_pb2,
    model_pb2_grpc,
    search_pb2,
    search_pb2_grpc,
)
from sparsegate_server.errors import FailedPrecondition
from sparsegate_server.rpc.collections import CollectionServicer
from sparsegate_server.rpc.contract import load_pool
from sparsegate_server.rpc.documents import DocumentServicer
from sparsegate_server.rpc.encode import EncodeServicer
from sparsegate_server.rpc.interceptor import Gatekeeper
from sparsegate_server.rpc.models import ModelServicer
from sparsegate_server.rpc.search import SearchServicer
from sparsegate_server.settings import Server

SERVICES = tuple(
    module.DESCRIPTOR.services_by_name[name].full_name
    for module, name in (
        (encode_pb2, "EncodeService"),
        (collection_pb2, "CollectionService"),
        (document_pb2, "DocumentService"),
        (search_pb2, "SearchService"),
        (model_pb2, "ModelService"),
    )
)


ENCODE_SERVICE = SERVICES[0]


class RpcServer:
    """Attributes:
    port: where it listens, once started.
    """

    def __init__(
        self,
        gatekeeper: Gatekeeper,
        *,
        encode: EncodeServicer,
        collections: CollectionServicer,
        documents: DocumentServicer,
        search: SearchServicer,
        models: ModelServicer,
        largest_message: int,
    ) -> None:
        self._server = grpc.aio.server(
            interceptors=[gatekeeper],
            options=[
                ("grpc.max_receive_message_length", largest_message),
                ("grpc.max_send_message_length", largest_message),
                ("grpc.so_reuseport", 0),  # a taken port is an error, not a second gateway
            ],
        )
        self.port = 0
        self._health = health.aio.HealthServicer()
        encode_pb2_grpc.add_EncodeServiceServicer_to_server(encode, self._server)
        collection_pb2_grpc.add_CollectionServiceServicer_to_server(collections, self._server)
        document_pb2_grpc.add_DocumentServiceServicer_to_server(documents, self._server)
        search_pb2_grpc.add_SearchServiceServicer_to_server(search, self._server)
        model_pb2_grpc.add_ModelServiceServicer_to_server(models, self._server)
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        reflection.enable_server_reflection(
            (*SERVICES, health.SERVICE_NAME, reflection.SERVICE_NAME),
            self._server,
            _reflected_pool(),
        )

    async def start(self, settings: Server) -> None:
        """Listens; health says that nothing can encode yet.

        Raises:
            FailedPrecondition: the address cannot be had.
        """
        host = f"[{settings.host}]" if ":" in settings.host else settings.host
        address = f"{host}:{settings.port}"
        try:
            self.port = self._server.add_insecure_port(address)
        except RuntimeError as error:
            raise FailedPrecondition(
                f"cannot listen on {address}: choose another --port if one is listening there "
                "already, or check --host",
                field="server.port",
            ) from error
        await self._server.start()
        await self.set_encoding(False)

    async def set_encoding(self, ready: bool) -> None:
        """Sets health by whether any model can encode.

        The whole gateway (the empty name, for load balancers and readiness probes) and
        EncodeService serve only then. The other services serve as long as the gateway listens:
        searches and writes by vector, reads and administration need no model, so that a liveness
        probe, or a client that brings its own vectors, asks for one of them by its name.
        """
        kind = health_pb2.HealthCheckResponse
        for service in ("", *SERVICES):
            needs_model = service in {"", ENCODE_SERVICE}
            serving = ready or not needs_model
            await self._health.set(service, kind.SERVING if serving else kind.NOT_SERVING)

    async def stop(self, grace: float) -> None:
        """Refuses new requests at once and gives accepted ones `grace` seconds to finish."""
        await self._health.enter_graceful_shutdown()
        await self._server.stop(grace)


def _reflected_pool() -> DescriptorPool:
    """The contract with its rules, so that tools see them too, and the standard services."""
    pool = load_pool()
    for module in (health_pb2, reflection_pb2):
        file = FileDescriptorProto()
        module.DESCRIPTOR.CopyToProto(file)
        pool.Add(file)
    return pool
