#!/usr/bin/env bash
# Writes the locks that `make` and `sparsegate-server triton` install from. Needs uv on the PATH.
set -eu
cd "$(dirname "$0")/.."
compile() { uv pip compile --universal --generate-hashes --no-emit-index-url --no-header --quiet "$@"; }
compile pyproject.toml --extra dev --python-version 3.11 --output-file requirements/dev.lock

# Triton's own environment: the server's wheel without what it asks for, and what its stub imports.
triton=server/sparsegate_server/inference/tritonserver/requirements.lock
compile requirements/triton.in --python-version 3.11 --output-file "$triton"
compile requirements/triton-server.in --python-version 3.11 --no-deps >> "$triton"
