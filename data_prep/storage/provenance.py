# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""How a file was made: a JSON record in the parquet key-value metadata.

It holds no time, host or folder, so the same input, options and seed give the same bytes. ``recipe`` is known before
the work starts (it decides whether an existing file is up to date), ``rows`` are the counts found on the way.
"""

import json
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from data_prep.errors import DataError
from data_prep.storage.files import sha256_of
from data_prep.storage.parquet import open_parquet

METADATA_KEY = "verl_htpo"


def tool() -> dict:
    """Name and version of this tool; the version is ``unknown`` in a copy of the source that is not installed."""
    try:
        number = version("verl-htpo")
    except PackageNotFoundError:
        number = "unknown"
    return {"name": "verl-htpo data_prep", "version": number}


def read_provenance(path: Path) -> dict | None:
    """The record in a file, or None when the file was not made by data_prep."""
    text = (open_parquet(path).metadata.metadata or {}).get(METADATA_KEY.encode())
    return None if text is None else json.loads(text)


def provenance_or_none(path: Path) -> dict | None:
    """As ``read_provenance``; None also for a file that is no readable parquet."""
    try:
        return read_provenance(path)
    except DataError:
        return None


def describe_input(path: Path) -> dict:
    """An input of a derived file: its hash and, where it has one, its own provenance."""
    return {"file": path.name, "sha256": sha256_of(path), "made_by": read_provenance(path)}


def encode(recipe: dict, rows: dict) -> dict[str, str]:
    """Key-value metadata of a file."""
    return {METADATA_KEY: json.dumps({"recipe": recipe, "rows": rows}, sort_keys=True, ensure_ascii=False)}


_NO_CONFIGURATION = frozenset({"tool", "parser", "sha256", "bytes", "made_by", "commit"})


def refuse_other_configuration(path: Path, recipe: dict, force: bool) -> None:
    """Raises DataError when ``path`` exists and was not made by the same command with the same options.

    The same configuration on changed input, or with changed code, may overwrite its output. With ``force`` all may.
    """
    if force or not path.exists():
        return
    existing = provenance_or_none(path)
    if existing is None:
        raise DataError(
            "the file is there and was not made by data_prep", file=path, remedy="write elsewhere, or use --force"
        )
    found = _differences(existing["recipe"], json.loads(json.dumps(recipe)), "")
    if found:
        raise DataError(
            f"the file was made with another configuration: {'; '.join(found[:4])}",
            file=path,
            remedy="write elsewhere, or replace it with --force",
        )


def _differences(old: Any, new: Any, name: str) -> list[str]:
    """What differs in the configuration. A key that one of the two lacks is of another version and does not count."""
    if isinstance(old, dict) and isinstance(new, dict):
        shared = [key for key in old if key in new and key not in _NO_CONFIGURATION]
        return [text for key in shared for text in _differences(old[key], new[key], f"{name}.{key}".lstrip("."))]
    if isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        return [text for pair in zip(old, new, strict=True) for text in _differences(*pair, name)]
    return [] if old == new else [f"{name} was {old!r:.60}, is {new!r:.60}"]
