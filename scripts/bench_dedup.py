# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""Processor time and peak memory of removing repeated rows: data_prep against a bare DuckDB query, in one run.

    python scripts/bench_dedup.py FILE.parquet [--copies 100] [--distinct 1200000] [--repeats 3]

FILE holds rows of verl's schema. Two files are made of it in a temporary folder: every row ``--copies`` times (as the
original DAPO-Math-17k has them), and ``--distinct`` rows of which each has a number of its own. For both, data_prep
(row numbers, in order, within its memory limit) and ``SELECT DISTINCT`` (threads and memory limit as DuckDB has them)
find the distinct rows, each time in a fresh process, in turn; medians are printed with their ratio.
"""

import argparse
import resource
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from statistics import median

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from data_prep.sources.dedup import grouped
from data_prep.storage.parquet import BATCH_ROWS

COLUMNS = ["data_source", "prompt", "ability", "reward_model"]


def ours(path: Path) -> int:
    """The distinct rows by data_prep."""
    batches = grouped([path], {"read": 0, "duplicate_rows": 0})
    assert batches is not None
    return sum(map(len, batches))


def duckdb(path: Path) -> int:
    """The distinct rows by ``SELECT DISTINCT``."""
    import duckdb as library

    with library.connect() as connection:
        connection.execute("SET enable_progress_bar = false")
        found = connection.sql("SELECT DISTINCT * FROM read_parquet($1)", params=[str(path)])
        return sum(map(len, found.to_arrow_reader(BATCH_ROWS)))


def measure(work: Callable[[Path], int], path: Path) -> tuple[float, int, int]:
    """Processor seconds of all threads, peak memory in MiB of this process (which must be fresh), rows found."""
    started = time.process_time()
    rows = work(path)
    return time.process_time() - started, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024, rows


def write_inputs(source: Path, folder: Path, copies: int, distinct: int) -> dict[str, Path]:
    """The two files."""
    table = pq.read_table(source, columns=COLUMNS)
    paths = {f"{copies} copies": folder / "copies.parquet", f"{distinct:,} distinct": folder / "distinct.parquet"}
    copied, numbered = paths.values()
    with pq.ParquetWriter(copied, table.schema) as writer:
        for _ in range(copies):
            writer.write_table(table)
    with pq.ParquetWriter(numbered, table.schema.append(pa.field("number", pa.int64()))) as writer:
        for start in range(0, distinct, len(table)):
            part = table.slice(0, min(len(table), distinct - start))
            writer.write_table(part.append_column("number", pa.array(np.arange(start, start + len(part)))))
    return paths


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("file", type=Path, help="parquet file in verl's schema")
    parser.add_argument("--copies", type=int, default=100, help="how often each row appears in the first file")
    parser.add_argument("--distinct", type=int, default=1_200_000, help="rows of the second file")
    parser.add_argument("--repeats", type=int, default=3, help="measurements of each kind")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        for name, path in write_inputs(arguments.file, Path(folder), arguments.copies, arguments.distinct).items():
            found: dict[str, list[tuple[float, int, int]]] = {"ours": [], "duckdb": []}
            for _ in range(arguments.repeats):
                for work in (ours, duckdb):
                    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as process:
                        found[work.__name__].append(process.submit(measure, work, path).result())
            print(f"{name}: {pq.read_metadata(path).num_rows:,} rows")
            for kind, runs in found.items():
                cpu, peak = median(run[0] for run in runs), median(run[1] for run in runs)
                print(f"  {kind:7} cpu {cpu:6.2f} s, peak {peak:6,.0f} MiB, {runs[0][2]:,} distinct rows")
            cpu, peak = (
                median(run[i] for run in found["ours"]) / median(r[i] for r in found["duckdb"]) for i in (0, 1)
            )
            print(f"  ours / duckdb: cpu {cpu:.2f}, peak memory {peak:.2f}", flush=True)


if __name__ == "__main__":
    main()
