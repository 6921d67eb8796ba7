"""Generated from protos/sparsegate/v1."""
