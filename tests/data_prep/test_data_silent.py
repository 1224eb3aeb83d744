# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""Commands that would quietly write wrong rows or lose a file."""

import fcntl
import json
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from data_support import read, write_contract

from data_prep.command_line.main import main
from data_prep.operations.select import Selection, select
from data_prep.operations.shingles import shingles
from data_prep.storage.files import atomic_output


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


def test_verdicts_by_index_label_no_row_of_another_set(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    parts = [
        write_contract(tmp_path / f"{name}.parquet", [f"{name} {i}" for i in range(3)], name=name) for name in "ab"
    ]
    mixed, out, verdicts = tmp_path / "mixed.parquet", tmp_path / "out.parquet", tmp_path / "verdicts.jsonl"
    assert main(["mix", *map(str, parts), "--out", str(mixed)]) == 0
    command = ["select", str(mixed), "--verdicts", str(verdicts), "--verdict-key", "index", "--out", str(out)]
    verdicts.write_text(json.dumps({"index": 0, "acc": 1}))
    assert main(command) == 1
    assert "without its data_source" in capsys.readouterr().err
    verdicts.write_text(json.dumps({"index": 0, "acc": 1, "data_source": "a"}))
    assert main(command) == 0
    rated = [row["extra_info"]["problem"] for row in read(out) if row["extra_info"]["pass_rate"] is not None]
    assert rated == ["a 0"]


def test_verdicts_for_rows_of_one_index_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    path, verdicts = tmp_path / "two.parquet", tmp_path / "verdicts.jsonl"
    table = pq.read_table(write_contract(tmp_path / "one.parquet", ["p", "q"]))
    pq.write_table(pa.concat_tables([table, table]), path)
    verdicts.write_text(json.dumps({"index": 0, "acc": 1, "data_source": "set"}))
    command = ["select", str(path), "--verdicts", str(verdicts), "--verdict-key", "index", "--out", str(tmp_path / "o")]
    assert main(command) == 1
    assert "index 0 of set is in row 0 and in row 2" in capsys.readouterr().err


def test_one_id_for_two_problems_is_named(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    source, config = tmp_path / "rows.jsonl", tmp_path / "set.yaml"
    source.write_text("".join(json.dumps({"problem": f"p{i}", "answer": "1", "key": "k"}) + "\n" for i in range(2)))
    config.write_text("name: set\nsource: rows.jsonl\ncolumns: {id: key}\n")
    assert main(["build", "--config", str(config), "--out", str(tmp_path / "out")]) == 1
    assert "rows.jsonl, row 1: id 'set/k' is of two different rows, here and in row 0" in capsys.readouterr().err


@pytest.mark.parametrize("suffix", ["parquet", "jsonl"])
def test_copies_across_shards_are_removed(tmp_path: Path, suffix: str) -> None:
    for shard, numbers in enumerate([(0, 1, 1), (1, 2, 0)]):
        records = [{"problem": f"p{i}", "answer": str(i)} for i in numbers]
        path = tmp_path / f"deepscaler-{shard}.{suffix}"
        if suffix == "parquet":
            pq.write_table(pa.Table.from_pylist(records), path)
        else:
            path.write_text("".join(json.dumps(record) + "\n" for record in records))
    out = tmp_path / "out"
    assert main(["build", "deepscaler", "--source", str(tmp_path), "--out", str(out)]) == 0
    rows = read(out / "deepscaler" / "train.parquet")
    assert [row["extra_info"]["problem"] for row in rows] == ["p0", "p1", "p2"]
    assert [row["extra_info"]["source_row"] for row in rows] == [0, 1, 4]


def test_short_problems_are_compared_as_a_whole(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    train = write_contract(tmp_path / "train.parquet", ["Compute $1 + 2$.", "Compute 1 - 2", "other"], name="train")
    evaluation = write_contract(tmp_path / "test.parquet", ["compute $1+2$", "Compute 2 - 1", "..."], name="eval")
    report, out = tmp_path / "report.jsonl", tmp_path / "clean.parquet"
    command = ["decontaminate", str(train), "--against", str(evaluation), "--report", str(report), "--out", str(out)]
    assert main(command) == 0
    text = capsys.readouterr().out
    assert "1 of 3 problems contaminated" in text and "2 shorter than 12 words" in text
    assert "1 could not be compared" in text and "0 problems remaining" in text
    (line,) = map(json.loads, report.read_text().splitlines())
    assert (line["data_source"], line["index"], line["kind"]) == ("eval", 0, "exact")
    assert [match["row"] for match in line["matches"]] == [0]
    assert [row["extra_info"]["problem"] for row in read(out)] == ["Compute 1 - 2", "other"]


REWORDED = (
    "A farmer sells forty two apples on Monday and then half as many pears on every day of the week",
    "A farmer sold forty two apples on Monday and then half as many plums on every day of the week",
)


def test_near_duplicates_are_found_in_a_folder_by_default(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    """Two changed words leave no run of twelve; the other rows are no near duplicates."""
    other = "A farmer sells ten cows and buys a tractor with the money that was left over"
    train = write_contract(tmp_path / "data" / "mine" / "train.parquet", [other, REWORDED[0]], name="mine")
    evaluation = write_contract(tmp_path / "data" / "bench" / "test.parquet", [REWORDED[1], "x"], name="bench")
    report, out = tmp_path / "report.jsonl", tmp_path / "clean.parquet"
    command = ["decontaminate", str(train), "--report", str(report), "--out", str(out), "--near", "0.6"]
    assert main(command) == 0
    text = capsys.readouterr().out
    assert f"{evaluation}: 1 of 2 problems contaminated" in text and "1 of them are near duplicates" in text
    (line,) = map(json.loads, report.read_text().splitlines())
    runs = [shingles(problem, 2) for problem in REWORDED]
    assert line["near"] == round(len(runs[0] & runs[1]) / len(runs[0] | runs[1]), 4) and line["share"] < 0.5
    assert [row["extra_info"]["problem"] for row in read(out)] == [other]
    assert main([*command[:2], "--against", str(tmp_path / "data" / "mine")]) == 1
    assert "no evaluation file (test.parquet) here" in capsys.readouterr().err
