# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""Atomic output: a file appears whole under its name or not at all, even after a kill or on a full disk."""

import fcntl
import hashlib
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from data_prep.errors import DataError


@contextmanager
def atomic_output(path: str | os.PathLike) -> Iterator[BinaryIO]:
    """Opens ``.NAME.partial`` beside ``path``; on success it is fsynced and renamed to ``path``, else removed.

    A file lock keeps two writers of one path apart. What a killed writer left behind is overwritten by the next one.

    Raises DataError when the path cannot be written (no space, no permission) or is being written by another process.
    """
    path = Path(path)
    partial = path.with_name(f".{path.name}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        stream = _open_locked(partial)
    except BlockingIOError as error:
        raise DataError(
            "another process is writing this file", file=path, remedy="wait for it, or choose another --out"
        ) from error
    except OSError as error:
        raise _cannot_write(path, error) from error
    with stream:
        try:
            stream.truncate(0)
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
            os.replace(partial, path)
        except OSError as error:
            partial.unlink(missing_ok=True)
            raise _cannot_write(path, error) from error
        except BaseException:
            partial.unlink(missing_ok=True)
            raise
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _open_locked(partial: Path) -> BinaryIO:
    """``partial`` opened and locked; raises BlockingIOError when another writer holds the lock.

    Between open and lock another writer may have renamed the file to its final name: the lock would then be one on the
    finished output. So the name must still lead to the locked file.
    """
    while True:
        stream = open(partial, "ab")
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            stream.close()
            raise
        if _leads_to(partial, stream):
            return stream
        stream.close()


def _leads_to(path: Path, stream: BinaryIO) -> bool:
    try:
        return os.path.samestat(os.stat(path), os.fstat(stream.fileno()))
    except FileNotFoundError:
        return False


def sha256_of(path: str | os.PathLike) -> str:
    """Hex SHA-256 of a file's bytes."""
    with open(path, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _cannot_write(path: Path, error: OSError) -> DataError:
    return DataError(
        f"cannot write: {error.strerror or error}",
        file=path,
        remedy="free space or choose another --out folder; nothing was left behind",
    )


def refuse_overwriting(out: str | os.PathLike, inputs: Iterable[str | os.PathLike]) -> None:
    """Raises DataError when ``out`` is one of the files that are read, under whatever name."""
    for path in inputs:
        if os.path.exists(out) and os.path.exists(path) and os.path.samefile(out, path):
            raise DataError("the output is an input and would be lost", file=out, remedy="write to another path")


def refuse_one_path_twice(outs: Iterable[str | os.PathLike]) -> None:
    """Raises DataError when two outputs of a command are one file: the later one would replace the earlier one."""
    seen: set[str] = set()
    for out in outs:
        path = os.path.realpath(out)
        if path in seen:
            raise DataError(
                "two outputs would be this one file", file=out, remedy="write them in several calls, or to other paths"
            )
        seen.add(path)


def file_in_the_way(directory: str | os.PathLike) -> Path | None:
    """The file that stands where a directory, or one above it, is to be made; None where it can be made."""
    path = Path(directory).absolute()
    return next((place for place in (path, *path.parents) if place.exists() and not place.is_dir()), None)
