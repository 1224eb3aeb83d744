# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""A file of the shape of the original DAPO-Math-17k: every row a hundred times, DAPO's template around the problem.

    python scripts/synthetic_dapo.py BARE.parquet OUT.parquet --copies 100 --layout tiled

``BARE.parquet`` is a file of bare problems in verl's schema. The result serves to measure deduplication at full size
without the original (1,791,700 rows). ``--layout`` is the order of the copies, which the original does not document.
"""

import argparse
import uuid
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from data_prep.sources.templates import TEMPLATES
from data_prep.storage.files import atomic_output

LAYOUTS = ("tiled", "adjacent", "shuffled")


def write(bare: Path, out: Path, copies: int, layout: str, row_group_size: int, seed: int = 0) -> int:
    """Writes the copies and returns their number."""
    distinct = _original_form(pq.read_table(bare, columns=["prompt", "reward_model"]))
    order = np.tile(np.arange(len(distinct)), copies)
    if layout == "adjacent":
        order = np.repeat(np.arange(len(distinct)), copies)
    elif layout == "shuffled":
        np.random.default_rng(seed).shuffle(order)
    with atomic_output(out) as stream, pq.ParquetWriter(stream, distinct.schema) as writer:
        for start in range(0, len(order), row_group_size):
            writer.write_table(distinct.take(order[start : start + row_group_size]), row_group_size=row_group_size)
    return len(order)


def _original_form(bare: pa.Table) -> pa.Table:
    problems = pc.struct_field(pc.list_flatten(bare["prompt"]), "content").to_pylist()
    ground_truths = pc.struct_field(bare["reward_model"], "ground_truth").to_pylist()
    template = TEMPLATES["dapo"]
    return pa.Table.from_pylist(
        [
            {
                "data_source": "math_dapo",
                "prompt": template.messages(problem),
                "ability": "MATH",
                "reward_model": {"ground_truth": ground_truth, "style": "rule-lighteval/MATH_v2"},
                "extra_info": {"index": str(uuid.uuid5(uuid.NAMESPACE_OID, str(row)))},
            }
            for row, (problem, ground_truth) in enumerate(zip(problems, ground_truths, strict=True))
        ]
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("bare", type=Path, help="parquet file of bare problems in verl's schema")
    parser.add_argument("out", type=Path, help="file to write")
    parser.add_argument("--copies", type=int, default=100, help="how often each row appears")
    parser.add_argument("--layout", choices=LAYOUTS, default="tiled", help="order of the copies")
    parser.add_argument("--row-group-size", type=int, default=1 << 20, help="rows per parquet row group")
    arguments = parser.parse_args()
    rows = write(arguments.bare, arguments.out, arguments.copies, arguments.layout, arguments.row_group_size)
    print(f"{arguments.out}: {rows:,} rows, {arguments.out.stat().st_size / 2**20:.0f} MiB")


if __name__ == "__main__":
    main()
