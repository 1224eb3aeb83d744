# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""Atomic output: whole under its name or not there, also with several writers and on a full disk."""

import fcntl
import os
import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from data_support import sum_records

from data_prep.errors import DataError
from data_prep.operations.build import BuildOptions, build_split
from data_prep.sources.dataset import DataSet
from data_prep.storage.files import atomic_output


def test_a_writer_that_comes_late_leaves_the_finished_output_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another writer opens, writes and renames between this one's open and its lock."""
    path = tmp_path / "out"
    locks: list[int] = []

    def late(stream, operation: int, lock=fcntl.flock) -> None:
        locks.append(operation)
        if len(locks) == 1:
            with atomic_output(path) as other:
                other.write(b"first")
        lock(stream, operation)

    monkeypatch.setattr(fcntl, "flock", late)
    with atomic_output(path) as stream:
        assert path.read_bytes() == b"first"
        stream.write(b"second")
    assert path.read_bytes() == b"second"
    assert [entry.name for entry in tmp_path.iterdir()] == ["out"]


Write = Callable[..., Path]


def test_full_disk(tmp_path: Path, write_jsonl: Write) -> None:
    """A file size limit makes the kernel refuse the writes, as a full disk does."""
    source = write_jsonl([{"question": os.urandom(200).hex(), "answer": f"#### {i}"} for i in range(20_000)])
    limit = 1 << 20
    command = [sys.executable, "-m", "data_prep", "build", "gsm8k", "--split", "train"]
    result = subprocess.run(
        [*command, "--source", str(source), "--out", str(tmp_path / "out")],
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)),
        capture_output=True,
        text=True,
    )
    assert result.returncode == 1
    assert result.stderr.startswith("error: ") and "free space" in result.stderr
    assert result.stderr.count("\n") == 1
    assert list(tmp_path.glob("out/gsm8k/*")) == []


def test_two_writers_of_one_file(tmp_path: Path) -> None:
    path = tmp_path / "out.parquet"
    with atomic_output(path) as stream:
        stream.write(b"first")
        with pytest.raises(DataError, match="another process is writing"), atomic_output(path):
            raise AssertionError("the lock was not held")
    assert path.read_bytes() == b"first"


def test_unwritable_folder(tmp_path: Path, write_jsonl: Write, sums: DataSet) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="cannot write"):
        build_split(
            sums, "train", tmp_path / "file" / "out.parquet", BuildOptions(source=str(write_jsonl(sum_records(1))))
        )
