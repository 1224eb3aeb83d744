# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""Reading back files of the contract, for the commands that derive one file from others."""

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from data_prep.errors import DataError
from data_prep.provenance import describe_input, tool
from data_prep.readers import open_parquet, parquet_batches
from data_prep.schema import SCHEMA, schema_difference


def contract_batches(path: Path, columns: list[str] | None = None) -> Iterator[pa.RecordBatch]:
    """Batches of a file of the contract; raises DataError when it is none."""
    require_contract(path)
    yield from parquet_batches(path, columns)


def require_contract(path: Path) -> int:
    """Number of rows of a file; raises DataError when its schema is not the contract."""
    file = open_parquet(path)
    difference = schema_difference(file.schema_arrow)
    if difference:
        raise DataError(
            f"not a file of the contract: {difference}",
            file=path,
            remedy="make it with `build`, or with `convert` and a YAML for your own columns",
        )
    return file.metadata.num_rows


def extra(batch: pa.RecordBatch, name: str) -> list:
    """One field of ``extra_info`` as Python values."""
    return pc.struct_field(batch["extra_info"], name).to_pylist()


def keep_rows(path: Path, keep: Iterator[bool] | list[bool]) -> Iterator[pa.RecordBatch]:
    """The rows of a file for which ``keep`` says so."""
    flags = iter(keep)
    for batch in contract_batches(path):
        mask = [next(flags) for _ in range(len(batch))]
        yield batch.filter(pa.array(mask, pa.bool_())).cast(SCHEMA)


def derived_recipe(command: str, inputs: list[Path], options: dict) -> dict:
    """Recipe of a file made from files of the contract."""
    return {
        "tool": tool(),
        "command": command,
        "inputs": [describe_input(path) for path in inputs],
        "options": options,
    }
