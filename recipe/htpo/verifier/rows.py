# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""Rows of a file of responses, for the commands that grade or compare them."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any


class InputError(Exception):
    """The file or an option does not fit; the message says what to change."""


def read_rows(path: Path) -> Sequence[dict[str, Any]]:
    """Read a JSON-lines or parquet file; raises ``InputError`` for a missing file or a bad line."""
    if not path.is_file():
        raise InputError(f"no such file: {path}")
    if path.suffix == ".parquet":
        import pyarrow
        import pyarrow.parquet

        try:
            return pyarrow.parquet.read_table(path).to_pylist()
        except pyarrow.ArrowInvalid as error:
            raise InputError(f"{path} is no parquet file: {error}") from error
    rows = []
    with open(path, encoding="utf-8") as lines:
        for number, line in enumerate(lines, 1):
            if not line.strip():
                continue
            try:
                row = json.loads(line)
            except json.JSONDecodeError as error:
                raise InputError(f"{path}, line {number}: no JSON ({error.msg}, column {error.colno})") from error
            if not isinstance(row, dict):
                raise InputError(f"{path}, line {number}: a JSON object is needed, got {type(row).__name__}")
            rows.append(row)
    return rows


def column(row: dict[str, Any], name: str, number: int, option: str) -> Any:
    """A column of a row; ``a.b`` looks into a struct. Raises ``InputError`` that lists the columns there are."""
    value: Any = row
    for part in name.split("."):
        if not isinstance(value, dict) or part not in value:
            raise InputError(
                f"row {number} has no column {name!r}; it has: {', '.join(row)}. Name another one with {option}"
            )
        value = value[part]
    return value
