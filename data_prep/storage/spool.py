# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""Record batches that wait in a temporary file until the schema of all of them is known: constant memory."""

import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import pyarrow as pa


@contextmanager
def spooled(batches: Iterable[pa.RecordBatch]) -> Iterator[tuple[list[pa.Schema], Iterator[pa.RecordBatch]]]:
    """The distinct schemas of the batches, and the batches again. All of ``batches`` is read first."""
    with tempfile.TemporaryFile(prefix="data_prep-") as file:
        schemas: list[pa.Schema] = []
        count = 0
        for batch in batches:
            if batch.schema not in schemas:
                schemas.append(batch.schema)
            with pa.ipc.new_stream(file, batch.schema) as writer:
                writer.write_batch(batch)
            count += 1
        file.seek(0)
        yield schemas, (batch for _ in range(count) for batch in pa.ipc.open_stream(file))
