"""`sparsegate-server`: prepares models, runs Triton on this machine, serves."""
