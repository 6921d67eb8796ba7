"""Real English that every machine has: the documentation in Python's own standard library.

A docstring's first paragraph is a query, and the rest of it is the one document that is relevant.
"""

from __future__ import annotations

import ast
import inspect
import sys
import sysconfig
import warnings
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

from sparsegate_server.errors import ModelSourceError
from sparsegate_server.parity.texts import TextSet, spread

DOCUMENTS = 600
QUERIES = 300
"""One whose document falls from the first place to the second moves their mean nDCG by 0.0012."""

_FEWEST = 100
"""Documents without which a library has been stripped."""

_SUMMARY_WORDS = 3
_REST_WORDS = 12

_MODULES = (
    *("_pydatetime", "_pydecimal", "_pyio", "argparse", "ast", "asyncio", "base64", "bdb"),
    *("calendar", "cgitb", "cmd", "codecs", "collections", "compileall", "concurrent"),
    *("configparser", "contextlib", "copy", "csv", "ctypes", "dataclasses", "datetime", "decimal"),
    *("difflib", "dis", "doctest", "email", "enum", "filecmp", "fileinput", "fractions", "ftplib"),
    *("functools", "getpass", "gettext", "gzip", "heapq", "hmac", "html", "http", "imaplib"),
    *("importlib", "inspect", "ipaddress", "json", "linecache", "locale", "logging", "lzma"),
    *("mailbox", "mimetypes", "modulefinder", "multiprocessing", "netrc", "ntpath", "optparse"),
    *("os", "pathlib", "pdb", "pickle", "pickletools", "pkgutil", "platform", "plistlib"),
    *("poplib", "posixpath", "pprint", "profile", "pstats", "pyclbr", "queue", "random"),
    *("reprlib", "runpy", "sched", "selectors", "shelve", "shlex", "shutil", "smtplib", "socket"),
    *("socketserver", "ssl", "statistics", "string", "subprocess", "symtable", "tarfile"),
    *("tempfile", "textwrap", "threading", "timeit", "tokenize", "trace", "traceback", "types"),
    *(
        "typing",
        "unittest",
        "urllib",
        "uuid",
        "warnings",
        "wave",
        "weakref",
        "webbrowser",
        "wsgiref",
    ),
    *("xml", "xmlrpc", "zipfile", "zoneinfo"),
)
"""Modules and packages that have been there for long; one that is missing is passed over."""


@lru_cache(maxsize=1)
def docstrings() -> TextSet:
    """About `DOCUMENTS` documents and `QUERIES` queries, the same in every process of one Python.

    Raises:
        ModelSourceError: this installation has no sources, or they have no docstrings.
    """
    pairs = list(_pairs())
    if len(pairs) < _FEWEST:
        raise ModelSourceError(
            "this Python has been installed without the documentation of its standard library: "
            "name a BEIR folder with --data"
        )
    chosen = [pairs[at] for at in spread(len(pairs), DOCUMENTS)]
    asked = spread(len(chosen), QUERIES)
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    return TextSet(
        f"docstrings of Python {version}'s standard library",
        tuple(rest for _, rest in chosen),
        tuple(chosen[at][0] for at in asked),
        tuple({at: 1.0} for at in asked),
    )


def _pairs() -> Iterator[tuple[str, str]]:
    """First paragraph and rest of every docstring of some length, each of them only once."""
    seen: set[str] = set()
    for file in _sources():
        for text in _docstrings_of(file):
            summary, _, rest = text.partition("\n\n")
            summary, rest = (" ".join(part.split()) for part in (summary, rest))
            long = len(summary.split()) >= _SUMMARY_WORDS and len(rest.split()) >= _REST_WORDS
            if long and not {summary, rest} & seen:
                seen |= {summary, rest}
                yield summary, rest


def _sources() -> Iterator[Path]:
    library = Path(sysconfig.get_path("stdlib"))
    for name in _MODULES:
        module = library / f"{name}.py"
        yield from [module] if module.is_file() else sorted((library / name).rglob("*.py"))


def _docstrings_of(file: Path) -> Iterator[str]:
    """In the order of the file, from its source, which `python -OO` leaves alone."""
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    with warnings.catch_warnings():
        # What a newer Python has to say of its own library's spelling.
        warnings.simplefilter("ignore")
        tree = ast.parse(file.read_bytes())
    for node in ast.walk(tree):
        if isinstance(node, documented) and (text := ast.get_docstring(node, clean=False)):
            yield inspect.cleandoc(text)
