# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""One start at a time in an output directory.

The lock is the kernel's (flock, through `filelock`): it dies with the process that holds it, however that ends. Over
NFS version 4 and most cluster file systems it holds between machines; where a file system has no such locks, two starts
on two machines are not kept apart.
"""

import json
import os
import socket
from pathlib import Path

from filelock import BaseFileLock, FileLock, Timeout

LOCK_FILE = ".lock"
HOLDER_FILE = ".lock_holder.json"


class AlreadyRunning(Exception):
    """Another start holds the directory; the message names it."""


def hold(output_dir: str | Path) -> BaseFileLock:
    """Take the directory until this process ends; keep the result.

    Raises:
        AlreadyRunning: with host and process of the start that has it.
    """
    directory = Path(output_dir)
    directory.mkdir(parents=True, exist_ok=True)
    lock = FileLock(directory / LOCK_FILE)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise AlreadyRunning(f"{directory} is in use by {_holder(directory)}") from None
    holder = {"host": socket.gethostname(), "pid": os.getpid()}
    (directory / HOLDER_FILE).write_text(json.dumps(holder) + "\n", encoding="utf-8")
    return lock


def _holder(directory: Path) -> str:
    try:
        holder = json.loads((directory / HOLDER_FILE).read_text(encoding="utf-8"))
        return f"process {holder['pid']} on {holder['host']}"
    except (OSError, ValueError, KeyError, TypeError):
        return "another process"
