# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""Evaluation problems found in a training file: by phrases, as a whole, and as near duplicates."""

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from data_support import problems_of, read, write_contract

from data_prep.command_line.main import main
from data_prep.errors import DataError
from data_prep.operations.decontaminate import find_overlap
from data_prep.operations.shingles import shingles, words
from data_prep.storage.provenance import read_provenance

LONG = "A farmer sells forty two apples on Monday and then half as many pears on every day of the following week"


def test_words_drop_notation_and_split_chinese() -> None:
    assert words(r"Let $x_1 = \frac{3}{4}$; FIND \left(x\right)!") == ["let", "x", "1", "3", "4", "find", "x"]
    assert words("求 m+n 的值") == ["求", "m", "n", "的", "值"]
    assert shingles("a b c d", 3) == {"a b c", "b c d"}
    assert shingles("a b", 3) == set()


@pytest.fixture
def contaminated(tmp_path: Path) -> tuple[Path, Path]:
    halves = LONG.split()
    train = [
        "Completely different text about triangles with sides of length three and four and some other number five",
        f"{LONG}. Find the total.",
        " ".join(halves[:14]) + " and nothing more is sold by this farmer in the rest of that year",
    ]
    evals = [
        f"{LONG}. How many are sold?",
        "An unrelated question on primes below one hundred ending in seven",
    ]
    return (
        write_contract(tmp_path / "train" / "train.parquet", train, name="train"),
        write_contract(tmp_path / "eval" / "test.parquet", evals, name="eval"),
    )


def test_overlap(contaminated: tuple[Path, Path]) -> None:
    train, evaluation = contaminated
    report = find_overlap(train, [evaluation], n=6, threshold=0.5)
    (problem,) = report.contaminated()
    expected = shingles(f"{LONG}. How many are sold?", 6)
    held = {s for row in problems_of(train) for s in shingles(row, 6)} & expected
    assert problem.row == 0 and problem.share == len(held) / len(expected)
    assert [match.row for match in problem.matches] == [1]
    assert report.rows_to_remove() == {1}
    everything = find_overlap(train, [evaluation], n=6, threshold=0.01)
    assert [match.row for match in everything.contaminated()[0].matches] == [1, 2]


def test_decontaminate_command(contaminated: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    train, evaluation = contaminated
    clean, report, evals = tmp_path / "clean.parquet", tmp_path / "report.jsonl", tmp_path / "evals"
    arguments = ["decontaminate", str(train), "--against", str(evaluation), "--n", "6", "--out", str(clean)]
    assert main([*arguments, "--report", str(report), "--clean-evals", str(evals)]) == 0
    out = capsys.readouterr().out
    assert "1 of 2 problems contaminated" in out and "1 of 3 rows match" in out and "0 problems remaining" in out
    assert problems_of(clean) == [problems_of(train)[0], problems_of(train)[2]]
    assert problems_of(evals / "eval" / "test.parquet") == problems_of(evaluation)[1:]
    (line,) = map(json.loads, report.read_text().splitlines())
    assert line["answer"] == "0" and [match["answer"] for match in line["matches"]] == ["1"]
    provenance = read_provenance(clean)
    assert provenance is not None and provenance["rows"] == {"read": 3, "removed": 1, "written": 2}
    assert provenance["recipe"]["inputs"][0]["made_by"]["recipe"]["command"] == "build"


@pytest.mark.parametrize(("n", "threshold"), [(0, 0.5), (3, 0.0), (3, 1.5)])
def test_bad_decontamination_options(contaminated: tuple[Path, Path], n: int, threshold: float) -> None:
    with pytest.raises(DataError, match="out of range"):
        find_overlap(contaminated[0], [contaminated[1]], n, threshold)


def test_foreign_file_is_refused(tmp_path: Path, contaminated: tuple[Path, Path]) -> None:
    path = tmp_path / "foreign.parquet"
    pq.write_table(pa.table({"text": ["a"]}), path)
    with pytest.raises(DataError, match="not a file of the contract: column 'data_source' is missing"):
        find_overlap(path, [contaminated[1]])


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
