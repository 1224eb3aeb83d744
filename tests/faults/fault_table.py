# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""`python tests/faults/fault_table.py RESULTS.jsonl`: the results of a campaign as the table of docs/faults.md."""

import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any


def table(results: Sequence[dict[str, Any]]) -> Iterator[str]:
    """A line per fault, and the count of those after which nothing was amiss."""
    yield "| date | commit | backend | fault | what came of it | amiss afterwards |"
    yield "| --- | --- | --- | --- | --- | --- |"
    for result in results:
        amiss = "; ".join(result["findings"]) or "nothing"
        cells = [result["date"], result["commit"], result["backend"], result["fault"], result["outcome"], amiss]
        yield "| " + " | ".join(" ".join(str(cell).split()).replace("|", "/")[:400] for cell in cells) + " |"
    kills = [result for result in results if result["fault"].startswith("SIGKILL")]
    sound = sum(not result["findings"] for result in kills)
    yield ""
    yield f"SIGKILLs after which nothing was amiss: {sound} of {len(kills)}."


def left_out(module: str, expression: str | None) -> bool:
    """Whether pytest's `-m` leaves a module of the campaign out."""
    return module in ("test_faults.py", "test_drills.py") and "faults" not in (expression or "")


def main() -> None:
    """Print the table."""
    (path,) = sys.argv[1:]
    print("\n".join(table([json.loads(line) for line in Path(path).read_text(encoding="utf-8").splitlines()])))


if __name__ == "__main__":
    main()
