"""The command line `sparsegate`, of the extra `[cli]`."""
