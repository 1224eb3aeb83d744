# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""Time and memory of removing repeated rows, against reading only the prompt and index columns of the same file.

    python scripts/measure_dedup.py FILE.parquet --repeats 3

Each measurement runs in a process of its own, the three kinds in turn; medians are printed. There are two ways to
read: streamed in batches, or as a whole with ``pyarrow.parquet.read_table``.
"""

import argparse
import resource
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from statistics import median

import pyarrow.parquet as pq

from data_prep.sources.dedup import unique_batches
from data_prep.storage.digests import DigestMap

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
    with DigestMap() as seen:
        return sum(len(rows) for _, rows, _ in unique_batches(path, {"read": 0, "duplicate_rows": 0}, seen))


@dataclass(frozen=True)
class Run:
    """One measurement: wall and processor seconds (all threads), peak memory of the process, rows found."""

    wall: float
    cpu: float
    peak_mib: int
    rows: int


def measure(work: Callable[[Path], int], path: Path) -> Run:
    """Runs ``work`` in this process, which must be fresh for the peak to mean anything."""
    wall, cpu = time.perf_counter(), time.process_time()
    rows = work(path)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    return Run(time.perf_counter() - wall, time.process_time() - cpu, peak, rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("file", type=Path, help="parquet file with the columns prompt and extra_info.index")
    parser.add_argument("--repeats", type=int, default=3, help="measurements of each kind")
    arguments = parser.parse_args()
    works = (read_streamed, read_whole, deduplicate)
    found: dict[str, list[Run]] = {work.__name__: [] for work in works}
    for _ in range(arguments.repeats):
        for work in works:
            with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as process:
                found[work.__name__].append(process.submit(measure, work, arguments.file).result())
    wall = {name: median(run.wall for run in runs) for name, runs in found.items()}
    cpu = {name: median(run.cpu for run in runs) for name, runs in found.items()}
    for name, runs in found.items():
        peak = max(run.peak_mib for run in runs)
        print(f"{name:14} wall {wall[name]:6.2f} s, cpu {cpu[name]:6.2f} s, peak {peak:5,} MiB, {runs[0].rows:,} rows")
    for name in ("read_streamed", "read_whole"):
        ratios = [values["deduplicate"] / values[name] for values in (wall, cpu)]
        print(
            f"deduplicate / {name:13} wall {ratios[0]:.2f}, cpu {ratios[1]:.2f} (medians of {arguments.repeats} runs)"
        )


if __name__ == "__main__":
    main()
