# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""Exact copies of a row removed while reading.

Parquet files are grouped by DuckDB, all their columns compared, within ``MEMORY_LIMIT``; beyond it DuckDB uses a
temporary folder. Rows of other formats, and of parquet files that DuckDB cannot read as one table, are compared by
their digests. Pandas' stray index does not count.
"""

import json
import logging
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import duckdb
import pyarrow as pa

from data_prep.errors import DataError
from data_prep.sources.readers import Record, read_records
from data_prep.storage.digests import DigestMap, digest
from data_prep.storage.parquet import BATCH_ROWS, first_line, open_parquet

logger = logging.getLogger(__name__)

MEMORY_LIMIT = "1GB"
_PANDAS_INDEX = "__index_level_"
_ROW = "row of data_prep"
_OPTIONS = "file_row_number = true, hive_partitioning = false"


def unique_records(paths: Sequence[Path], counts: dict[str, int]) -> Iterator[Record]:
    """The rows of files that repeat no earlier row, in order; row numbers run on from file to file.

    Adds to ``counts["read"]`` and ``counts["duplicate_rows"]``. Raises DataError on a damaged file.
    """
    batches = grouped(paths, counts)
    if batches is None:
        yield from unique_of(_all_records(paths), counts)
        return
    for batch in batches:
        rows = batch.column(_ROW).to_pylist()
        yield from zip(rows, batch.drop_columns([_ROW]).to_pylist(), strict=True)


def unique_of(records: Iterator[Record], counts: dict[str, int]) -> Iterator[Record]:
    """As ``unique_records``, for rows that are in Python already."""
    with DigestMap() as seen:
        for row, record in records:
            counts["read"] += 1
            key = digest(json.dumps(record, sort_keys=True, default=str))
            if seen.get(key) is None:
                seen.set(key, row)
                yield row, record
            else:
                counts["duplicate_rows"] += 1


def grouped(paths: Sequence[Path], counts: dict[str, int]) -> Iterator[pa.RecordBatch] | None:
    """Batches of distinct rows in order of their first row, whose number is in the last column.

    None where the files are no parquet files of one schema, or DuckDB cannot read them under their names.
    """
    if any(path.suffix.lower() != ".parquet" or _is_pattern(path) for path in paths):
        return None
    files = [open_parquet(path) for path in paths]
    names = _columns(files[0].schema_arrow.names)
    one_schema = all(file.schema_arrow.equals(files[0].schema_arrow) for file in files)
    if not one_schema or len({name.lower() for name in names}) < len(names):  # DuckDB's names have no case
        return None
    sizes = [file.metadata.num_rows for file in files]
    batches = _query(paths, sizes, names)
    try:
        first = next(batches, None)
    except (duckdb.Error, OSError, pa.ArrowException) as error:
        logger.warning("rows are compared one by one, since DuckDB says: %s", first_line(error))
        return None
    return _counted(first, batches, sum(sizes), counts, paths)


def _is_pattern(path: Path) -> bool:
    """Whether DuckDB takes the name for a pattern: of ``set[1].parquet`` it would read ``set1.parquet``."""
    return any(character in str(path) for character in "*?[")


def _query(paths: Sequence[Path], sizes: Sequence[int], names: Sequence[str]) -> Iterator[pa.RecordBatch]:
    columns = ", ".join(_quoted(name) for name in names)
    parts, first_row = [], 0
    for number, size in enumerate(sizes, start=1):
        rows = f"file_row_number + {first_row} AS {_quoted(_ROW)}"
        parts.append(f"SELECT {columns}, {rows} FROM read_parquet(${number}, {_OPTIONS})")
        first_row += size
    query = (
        f"SELECT {columns}, min({_quoted(_ROW)}) AS {_quoted(_ROW)} FROM ({' UNION ALL '.join(parts)}) "
        f"GROUP BY {columns} ORDER BY {_quoted(_ROW)}"
    )
    with tempfile.TemporaryDirectory(prefix="data_prep-") as folder:
        with duckdb.connect(config={"memory_limit": MEMORY_LIMIT, "temp_directory": folder}) as connection:
            connection.execute("SET enable_progress_bar = false")  # it would go to stdout
            found = connection.sql(query, params=[str(path) for path in paths])
            yield from found.to_arrow_reader(BATCH_ROWS)


def _counted(
    first: pa.RecordBatch | None,
    others: Iterator[pa.RecordBatch],
    read: int,
    counts: dict[str, int],
    paths: Sequence[Path],
) -> Iterator[pa.RecordBatch]:
    """All batches; the counts are complete after the last one. Raises DataError when there are more rows than read."""
    counts["read"] += read
    counts["duplicate_rows"] += read
    left = read
    batch = first
    while batch is not None:
        left -= len(batch)
        if left < 0:
            raise DataError(
                f"DuckDB found more distinct rows than the {read:,} rows there are: it has read other files",
                file=", ".join(str(path) for path in paths),
                remedy="rename the files to letters, digits, _ and -",
            )
        counts["duplicate_rows"] -= len(batch)
        yield batch
        try:
            batch = next(others, None)
        except (duckdb.Error, OSError, pa.ArrowException) as error:
            name = ", ".join(str(path) for path in paths)
            raise DataError(
                f"DuckDB cannot go on: {first_line(error)}", file=name, remedy="free memory and disk (TMPDIR)"
            ) from error


def _all_records(paths: Sequence[Path]) -> Iterator[Record]:
    first_row = 0
    for path in paths:
        row = -1
        for row, record in read_records(path):
            yield first_row + row, {name: record[name] for name in _columns(list(record))}
        first_row += row + 1


def _columns(names: Sequence[str]) -> list[str]:
    return [name for name in names if not name.startswith(_PANDAS_INDEX)]


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
