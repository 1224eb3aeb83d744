# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""Time and memory of removing repeated rows, against reading only the prompt and index columns of the same file.

    python -m data_prep.measure_dedup FILE.parquet --repeats 3

Each measurement runs in a process of its own, the three kinds in turn; medians are printed. The ratio is against the
cheaper of the two ways to read: streamed in batches, or as a whole with ``pyarrow.parquet.read_table``.
"""

import argparse
import resource
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from statistics import median

import pyarrow.parquet as pq

from data_prep.dedup import unique_batches

COLUMNS = ["prompt", "extra_info.index"]


def read_streamed(path: Path) -> int:
    """Reads the prompt and index columns batch by batch."""
    file = pq.ParquetFile(path, pre_buffer=False, buffer_size=1 << 20)
    return sum(len(batch) for batch in file.iter_batches(65_536, columns=COLUMNS))


def read_whole(path: Path) -> int:
    """Reads the prompt and index columns into one table."""
    return len(pq.read_table(path, columns=COLUMNS))


def deduplicate(path: Path) -> int:
    """Finds the distinct rows, all columns."""
    return sum(len(rows) for _, rows, _ in unique_batches(path, {"read": 0, "duplicate_rows": 0}))


def measure(work: Callable[[Path], int], path: Path) -> tuple[float, int, int]:
    """Seconds, peak MiB of the process, rows."""
    start = time.perf_counter()
    rows = work(path)
    return time.perf_counter() - start, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024, rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("file", type=Path, help="parquet file with the columns prompt and extra_info.index")
    parser.add_argument("--repeats", type=int, default=3, help="measurements of each kind")
    arguments = parser.parse_args()
    works = (read_streamed, read_whole, deduplicate)
    found: dict[str, list[tuple[float, int, int]]] = {work.__name__: [] for work in works}
    for _ in range(arguments.repeats):
        for work in works:
            with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as process:
                found[work.__name__].append(process.submit(measure, work, arguments.file).result())
    seconds = {name: median(run[0] for run in runs) for name, runs in found.items()}
    for name, runs in found.items():
        peak = max(run[1] for run in runs)
        print(f"{name:14} {seconds[name]:6.2f} s (median of {len(runs)}), peak {peak:,} MiB, {runs[0][2]:,} rows")
    reading = min(seconds["read_streamed"], seconds["read_whole"])
    print(f"deduplicate / reading: {seconds['deduplicate'] / reading:.2f}", end="; ")
    print(f"deduplicate / read_whole: {seconds['deduplicate'] / seconds['read_whole']:.2f}")


if __name__ == "__main__":
    main()
