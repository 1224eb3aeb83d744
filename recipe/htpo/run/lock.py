# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""One start at a time in an output directory.

The lock is the kernel's (flock): it dies with the process that holds it, however that ends. Over NFS version 4 and most
cluster file systems it holds between machines; where a file system has no such locks, the start says so and goes on.
"""

import errno
import fcntl
import json
import os
import socket
from pathlib import Path
from typing import BinaryIO

LOCK_FILE = ".lock"
HOLDER_FILE = ".lock_holder.json"

# What flock gives where the file system has no locks, or no server for them.
_NO_LOCKS = (errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP)


class AlreadyRunning(Exception):
    """Another start holds the directory; the message names it."""


def hold(output_dir: str | Path) -> BinaryIO:
    """Take the directory until the result is closed or this process ends; a warning where the file system cannot.

    Raises:
        AlreadyRunning: with host and process of the start that has it.
    """
    directory = Path(output_dir)
    directory.mkdir(parents=True, exist_ok=True)
    held = (directory / LOCK_FILE).open("wb")
    try:
        if not flock(held):
            print(
                f"warning: the file system of {directory} has no locks: a second start there is not refused, and both "
                "would write the same checkpoints and metrics. See to it that there is none",
                flush=True,
            )
    except BlockingIOError:
        held.close()
        raise AlreadyRunning(f"{directory} is in use by {_holder(directory)}") from None
    holder = {"host": socket.gethostname(), "pid": os.getpid()}
    (directory / HOLDER_FILE).write_text(json.dumps(holder) + "\n", encoding="utf-8")
    return held


def flock(file: BinaryIO) -> bool:
    """Lock an open file until it is closed; False where its file system has no locks.

    Raises:
        BlockingIOError: another process has it.
    """
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in _NO_LOCKS:
            return False
        raise
    return True


def _holder(directory: Path) -> str:
    try:
        holder = json.loads((directory / HOLDER_FILE).read_text(encoding="utf-8"))
        return f"process {holder['pid']} on {holder['host']}"
    except (OSError, ValueError, KeyError, TypeError):
        return "another process"
