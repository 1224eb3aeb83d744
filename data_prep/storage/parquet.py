# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""Parquet files, streamed; damage is one error with file and row."""

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from data_prep.errors import DataError

BATCH_ROWS = 8192
CUT_SHORT = "the file is cut short or damaged: fetch it again"
_CHUNK = 1 << 20


def open_parquet(path: Path) -> pq.ParquetFile:
    """A parquet file for streaming.

    Raises DataError when it is missing, truncated or no parquet at all.
    """
    try:
        return pq.ParquetFile(path, pre_buffer=False, buffer_size=_CHUNK)
    except FileNotFoundError as error:
        raise DataError("no such file", file=path, remedy="check the path") from error
    except (pa.ArrowInvalid, OSError) as error:
        raise DataError(f"not a readable parquet file: {first_line(error)}", file=path, remedy=CUT_SHORT) from error


def parquet_batches(path: Path, columns: list[str] | None = None) -> Iterator[pa.RecordBatch]:
    """Record batches of a parquet file.

    Raises DataError with the row where a damaged file breaks off, or where a text is not UTF-8.
    """
    batches = open_parquet(path).iter_batches(BATCH_ROWS, columns=columns)
    row = 0
    while True:
        try:
            batch = next(batches, None)
        except (pa.ArrowException, OSError) as error:
            raise DataError(
                f"damaged parquet data: {first_line(error)}", file=path, place=f"after row {row}", remedy=CUT_SHORT
            ) from error
        if batch is None:
            return
        _require_utf8(batch, path, row)
        row += len(batch)
        yield batch


def _require_utf8(batch: pa.RecordBatch, path: Path, first_row: int) -> None:
    """pyarrow reads any bytes as text, and raises only where Python takes them over."""
    try:
        batch.validate(full=True)
    except pa.ArrowInvalid as error:
        field, row = next(_undecodable(batch), ("", 0))
        if not field:
            raise DataError(f"damaged parquet data: {first_line(error)}", file=path, remedy=CUT_SHORT) from error
        raise DataError(
            f"{field} holds text that is not UTF-8",
            file=path,
            place=f"row {first_row + row}",
            remedy="decode the text by its own encoding (such as latin1) and write the file again",
        ) from error


def _undecodable(batch: pa.RecordBatch) -> Iterator[tuple[str, int]]:
    """``(field, row)`` of values that Python does not take over."""
    for name, column in zip(batch.schema.names, batch.columns, strict=True):
        for row, value in enumerate(column):
            is_struct = pa.types.is_struct(column.type) and value.is_valid
            parts = {f"{name}.{key}": part for key, part in value.items()} if is_struct else {name: value}
            for field, part in parts.items():
                try:
                    part.as_py()
                except UnicodeDecodeError:
                    yield field, row


def first_line(error: Exception) -> str:
    """First line of an error's text, cut to 200 characters."""
    return str(error).split("\n")[0][:200]
