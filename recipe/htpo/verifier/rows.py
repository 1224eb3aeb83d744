# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""Rows of a file of responses, for the commands that grade or compare them."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

_LABELS = {"true": True, "1": True, "false": False, "0": False}


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
    with open(path, "rb") as lines:
        for number, line in enumerate(lines, 1):
            if line.strip():
                rows.append(_read_line(line, f"{path}, line {number}"))
    return rows


def _read_line(line: bytes, place: str) -> dict[str, Any]:
    try:
        row = json.loads(line.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise InputError(
            f"{place}: no UTF-8 (byte {error.start + 1}); convert the file, for example with iconv"
        ) from error
    except json.JSONDecodeError as error:
        raise InputError(f"{place}: no JSON ({error.msg}, column {error.colno})") from error
    except (ValueError, RecursionError) as error:  # an integer of thousands of digits, brackets thousands deep
        raise InputError(f"{place}: JSON beyond a limit of Python ({error})") from error
    if not isinstance(row, dict):
        raise InputError(f"{place}: a JSON object is needed, got {type(row).__name__}")
    return row


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


def label(row: dict[str, Any], name: str, number: int, option: str) -> bool:
    """A column that says whether a response is correct: true, false, 1 or 0, as a value or as text in any case."""
    value = column(row, name, number, option)
    known = _LABELS.get(value.strip().casefold()) if isinstance(value, str) else None
    if known is not None:
        return known
    if isinstance(value, int | float) and value in (0, 1):
        return bool(value)
    raise InputError(
        f"row {number}: column {name!r} must be true, false, 1 or 0, got {str(value)[:80]!r}. "
        f"Name another one with {option}"
    )
