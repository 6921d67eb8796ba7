"""gRPC: the only room that knows protobuf."""
