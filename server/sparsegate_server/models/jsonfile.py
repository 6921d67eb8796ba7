"""Reads the small JSON files beside a checkpoint's weights."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from sparsegate_server.errors import ModelSourceError


def read_object(file: Path) -> dict[str, Any]:
    """A file's JSON object.

    Raises:
        ModelSourceError: the file cannot be read, or is something else.
    """
    content = read_json(file)
    if not isinstance(content, dict):
        raise ModelSourceError(f"{file} is not a JSON object")
    return content


def read_optional(file: Path) -> dict[str, Any]:
    """As `read_object`, and empty where there is no such file."""
    return read_object(file) if file.is_file() else {}


def read_json(file: Path) -> Any:
    """A file's JSON; raises ModelSourceError where it is none."""
    try:
        return json.loads(file.read_bytes())
    except OSError as error:
        raise ModelSourceError(f"{file} cannot be read: {error}") from error
    # Deep nesting ends in RecursionError; bytes that are no text, in UnicodeDecodeError.
    except (ValueError, RecursionError) as error:
        raise ModelSourceError(f"{file} is not JSON: {error}") from error
