# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""Commands that would quietly write wrong rows or lose a file."""

import fcntl
from collections.abc import Callable
from pathlib import Path

import pytest
from data_support import read, write_contract

from data_prep.cli import main
from data_prep.files import atomic_output
from data_prep.selection import Selection, select


@pytest.mark.parametrize(("rows", "written"), [(None, 12), (5, 5), (40, 12)])
def test_rows_limits_the_strata_together(tmp_path: Path, rows: int | None, written: int) -> None:
    path = write_contract(tmp_path / "train.parquet", [f"problem {i}" for i in range(30)])
    selection = Selection(stratify="level", per_stratum=4, rows=rows)
    counts = select(path, tmp_path / "out.parquet", selection)
    assert counts["written"] == written == len(read(tmp_path / "out.parquet"))
    assert counts["not drawn"] == 30 - written


@pytest.mark.parametrize(
    "command",
    [
        "select {0} --out {0}",
        "mix {0} {1} --out {1}",
        "decontaminate {0} --against {1} --out {0}",
        "decontaminate {0} --against {1} --report {1}",
        "decontaminate {0} --against {1} --clean-evals {2}",
    ],
)
def test_output_over_an_input_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture, command: str) -> None:
    train = write_contract(tmp_path / "train" / "train.parquet", ["one", "two"], name="train")
    evaluation = write_contract(tmp_path / "eval" / "test.parquet", ["three"], name="eval")
    before = train.read_bytes(), evaluation.read_bytes()
    assert main(command.format(train, evaluation, tmp_path).split()) == 1
    assert "the output is an input" in "".join(capsys.readouterr())
    assert (train.read_bytes(), evaluation.read_bytes()) == before


def test_one_file_is_not_train_and_test(
    tmp_path: Path, write_jsonl: Callable[..., Path], capsys: pytest.CaptureFixture
) -> None:
    source = write_jsonl([{"question": "1 + 1?", "answer": "#### 2"}], "train.jsonl")
    arguments = ["build", "gsm8k", "--source", str(source), "--out", str(tmp_path / "data")]
    assert main(arguments) == 1
    assert "--split" in "".join(capsys.readouterr())
    assert not (tmp_path / "data").exists()
    assert main([*arguments, "--split", "train"]) == 0
    assert [path.name for path in (tmp_path / "data" / "gsm8k").glob("*.parquet")] == ["train.parquet"]


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
