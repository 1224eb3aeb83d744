# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""Why a run failed, from its log."""

import re
import shutil
import sys
from collections import Counter
from pathlib import Path

TAIL_LINES = 25
MOST_ERRORS = 5
LITTLE_DISK = 64 << 20
# The line that ends a trace, behind the prefix (and its colour) that Ray gives to a process's output.
_ERROR = re.compile(r"(?:\x1b\[\d+m)?\((\w+) pid=\d+[^)]*\)(?:\x1b\[0m)? ((?:\w+\.)*\w+(?:Error|Exception): .+)")


def show_failure(log: Path, offset: int, code: int) -> None:
    """Print the end of `log` and what explains it: errors of its processes, the watchdog's word, a full disk.

    Args:
        log: the run's log.
        offset: bytes of earlier starts, which are not looked at.
        code: the run's exit code.
    """
    with log.open("rb") as stream:
        stream.seek(offset)
        lines = stream.read().decode("utf-8", errors="replace").splitlines()
    reasons = [line for line in lines if "HTPO watchdog:" in line]
    print(f"the run failed (exit code {code}); the end of {log}:", file=sys.stderr)
    print("\n".join(f"    {line}" for line in lines[-TAIL_LINES:] + reasons), file=sys.stderr)
    if errors := _errors(lines):
        print("errors of its processes, in the order of the log:", file=sys.stderr)
        print("\n".join(f"    {error}" for error in errors), file=sys.stderr)
    free = shutil.disk_usage(log.parent).free
    if free < LITTLE_DISK:
        print(
            f"the disk of {log.parent} is full ({free >> 20} MiB free), and its last output may be lost: make "
            "room; the same command resumes from the last whole checkpoint",
            file=sys.stderr,
        )


def _errors(lines: list[str]) -> list[str]:
    """The first different errors, with the process and how often."""
    found = Counter(match.groups() for match in map(_ERROR.match, lines) if match)
    return [f"{process}: {error} ({times} times)" for (process, error), times in list(found.items())[:MOST_ERRORS]]
