"""The Sparsegate gateway: tokenizes, encodes, indexes, searches and explains, over gRPC."""
