# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""A small world for the fault campaign: mounts that only this process and its children see."""

import ctypes
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

_CLONE_NEWNS = 0x00020000
SHARED_MEMORY = Path("/dev/shm")
TEMPORARY = Path("/tmp")


class NoPrivateMounts(Exception):
    """The kernel refuses a mount namespace; the message says why."""


def enter() -> None:
    """Give this process a mount namespace with a /dev/shm and a /tmp of its own, both empty.

    Everything that a run leaves there is seen, a full /dev/shm harms nobody else, and the run's processes are those
    in the namespace. Needs root, or `unshare --user --map-root-user --mount`.

    Raises:
        NoPrivateMounts: where that is not allowed.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(_CLONE_NEWNS) != 0:
        raise NoPrivateMounts(os.strerror(ctypes.get_errno()))
    _mount("--make-rprivate", "/")
    _mount("-t", "tmpfs", "-o", "size=2g,mode=1777", "tmpfs", str(SHARED_MEMORY))
    _mount("-t", "tmpfs", "-o", "size=4g,mode=1777", "tmpfs", str(TEMPORARY))


@contextmanager
def small_disk(directory: Path, mebibytes: int) -> Iterator[None]:
    """A disk of this size at `directory`; what is on it goes with it."""
    directory.mkdir(parents=True, exist_ok=True)
    _mount("-t", "tmpfs", "-o", f"size={mebibytes}m", "tmpfs", str(directory))
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(directory)], check=True)


@contextmanager
def full(directory: Path, but_for: int) -> Iterator[None]:
    """Fill the disk of `directory` but for so many bytes."""
    filler = directory / "filler"
    state = os.statvfs(directory)
    with filler.open("wb") as stream:
        os.posix_fallocate(stream.fileno(), 0, max(1, state.f_bavail * state.f_frsize - but_for))
    try:
        yield
    finally:
        filler.unlink()


def inhabitants() -> list[psutil.Process]:
    """The other living processes of this namespace."""
    own, found = os.readlink("/proc/self/ns/mnt"), []
    for process in psutil.process_iter():
        try:
            inside = os.readlink(f"/proc/{process.pid}/ns/mnt") == own
            if inside and process.pid != os.getpid() and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except (OSError, psutil.NoSuchProcess):
            continue
    return found


def files(directory: Path) -> set[str]:
    """Every file below `directory`."""
    return {str(path) for path in directory.rglob("*") if not path.is_dir()}


def _mount(*arguments: str) -> None:
    done = subprocess.run(["mount", *arguments], capture_output=True, text=True)
    if done.returncode:
        raise NoPrivateMounts(done.stderr.strip())
