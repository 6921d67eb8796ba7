"""Where a graph runs: `triton` over gRPC, `onnx` in this process, `dummy` for tests."""
