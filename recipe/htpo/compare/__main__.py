# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""Compare runs: tables, pictures and one page.

python -m recipe.htpo.compare outputs/cpu_dapo outputs/cpu_htpo --out outputs/comparison
python -m recipe.htpo.compare outputs/lab                     # all arms and seeds of the lab
python -m recipe.htpo.compare run-a-tag-actor_entropy.csv wandb_export.csv

Runs may be of any kind: docs/compare.md.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from rich import box
from rich.console import Console
from rich.table import Table

from data_prep.storage.files import file_in_the_way
from recipe.htpo.compare.analysis import Comparison, Population, compare
from recipe.htpo.compare.contamination import read_reports
from recipe.htpo.compare.markdown import write_into
from recipe.htpo.compare.page import ends, page, results
from recipe.htpo.compare.readers import read_runs

PAGE_FILE = "compare.html"


def main(argv: Sequence[str] | None = None) -> int:
    """Write the page and its pictures; 0, or 2 with a message on what cannot be compared."""
    parser = argparse.ArgumentParser(prog="python -m recipe.htpo.compare", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("runs", nargs="+", type=Path, help="runs, results of the lab, responses.parquet, CSV exports")
    parser.add_argument("--out", type=Path, default=Path("comparison"), help="directory of the page and the pictures")
    parser.add_argument("--baseline", help="arm that the others are compared with; default: dapo, else the first")
    parser.add_argument(
        "--contaminated", type=Path, nargs="+", default=[], help="reports of `data_prep decontaminate --report`"
    )
    parser.add_argument("--into", type=Path, help="Markdown file that gets the tables, where it names the directory")
    args = parser.parse_args(argv)
    if (file := file_in_the_way(args.out)) is not None:
        parser.error(f"argument --out: {file} is a file; give a directory")
    try:
        reports = read_reports(args.contaminated) if args.contaminated else None
        comparison = compare(read_runs(args.runs), args.baseline, reports)
        if args.into:
            write_into(args.into, args.out.name, comparison)
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    from recipe.htpo.compare.figures import draw

    pictures = draw(comparison, args.out)
    title = "Comparison of " + ", ".join(arm.name for arm in comparison.arms)
    file = args.out / PAGE_FILE
    file.write_text(page(title, comparison, pictures), encoding="utf-8")
    console = Console(width=None if sys.stdout.isatty() else 200, markup=False, emoji=False)
    for found in comparison.populations:
        if found.name in ("all", "clean"):
            console.print(_table(comparison, found))
    for note in comparison.notes:
        console.print(f"note: {note}", soft_wrap=True)
    console.print(f"{file}: {file.stat().st_size / 1e6:.2f} MB, {len(pictures)} pictures beside it", soft_wrap=True)
    return 0


def _table(comparison: Comparison, found: Population) -> Table:
    title = f"{found.source}, {found.name}: {len(found.prompts)} prompts"
    table = Table(title=title, box=box.SIMPLE, pad_edge=False)
    columns = ["arm", "runs", *(f"pass@{k}" for k in ends(found)), *(f"difference at k={k}" for k in ends(found))]
    for column in columns:
        table.add_column(column)
    for row in results(comparison, found):
        table.add_row(row["arm"], str(row["seeds"]), *row["values"], *row["differences"])
    return table


if __name__ == "__main__":
    sys.exit(main())
