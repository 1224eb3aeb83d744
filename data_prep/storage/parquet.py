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


def open_parquet(path: Path, dictionaries: bool = False) -> pq.ParquetFile:
    """A parquet file for streaming; with ``dictionaries`` text columns come dictionary-encoded.

    Raises DataError when it is missing, truncated or no parquet at all.
    """
    try:
        file = pq.ParquetFile(path, pre_buffer=False, buffer_size=_CHUNK)
        if not dictionaries:
            return file
        columns = [file.schema.column(i) for i in range(len(file.schema))]
        texts = [column.path for column in columns if column.logical_type.type == "STRING"]
        return pq.ParquetFile(path, pre_buffer=False, buffer_size=_CHUNK, read_dictionary=texts, metadata=file.metadata)
    except FileNotFoundError as error:
        raise DataError("no such file", file=path, remedy="check the path") from error
    except (pa.ArrowInvalid, OSError) as error:
        raise DataError(f"not a readable parquet file: {first_line(error)}", file=path, remedy=CUT_SHORT) from error


def parquet_batches(
    path: Path, columns: list[str] | None = None, rows: int = BATCH_ROWS, dictionaries: bool = False
) -> Iterator[pa.RecordBatch]:
    """Record batches of a parquet file; with ``dictionaries`` a batch never spans two row groups.

    Raises DataError with the row where a damaged file breaks off.
    """
    file = open_parquet(path, dictionaries)
    groups = [[i] for i in range(file.num_row_groups)] if dictionaries else [list(range(file.num_row_groups))]
    batches = (batch for group in groups for batch in file.iter_batches(rows, group, columns))
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
