"""`python -m sparsegate_server` is `sparsegate-server`."""

from sparsegate_server.cli.main import main

if __name__ == "__main__":
    main()
