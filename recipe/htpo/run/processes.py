# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""The processes of a run and what they leave in shared memory (Linux).

Ray starts its daemons and workers detached, and vLLM its engine in a process of its own; a killed engine leaves
`/dev/shm/psm_*` files. A supervisor that adopts orphans sees them all as its descendants and can clean up after them.
"""

import contextlib
import ctypes
import signal
import time
from pathlib import Path

import psutil

PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36
SHARED_MEMORY = "/dev/shm/"
# Looks per measurement of memory, for which the kernel walks every page table: 0.1 s for the processes of a run.
LOOKS_PER_MEASUREMENT = 4


def adopt_orphans() -> None:
    """Make this process the parent of every descendant whose own parent ends."""
    _prctl(PR_SET_CHILD_SUBREAPER, 1)


def die_with_parent() -> None:
    """In a child, before exec: get SIGTERM when the parent ends, however it ends."""
    _prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


class ProcessTree:
    """All descendants of this process, with their memory and their shared-memory files."""

    def __init__(self) -> None:
        self._shared_files: set[str] = set()
        self._looks = 0
        self.peak_bytes = 0

    def look(self) -> None:
        """Note the shared-memory files in use; now and then the proportional set size (PSS) of the tree in bytes."""
        processes = psutil.Process().children(recursive=True)
        if self._looks % LOOKS_PER_MEASUREMENT == 0:
            self.peak_bytes = max(self.peak_bytes, sum(_pss_bytes(process.pid) for process in processes))
        self._looks += 1
        for process in processes:
            self._shared_files |= mapped_shared_files(process.pid)

    def end(self, grace_s: float = 5.0) -> None:
        """Terminate, then kill, every descendant; remove the shared-memory files that only they had mapped."""
        self.look()
        for send in (psutil.Process.terminate, psutil.Process.kill):
            processes = psutil.Process().children(recursive=True)
            for process in processes:
                with contextlib.suppress(psutil.NoSuchProcess):
                    send(process)
            psutil.wait_procs(processes, timeout=grace_s)
        in_use = {path for pid in psutil.pids() for path in mapped_shared_files(pid)}
        for path in self._shared_files - in_use:
            Path(path).unlink(missing_ok=True)


def wait(seconds: float, process: psutil.Popen) -> bool:
    """Wait up to `seconds` for a child; whether it has ended."""
    deadline = time.monotonic() + seconds
    while process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.1)
    return process.poll() is not None


def mapped_shared_files(pid: int) -> set[str]:
    """Paths below /dev/shm that a process has mapped; none of one that has ended."""
    try:
        text = Path(f"/proc/{pid}/maps").read_text()
    except OSError:
        return set()
    paths = (line.split(maxsplit=5)[5] for line in text.splitlines() if SHARED_MEMORY in line)
    return {path.removesuffix(" (deleted)") for path in paths}


def _pss_bytes(pid: int) -> int:
    try:
        text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    except OSError:
        return 0
    return sum(int(line.split()[1]) * 1024 for line in text.splitlines() if line.startswith("Pss:"))


def _prctl(option: int, value: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(option, value, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), f"prctl({option}) failed")
