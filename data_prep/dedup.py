# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""Repeated rows removed while reading."""

import json
from collections.abc import Iterator
from pathlib import Path

from data_prep.digests import DigestMap, digest
from data_prep.readers import Record, read_records


def unique_records(path: Path, counts: dict[str, int]) -> Iterator[Record]:
    """The rows of a file that repeat no earlier row of it.

    Adds to ``counts["read"]`` and ``counts["duplicate_rows"]``.
    """
    yield from unique_of(read_records(path), counts)


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
