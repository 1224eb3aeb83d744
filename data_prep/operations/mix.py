# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""Mixes files of the contract: all rows or a drawn share of each, shuffled by seed, at constant memory.

Rows are first dealt into temporary buckets by their place in the result; then one bucket at a time is ordered and
written.
"""

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from data_prep.contract import (
    contract_batches,
    contract_schema,
    derived_recipe,
    extra,
    fitted,
    joined_schema,
    require_contract,
)
from data_prep.errors import DataError
from data_prep.storage.digests import DigestMap, digest
from data_prep.storage.files import refuse_overwriting
from data_prep.storage.provenance import refuse_other_configuration
from data_prep.storage.writer import write_dataset

BUCKET_ROWS = 65_536
_UNUSED = -1
_PLACE = "_place_in_the_mixture"


@dataclass(frozen=True)
class Part:
    """One input of a mixture."""

    path: Path
    """A file of the contract."""
    weight: float | None = None
    """Share of the result (weights are scaled to sum to 1); None for all rows."""


def mix(
    parts: list[Part], out: Path, rows: int | None = None, seed: int = 0, shuffle: bool = True, force: bool = False
) -> dict[str, int]:
    """Writes ``out`` and returns the number of rows taken of each input.

    Without weights every row is taken. With weights ``rows`` is needed, and of each input its share is drawn without
    repetition.

    Further columns of the inputs are joined; a row of an input without one has null there.

    Raises DataError when an input has too few rows for its share, an id occurs twice, or columns do not join.
    """
    refuse_overwriting(out, [part.path for part in parts])
    sizes = [require_contract(part.path) for part in parts]
    taken = _rows_of_each(parts, sizes, rows)
    total = sum(taken)
    rng = np.random.default_rng(seed)
    order = rng.permutation(total) if shuffle else np.arange(total)
    start = 0
    places = []
    for size, count in zip(sizes, taken, strict=True):
        place = np.full(size, _UNUSED, dtype=np.int64)
        place[np.sort(rng.choice(size, count, replace=False))] = order[start : start + count]
        places.append(place)
        start += count
    options = {"weights": [part.weight for part in parts], "rows": rows, "seed": seed, "shuffle": shuffle}
    recipe = derived_recipe("mix", [part.path for part in parts], options)
    refuse_other_configuration(out, recipe, force)
    schema = joined_schema([contract_schema(part.path) for part in parts], ", ".join(str(part.path) for part in parts))
    with tempfile.TemporaryDirectory(prefix="data_prep-mix-") as folder:
        buckets = _Buckets(Path(folder), total, schema)
        with DigestMap() as ids:
            for part, place in zip(parts, places, strict=True):
                _deal(part.path, place, buckets, ids)
        write_dataset(out, buckets.ordered(), recipe, {"read": sum(sizes)}, schema)
    return {str(part.path): count for part, count in zip(parts, taken, strict=True)}


def _rows_of_each(parts: list[Part], sizes: list[int], rows: int | None) -> list[int]:
    weights = [part.weight for part in parts]
    if all(weight is None for weight in weights):
        if rows is not None:
            raise DataError("--rows needs weights", remedy="write FILE=WEIGHT for every file, or leave --rows out")
        return sizes
    for part in parts:
        if part.weight is not None and not 0 < part.weight < float("inf"):
            problem = f"the weight {part.weight:g} is no positive number"
            raise DataError(problem, file=part.path, remedy="write FILE=0.7")
    if rows is None or None in weights:
        raise DataError("weights need --rows and a positive weight for every file", remedy="write FILE=WEIGHT")
    shares = np.array(weights, dtype=float) / sum(weight for weight in weights if weight)
    ends = np.rint(np.cumsum(shares) * rows).astype(int)
    taken = np.diff(ends, prepend=0).tolist()
    for part, size, count in zip(parts, sizes, taken, strict=True):
        if count > size:
            raise DataError(
                f"{count:,} rows asked, the file has {size:,}", file=part.path, remedy="lower --rows or its weight"
            )
    return taken


def _deal(path: Path, place: np.ndarray, buckets: "_Buckets", ids: DigestMap) -> None:
    start = 0
    for batch in contract_batches(path):
        here = place[start : start + len(batch)]
        used = np.flatnonzero(here != _UNUSED)
        for row_id, row in zip(extra(batch.take(pa.array(used)), "id"), (start + used).tolist(), strict=True):
            key = digest(row_id)
            if ids.get(key) is not None:
                raise DataError(
                    f"id {row_id!r} occurs twice", file=path, place=f"row {row}", remedy="mix each data set only once"
                )
            ids.set(key, row)
        buckets.add(batch.take(pa.array(used)), here[used])
        start += len(batch)


class _Buckets:
    """Temporary Arrow files, each for a range of places in the result."""

    def __init__(self, folder: Path, total: int, schema: pa.Schema) -> None:
        self._paths = [folder / f"{i}.arrow" for i in range(-(-total // BUCKET_ROWS))]
        self._schema = schema
        placed = schema.append(pa.field(_PLACE, pa.int64()))
        self._writers = [pa.ipc.new_stream(str(path), placed) for path in self._paths]

    def add(self, batch: pa.RecordBatch, places: np.ndarray) -> None:
        """Deals rows by their places."""
        bucket = places // BUCKET_ROWS
        for number in np.unique(bucket).tolist():
            chosen = pa.array(np.flatnonzero(bucket == number))
            rows = fitted(batch.take(chosen), self._schema)
            self._writers[number].write_batch(rows.append_column(_PLACE, pa.array(places).take(chosen)))

    def ordered(self) -> Iterator[pa.RecordBatch]:
        """All rows in order of their places, one bucket in memory at a time."""
        for writer in self._writers:
            writer.close()
        for path in self._paths:
            with pa.memory_map(str(path)) as source:
                table = pa.ipc.open_stream(source).read_all()
                yield from table.sort_by(_PLACE).drop_columns([_PLACE]).to_batches()
