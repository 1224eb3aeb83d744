# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""What happened to every token: a page of the responses that a run dumped.

python -m recipe.htpo.inspect RUN_DIR                # writes RUN_DIR/tokens.html
python -m recipe.htpo.inspect LAB_OUT/htpo/seed_1    # of a lab run

The run must have been trained with `htpo.dump_tokens.steps=[...]`.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from data_prep.storage.files import atomic_output, refuse_overwriting
from recipe.htpo.inspect.dump import read_dump
from recipe.htpo.inspect.page import page
from recipe.htpo.inspect.totals import read_logged

PAGE_FILE = "tokens.html"


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m recipe.htpo.inspect", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("run_dir", type=Path, help="output directory of a run that dumped tokens")
    parser.add_argument("--steps", type=int, nargs="+", help="only these steps; default: all that were dumped")
    parser.add_argument("--out", type=Path, help=f"page to write; default: RUN_DIR/{PAGE_FILE}")
    args = parser.parse_args(argv)
    out = args.out or args.run_dir / PAGE_FILE
    try:
        dumps = read_dump(args.run_dir)
        refuse_overwriting(out, [dump.path for dump in dumps])
        there = {dump.step for dump in dumps}
        if lacking := sorted(set(args.steps or ()) - there):
            has = ", ".join(map(str, sorted(there)))
            raise ValueError(f"--steps {' '.join(map(str, lacking))}: {args.run_dir} has the steps {has}")
        chosen = [dump for dump in dumps if not args.steps or dump.step in args.steps]
        text = page("/".join(args.run_dir.resolve().parts[-2:]), chosen, read_logged(args.run_dir))
        with atomic_output(out) as stream:
            stream.write(text.encode())
    except ValueError as error:
        print(error, file=sys.stderr)
        return 2
    responses = sum(len(dump.table) for dump in chosen)
    print(f"{out}: {responses} responses of {len(chosen)} steps, {out.stat().st_size / 1e6:.2f} MB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
