"""Entry point of `sparsegate`."""

from __future__ import annotations

import sys

EXTRA = {"typer", "rich"}


def main() -> None:
    """Runs the command line and exits: 0 done, 1 failed, 2 wrongly called."""
    try:
        from sparsegate.cli.app import run  # noqa: PLC0415 (needs the extra)
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in EXTRA:
            raise
        sys.exit("sparsegate: the command line needs its extra: pip install 'sparsegate[cli]'")
    run()
