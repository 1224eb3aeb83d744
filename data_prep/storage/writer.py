# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""Writes files of the contract: streamed, atomic, the same bytes for the same rows and recipe."""

import os
from collections.abc import Iterable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from data_prep.errors import DataError
from data_prep.storage.files import atomic_output
from data_prep.storage.provenance import encode

ROW_GROUP = 8192


def write_dataset(
    path: str | os.PathLike, batches: Iterable[pa.RecordBatch], recipe: dict, rows: dict, schema: pa.Schema
) -> int:
    """Streams ``batches`` of ``schema`` into ``path`` and returns the number of rows.

    ``rows`` is read after the last batch, so the producer may fill in its counts while it runs; ``written`` is added.
    Row groups have a fixed size whatever the size of the batches.

    Raises DataError when there is no row at all or the file cannot be written; ``path`` is then as it was before.
    """
    path = Path(path)
    written = 0
    with atomic_output(path) as stream:
        writer = pq.ParquetWriter(stream, schema, compression="zstd")
        try:
            for table in _regroup(batches, schema):
                writer.write_table(table, row_group_size=ROW_GROUP)
                written += len(table)
            if not written:
                raise DataError("no row is left to write", file=path, remedy="check the source and the filters")
            rows["written"] = written
            writer.add_key_value_metadata(encode(recipe, rows))
        finally:
            writer.close()
    return written


def _regroup(batches: Iterable[pa.RecordBatch], schema: pa.Schema) -> Iterable[pa.Table]:
    """Tables of exactly ROW_GROUP rows, the last one shorter."""
    waiting: list[pa.RecordBatch] = []
    count = 0
    for batch in batches:
        waiting.append(batch)
        count += len(batch)
        if count >= ROW_GROUP:
            table = pa.Table.from_batches(waiting, schema).combine_chunks()
            whole = count - count % ROW_GROUP
            for start in range(0, whole, ROW_GROUP):
                yield table.slice(start, ROW_GROUP)
            waiting, count = table.slice(whole).to_batches(), count - whole
    if count:
        yield pa.Table.from_batches(waiting, schema).combine_chunks()
