# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""Commands in a row, and commands that would quietly write wrong rows or lose a file."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from data_support import write_contract

from data_prep.command_line.main import main


def test_commands(tmp_path: Path, parts: list[Path], capsys: pytest.CaptureFixture) -> None:
    mixed, few = tmp_path / "mixed.parquet", tmp_path / "few.parquet"
    assert main(["mix", f"{parts[0]}=0.5", f"{parts[1]}=0.5", "--rows", "20", "--out", str(mixed)]) == 0
    assert main(["select", str(mixed), "--where", "data_source=a", "--rows", "4", "--out", str(few)]) == 0
    conflicts = tmp_path / "conflicts.jsonl"
    assert main(["stats", str(few), "--conflicts", str(conflicts)]) == 0
    assert "rows                4" in capsys.readouterr().out
    assert conflicts.read_text() == ""
    assert main(["mix", f"{parts[0]}=x", "--out", str(mixed)]) == 1
    assert "'x' is no weight" in capsys.readouterr().err


@pytest.mark.parametrize(
    "command",
    [
        "select {0} --out {0}",
        "mix {0} {1} --out {1}",
        "decontaminate {0} --against {1} --out {0}",
        "decontaminate {0} --against {1} --report {1}",
        "decontaminate {0} --against {1} --clean-evals {2}",
        "stats {0} --conflicts {0}",
    ],
)
def test_output_over_an_input_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture, command: str) -> None:
    train = write_contract(tmp_path / "train" / "train.parquet", ["one", "two"], name="train")
    evaluation = write_contract(tmp_path / "eval" / "test.parquet", ["three"], name="eval")
    before = train.read_bytes(), evaluation.read_bytes()
    assert main(command.format(train, evaluation, tmp_path).split()) == 1
    assert "the output is an input" in "".join(capsys.readouterr())
    assert (train.read_bytes(), evaluation.read_bytes()) == before


def test_two_outputs_of_one_path_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    """Two collections hold a set of one name: the second clean file would replace the first."""
    train = write_contract(tmp_path / "train" / "train.parquet", ["one", "two"], name="train")
    evals = [
        write_contract(tmp_path / folder / "amc23" / "test.parquet", [problem], name="eval")
        for folder, problem in (("a", "three"), ("b", "four"))
    ]
    command = ["decontaminate", str(train), "--against", *map(str, evals)]
    clean = tmp_path / "clean"
    assert main([*command, "--clean-evals", str(clean)]) == 1
    assert f"error: {clean / 'amc23' / 'test.parquet'}: two outputs would be" in "".join(capsys.readouterr())
    assert not clean.exists()
    assert main([*command, "--out", str(tmp_path / "x"), "--report", str(clean / ".." / "x")]) == 1
    assert "two outputs would be" in capsys.readouterr().err


def test_one_file_is_not_train_and_test(
    tmp_path: Path, write_jsonl: Callable[..., Path], capsys: pytest.CaptureFixture
) -> None:
    source = write_jsonl([{"question": "1 + 1?", "answer": "#### 2"}], "train.jsonl")
    arguments = ["build", "gsm8k", "--source", str(source), "--out", str(tmp_path / "data")]
    assert main(arguments) == 1
    assert "--split" in "".join(capsys.readouterr())
    assert not (tmp_path / "data").exists()
    assert main([*arguments, "--split", "test"]) == 1
    assert "the file is named like train, not test, of 'gsm8k'" in capsys.readouterr().err
    assert main([*arguments, "--split", "train"]) == 0
    assert [path.name for path in (tmp_path / "data" / "gsm8k").glob("*.parquet")] == ["train.parquet"]


@pytest.mark.parametrize(
    ("command", "says"),
    [
        ("mix {0}=1 --rows -5 --out {out}", "argument --rows: -5 is not positive"),
        ("mix {0}=1 --rows x --out {out}", "argument --rows: 'x' is no integer"),
        ("mix {0} --seed -1 --out {out}", "argument --seed: -1 is negative"),
        ("mix {0}=nan --rows 5 --out {out}", "{0}: the weight nan is no positive number. Remedy: write FILE=0.7"),
        ("mix {0}=inf --rows 5 --out {out}", "{0}: the weight inf is no positive number"),
        ("mix {0}=-1 --rows 5 --out {out}", "{0}: the weight -1 is no positive number"),
        ("select {0} --rows 0 --out {out}", "argument --rows: 0 is not positive"),
        ("select {0} --stratify level --per-stratum -1 --out {out}", "argument --per-stratum: -1 is not positive"),
        ("build arithmetic --train-rows -3 --out {out}", "argument --train-rows: -3 is not positive"),
        ("build arithmetic --terms 0 --out {out}", "arithmetic: terms must be numbers of terms out of (2, 3, 4"),
        ("build arithmetic --terms 2 --train-rows 999 --out {out}", "Remedy: change --terms or --train-rows"),
        ("build arithmetic --terms 2,x --out {out}", "argument --terms: 'x' is no integer"),
        ("build math --pass-rate-of 0 --out {out}", "argument --pass-rate-of: 0 is not positive"),
    ],
)
def test_numbers_that_cannot_be_meant(
    tmp_path: Path, parts: list[Path], capsys: pytest.CaptureFixture, command: str, says: str
) -> None:
    out = tmp_path / "out"
    try:
        code = main(command.format(parts[0], out=out).split())
    except SystemExit as usage:
        code = usage.code
    assert code in (1, 2) and says.format(parts[0]) in capsys.readouterr().err
    assert not out.exists()


def test_a_reader_that_goes_away_ends_it_quietly() -> None:
    command = f"set -o pipefail; {sys.executable} -m data_prep list | true"
    ended = subprocess.run(["bash", "-c", command], capture_output=True, text=True)
    assert (ended.returncode, ended.stderr) == (141, "")


@pytest.mark.parametrize("source", ["data/missing.jsonl", "./missing", "data/missing.csv.gz"])
def test_a_source_like_a_path_is_no_hub_name(tmp_path: Path, capsys: pytest.CaptureFixture, source: str) -> None:
    assert main(["build", "gsm8k", "--source", source, "--split", "train", "--out", str(tmp_path / "out")]) == 1
    assert f"error: no such file or folder: {source}. Remedy: check --source" in capsys.readouterr().err
