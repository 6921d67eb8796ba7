"""Generates the synchronous client from the asyncio one.

`--check` changes nothing and fails when what is committed is not what would be generated.
"""

from __future__ import annotations

import argparse
import filecmp
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from unasync import Rule, unasync_files

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "client" / "sparsegate"
RUFF = Path(sys.executable).parent / "ruff"
NAMES = {"_async": "_sync", "_runtime_async": "_runtime_sync", "aiter": "iter", "anext": "next"}
HEADER = '"""The synchronous client, generated from `_async` by `tools/sync_client.py`."""\n'


def generate(out: Path) -> None:
    """Writes the synchronous package into `out`."""
    sources = sorted((PACKAGE / "_async").glob("*.py"))
    rule = Rule(str(PACKAGE / "_async"), str(out), NAMES)
    unasync_files([str(source) for source in sources], [rule])
    (out / "__init__.py").write_text(HEADER)
    # Shorter words fit on fewer lines and sort in another order; loops that yield become simpler.
    settings = ["--quiet", f"--config={ROOT / 'pyproject.toml'}", str(out)]
    own = "--config=lint.isort.known-first-party=['sparsegate']"
    fix = ["check", "--select=I,UP028", "--fix", "--unsafe-fixes", own]
    subprocess.run([RUFF, *fix, *settings], cwd=ROOT, check=True)
    subprocess.run([RUFF, "format", *settings], cwd=ROOT, check=True)


def stale_files(fresh: Path, committed: Path) -> list[str]:
    names = {path.name for folder in (fresh, committed) for path in folder.glob("*.py")}
    _, differing, lacking = filecmp.cmpfiles(fresh, committed, sorted(names), shallow=False)
    return differing + lacking


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="only compare")
    options = parser.parse_args()
    target = PACKAGE / "_sync"
    with tempfile.TemporaryDirectory() as scratch:
        fresh = Path(scratch) / "_sync"
        generate(fresh)
        if options.check:
            if stale := stale_files(fresh, target):
                sys.exit(f"not what _async says, run tools/sync_client.py: {', '.join(stale)}")
            return
        shutil.rmtree(target, ignore_errors=True)
        shutil.copytree(fresh, target)


if __name__ == "__main__":
    main()
