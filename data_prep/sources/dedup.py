# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""Repeated rows removed while reading, at about the cost of reading.

A parquet file is read in large batches with its text columns dictionary-encoded, so a batch of which few rows are
distinct costs little memory and is reduced to its distinct rows by integer arithmetic. Only those are hashed and
compared with what earlier batches held. All columns count, except pandas' stray index.
"""

import hashlib
import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from tqdm import tqdm

from data_prep.sources.readers import Record, read_records
from data_prep.storage.digests import DIGEST_BYTES, DigestMap, digest
from data_prep.storage.parquet import BATCH_ROWS, open_parquet, parquet_batches

PARQUET_BATCH = 262_144
BATCH_BYTES = 1 << 26
_PANDAS_INDEX = "__index_level_"


def unique_records(path: Path, counts: dict[str, int], seen: DigestMap) -> Iterator[Record]:
    """The rows of a file that repeat no earlier row, of it or of what ``seen`` has met, with row numbers.

    Adds to ``counts["read"]`` and ``counts["duplicate_rows"]``.
    """
    if path.suffix == ".parquet":
        for first_row, rows, batch in unique_batches(path, counts, seen):
            for start in range(0, len(rows), BATCH_ROWS):
                chosen = rows[start : start + BATCH_ROWS]
                yield from zip((first_row + chosen).tolist(), batch.take(pa.array(chosen)).to_pylist(), strict=True)
    else:
        yield from unique_of(read_records(path), counts, seen)


def unique_of(records: Iterator[Record], counts: dict[str, int], seen: DigestMap) -> Iterator[Record]:
    """As ``unique_records``, for rows that are in Python already."""
    for row, record in records:
        counts["read"] += 1
        key = digest(json.dumps(record, sort_keys=True, default=str))
        if seen.get(key) is None:
            seen.set(key, row)
            yield row, record
        else:
            counts["duplicate_rows"] += 1


def unique_batches(
    path: Path, counts: dict[str, int], seen: DigestMap
) -> Iterator[tuple[int, np.ndarray, pa.RecordBatch]]:
    """``(row number of the batch's first row, positions of its new rows, the batch)``."""
    file = open_parquet(path)
    columns = [name for name in file.schema_arrow.names if not name.startswith(_PANDAS_INDEX)]
    total = file.metadata.num_rows
    first_row = 0
    schema = digest(*columns)
    with tqdm(total=total, desc=path.name, unit=" rows", disable=None, leave=False) as progress:
        for batch in _read_ahead(parquet_batches(path, columns, *_batch_plan(file.metadata))):
            rows = _new_rows(batch, seen, schema)
            counts["read"] += len(batch)
            counts["duplicate_rows"] += len(batch) - len(rows)
            if len(rows):
                yield first_row, rows, batch
            first_row += len(batch)
            progress.update(len(batch))


def _batch_plan(metadata: pq.FileMetaData) -> tuple[int, bool]:
    """Rows of a batch, and whether to read dictionaries, which pyarrow does only within a row group."""
    groups = [metadata.row_group(i) for i in range(metadata.num_row_groups)]
    bytes_per_row = sum(group.total_byte_size for group in groups) / max(metadata.num_rows, 1)
    rows = max(1, min(PARQUET_BATCH, int(BATCH_BYTES / max(bytes_per_row, 1))))
    return rows, metadata.num_rows >= len(groups) * rows / 2


def _read_ahead(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """The same batches, the next one being decoded by another thread while the caller works on this one."""
    with ThreadPoolExecutor(1) as reader:
        waiting = reader.submit(next, batches, None)
        while (batch := waiting.result()) is not None:
            waiting = reader.submit(next, batches, None)
            yield batch


def _new_rows(batch: pa.RecordBatch, seen: DigestMap, schema: bytes) -> np.ndarray:
    """Positions of the rows that are in no earlier batch, each once; remembers them in ``seen``."""
    new = []
    for positions in _by_list_lengths(batch):
        part = batch if len(positions) == len(batch) else batch.take(pa.array(positions))
        leaves = [leaf for column in part.columns for leaf in _column_leaves(column)]
        distinct = _distinct(leaves, len(part))
        for start in range(0, len(distinct), BATCH_ROWS):
            candidates = distinct[start : start + BATCH_ROWS]
            texts = _row_texts([leaf.take(pa.array(candidates)) for leaf in leaves])
            for position, text in zip(positions[candidates].tolist(), texts, strict=True):
                key = hashlib.blake2b(text, digest_size=DIGEST_BYTES, key=schema).digest()
                if seen.get(key) is None:
                    seen.set(key, position)
                    new.append(position)
    return np.array(sorted(new), dtype=np.int64)


def _by_list_lengths(batch: pa.RecordBatch) -> list[np.ndarray]:
    """Groups of rows within which each list column (verl's prompt is one) has one length."""
    lists = [column for column in batch.columns if pa.types.is_list(column.type)]
    lengths = np.zeros((len(batch), 0), dtype=np.int64)
    if lists:
        lengths = np.stack([pc.fill_null(pc.list_value_length(column), -1).to_numpy() for column in lists], axis=1)
    if len(batch) == 0 or (lengths == lengths[0]).all():
        return [np.arange(len(batch))]
    _, group = np.unique(lengths, axis=0, return_inverse=True)
    return [np.flatnonzero(group == number) for number in range(group.max() + 1)]


def _column_leaves(column: pa.Array) -> list[pa.Array]:
    """Flat arrays, one value a row, that identify the rows of a column whose lists have one length."""
    if not pa.types.is_list(column.type):
        return _leaves(column)
    lengths = pc.list_value_length(column)
    elements = _leaves(column.flatten())
    width = (lengths[0].as_py() if len(lengths) else 0) or 0
    flat = [leaf.take(pa.array(np.arange(i, len(leaf), width))) for leaf in elements for i in range(width)]
    return [lengths, *flat]


def _leaves(array: pa.Array) -> list[pa.Array]:
    """Flat arrays that identify the values of an array; lists within structs are compared as JSON text."""
    if pa.types.is_struct(array.type):
        fields = [leaf for i in range(array.type.num_fields) for leaf in _leaves(pc.struct_field(array, [i]))]
        return [array.is_valid(), *fields]
    if pa.types.is_nested(array.type):
        return [pa.array([json.dumps(value, sort_keys=True, default=str) for value in array.to_pylist()], pa.string())]
    return [array]


def _distinct(leaves: list[pa.Array], rows: int) -> np.ndarray:
    """Position of the first of each group of equal rows, in order. Exact: codes are numbered anew at each step."""
    group = np.zeros(rows, dtype=np.int64)
    groups = 1
    for leaf in leaves:
        encoded = leaf if pa.types.is_dictionary(leaf.type) else leaf.dictionary_encode()
        if len(encoded.dictionary) + bool(encoded.null_count) <= 1:
            continue
        codes = pc.fill_null(pc.cast(encoded.indices, pa.int64()), len(encoded.dictionary)).to_numpy()
        combined = pa.array(group * (len(encoded.dictionary) + 1) + codes).dictionary_encode()
        group, groups = combined.indices.to_numpy().astype(np.int64), len(combined.dictionary)
    first = np.empty(groups, dtype=np.int64)
    first[group[::-1]] = np.arange(rows)[::-1]
    return np.sort(first)


def _row_texts(leaves: list[pa.Array]) -> list[bytes]:
    """All values of a row as bytes; rows differ if and only if their bytes do (each value's length goes first)."""
    parts = []
    for leaf in leaves:
        value = leaf.dictionary_decode() if pa.types.is_dictionary(leaf.type) else leaf
        if not pa.types.is_binary(value.type):
            value = pc.cast(pc.cast(value, pa.string()), pa.binary())
        length = pc.fill_null(pc.cast(pc.binary_length(value), pa.string()), "null")
        parts += [pc.cast(length, pa.binary()), pc.fill_null(value, b"")]
    return pc.binary_join_element_wise(*parts, b":").to_pylist()
