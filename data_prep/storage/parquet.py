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

    Raises DataError with the row where a damaged file breaks off.
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
        row += len(batch)
        yield batch


def first_line(error: Exception) -> str:
    """First line of an error's text, cut to 200 characters."""
    return str(error).split("\n")[0][:200]
