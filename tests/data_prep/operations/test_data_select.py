# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""Rows chosen by column, pass rate, length, evenly or at random."""

import json
from collections import Counter
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from data_support import problems_of, read, write_contract

from data_prep.command_line.main import main
from data_prep.errors import DataError
from data_prep.operations.select import Selection, select
from data_prep.sources.filters import Condition


def test_select_by_column_and_at_random(tmp_path: Path, parts: list[Path]) -> None:
    out = tmp_path / "out.parquet"
    counts = select(parts[0], out, Selection(where=(Condition.parse("level=0,2"),)))
    assert counts["not level=0,2"] == 17 and counts["written"] == 33
    assert {row["extra_info"]["level"] for row in read(out)} == {"0", "2"}
    drawn = []
    for seed in (0, 0, 1):
        assert select(parts[0], out, Selection(rows=20, seed=seed), force=True)["written"] == 20
        drawn.append(problems_of(out))
    assert drawn[0] == drawn[1] != drawn[2]
    assert drawn[0] == [problem for problem in problems_of(parts[0]) if problem in drawn[0]]
    with pytest.raises(DataError, match="no column 'difficulty'. Remedy: choose one of data_source"):
        select(parts[0], out, Selection(where=(Condition.parse("difficulty=1"),)), force=True)


def test_select_evenly_over_a_column(tmp_path: Path, parts: list[Path]) -> None:
    out = tmp_path / "out.parquet"
    select(parts[0], out, Selection(stratify="level", per_stratum=4))
    assert Counter(row["extra_info"]["level"] for row in read(out)) == {"0": 4, "1": 4, "2": 4}


def verdict_file(path: Path, parts: list[Path]) -> Path:
    """Four responses each for the first 20 rows; row i has i % 5 right ones."""
    rows = read(parts[0])[:20]
    lines = [
        {"id": row["extra_info"]["id"], "acc": response < i % 5, "score": 99}
        for i, row in enumerate(rows)
        for response in range(4)
    ]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


@pytest.mark.parametrize(("unmeasured", "written"), [("drop", 12), ("keep", 42)])
def test_select_by_measured_pass_rate(tmp_path: Path, parts: list[Path], unmeasured: str, written: int) -> None:
    out = tmp_path / "out.parquet"
    verdicts = verdict_file(tmp_path / "verdicts.jsonl", parts)
    selection = Selection(verdicts=verdicts, pass_rate=(0.2, 0.8), unmeasured=unmeasured)
    assert select(parts[0], out, selection)["written"] == written
    rates = Counter(row["extra_info"]["pass_rate"] for row in read(out))
    assert {rate: count for rate, count in rates.items() if rate is not None} == {0.25: 4, 0.5: 4, 0.75: 4}
    select(out, tmp_path / "even.parquet", Selection(pass_rate=(0, 1), stratify="pass_rate", bins=4, per_stratum=1))
    assert sorted(row["extra_info"]["pass_rate"] for row in read(tmp_path / "even.parquet")) == [0.25, 0.5, 0.75]


def test_verdicts_of_math_dapo_scores_in_parquet_by_index(tmp_path: Path, parts: list[Path]) -> None:
    verdicts = tmp_path / "verdicts.parquet"
    pq.write_table(
        pa.table({"data_source": ["a", "a", "a", "b"], "index": [0, 0, 1, 2], "score": [1.0, -1.0, -1.0, -1.0]}),
        verdicts,
    )
    out = tmp_path / "out.parquet"
    select(parts[0], out, Selection(verdicts=verdicts, verdict_key="index", pass_rate=(0, 1)))
    assert [row["extra_info"]["pass_rate"] for row in read(out)] == [0.5, 0.0]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ({"id": "a"}, "row 0: needs 'id' and one of verdict.correct, pass_rate, acc"),
        ({"uid": "a", "acc": 1}, "row 0: needs 'id'"),
        ({"id": "a", "acc": "yes"}, "acc is 'yes', not a number"),
        ({"id": "a", "pass_rate": 1.5}, "pass_rate is 1.5"),
        ({"id": "nobody", "acc": 1}, "no verdict matches a row"),
    ],
)
def test_bad_verdicts(tmp_path: Path, parts: list[Path], line: dict, message: str) -> None:
    verdicts = tmp_path / "verdicts.jsonl"
    verdicts.write_text(json.dumps(line) + "\n")
    with pytest.raises(DataError, match=message):
        select(parts[0], tmp_path / "out.parquet", Selection(verdicts=verdicts))


def test_select_by_length(tmp_path: Path, tokenizer_folder: Path) -> None:
    path = write_contract(tmp_path / "in.parquet", ["sum " * length for length in (5, 50, 8)])
    out = tmp_path / "out.parquet"
    counts = select(path, out, Selection(tokenizer=str(tokenizer_folder), max_prompt_length=11))
    assert counts["longer than 11 tokens"] == 1
    assert [len(problem.split()) for problem in problems_of(out)] == [5, 8]


@pytest.mark.parametrize("options", [{"pass_rate": (0.8, 0.2)}, {"tokenizer": "t"}, {"stratify": "level"}])
def test_bad_selection(options: dict) -> None:
    with pytest.raises(DataError):
        Selection(**options)


@pytest.mark.parametrize(("rows", "written"), [(None, 12), (5, 5), (40, 12)])
def test_rows_limits_the_strata_together(tmp_path: Path, rows: int | None, written: int) -> None:
    path = write_contract(tmp_path / "train.parquet", [f"problem {i}" for i in range(30)])
    selection = Selection(stratify="level", per_stratum=4, rows=rows)
    counts = select(path, tmp_path / "out.parquet", selection)
    assert counts["written"] == written == len(read(tmp_path / "out.parquet"))
    assert counts["not drawn"] == 30 - written


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
