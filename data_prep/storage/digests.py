# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""A map from digests to integers that moves to a temporary file on disk when it grows: bounded memory."""

import hashlib
import os
import sqlite3
import tempfile

DIGEST_BYTES = 16
MEMORY_ENTRIES = 1_000_000
"""Entries kept in memory (about 120 MB) before the map moves to disk."""


def digest(*parts: str) -> bytes:
    """128-bit digest of several texts; ``("a", "b")`` and ``("ab", "")`` differ."""
    state = hashlib.blake2b(digest_size=DIGEST_BYTES)
    for part in parts:
        data = part.encode("utf-8", "surrogatepass")
        state.update(len(data).to_bytes(8, "little"))
        state.update(data)
    return state.digest()


class DigestMap:
    """``get`` and ``set`` of 64-bit integers by digest. Use as a context manager: the file is deleted on exit."""

    def __init__(self, memory_entries: int = MEMORY_ENTRIES) -> None:
        self._memory_entries = memory_entries
        self._memory: dict[bytes, int] = {}
        self._database: sqlite3.Connection | None = None

    def __enter__(self) -> "DigestMap":
        return self

    def __exit__(self, *exception: object) -> None:
        if self._database is not None:
            self._database.close()

    def get(self, key: bytes) -> int | None:
        """Value of a digest, or None."""
        if self._database is None:
            return self._memory.get(key)
        row = self._database.execute("SELECT value FROM entries WHERE key = ?", (key,)).fetchone()
        return None if row is None else row[0]

    def set(self, key: bytes, value: int) -> None:
        """Stores a value; it must fit in a signed 64-bit integer."""
        if self._database is None:
            self._memory[key] = value
            if len(self._memory) > self._memory_entries:
                self._move_to_disk()
        else:
            self._database.execute("INSERT OR REPLACE INTO entries VALUES (?, ?)", (key, value))

    def _move_to_disk(self) -> None:
        handle, name = tempfile.mkstemp(prefix="data_prep-", suffix=".sqlite")
        os.close(handle)
        self._database = sqlite3.connect(name, isolation_level=None)
        os.unlink(name)
        self._database.execute("PRAGMA journal_mode = OFF")
        self._database.execute("PRAGMA synchronous = OFF")
        self._database.execute("PRAGMA cache_size = -65536")
        self._database.execute("CREATE TABLE entries (key BLOB PRIMARY KEY, value INTEGER) WITHOUT ROWID")
        self._database.execute("BEGIN")
        self._database.executemany("INSERT INTO entries VALUES (?, ?)", self._memory.items())
        self._memory.clear()
