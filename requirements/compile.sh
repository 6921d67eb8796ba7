#!/usr/bin/env bash
# Writes the locks that `make` and `sparsegate-server triton` install from. Needs uv on the PATH.
set -eu
cd "$(dirname "$0")/.."
compile() { uv pip compile --universal --generate-hashes --no-emit-index-url --no-header --quiet "$@"; }
compile pyproject.toml --extra dev --python-version 3.11 --output-file requirements/dev.lock
