"""Generates the synchronous client from the asyncio one.

`--check` changes nothing and fails when what is committed is not what would be generated.
"""

from __future__ import annotations

import argparse
import filecmp
import io
import shutil
import subprocess
import sys
import tempfile
import tokenize
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "client" / "sparsegate"
RUFF = Path(sys.executable).parent / "ruff"
HEADER = '"""The synchronous client, generated from `_async` by `tools/unasync.py`."""\n'
DROPPED = {"async", "await"}
RENAMED = {
    "AsyncIterator": "Iterator",
    "StopAsyncIteration": "StopIteration",
    "__aenter__": "__enter__",
    "__aexit__": "__exit__",
    "__aiter__": "__iter__",
    "__anext__": "__next__",
    "_async": "_sync",
    "_runtime_async": "_runtime_sync",
}


def to_sync(source: str) -> str:
    """The same code without asyncio. Only names change, so that texts and comments stay."""
    lines = source.splitlines(keepends=True)
    names = [
        token
        for token in tokenize.generate_tokens(io.StringIO(source).readline)
        if token.type == tokenize.NAME
    ]
    for token in reversed(names):  # from the end, so that positions before it stay true
        (row, start), (_, end) = token.start, token.end
        line = lines[row - 1]
        if token.string in DROPPED:
            lines[row - 1] = line[:start] + line[end:].removeprefix(" ")
        elif token.string in RENAMED:
            lines[row - 1] = line[:start] + RENAMED[token.string] + line[end:]
    return "".join(lines)


def generate(out: Path) -> None:
    """Writes the synchronous package into `out`."""
    out.mkdir()
    for source in sorted((PACKAGE / "_async").glob("*.py")):
        (out / source.name).write_text(to_sync(source.read_text()))
    (out / "__init__.py").write_text(HEADER)
    tidy(out)


def tidy(folder: Path) -> None:
    """Shorter words fit on fewer lines and sort in another order; loops that yield get simpler."""
    settings = ["--quiet", f"--config={ROOT / 'pyproject.toml'}", str(folder)]
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
                sys.exit(f"not what _async says, run tools/unasync.py: {', '.join(stale)}")
            return
        shutil.rmtree(target, ignore_errors=True)
        shutil.copytree(fresh, target)


if __name__ == "__main__":
    main()
