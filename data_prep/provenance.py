# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""How a file was made: a JSON record in the parquet key-value metadata.

It holds no time, host or folder, so the same input, options and seed give the same bytes. ``recipe`` is known before
the work starts (it decides whether an existing file is up to date), ``rows`` are the counts found on the way.
"""

import json
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from data_prep.files import sha256_of
from data_prep.readers import open_parquet

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


def describe_input(path: Path) -> dict:
    """An input of a derived file: its hash and, where it has one, its own provenance."""
    return {"file": path.name, "sha256": sha256_of(path), "made_by": read_provenance(path)}


def encode(recipe: dict, rows: dict) -> dict[str, str]:
    """Key-value metadata of a file."""
    return {METADATA_KEY: json.dumps({"recipe": recipe, "rows": rows}, sort_keys=True, ensure_ascii=False)}
