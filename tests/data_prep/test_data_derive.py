# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""Files made from files: decontaminate, mix, select."""

import json
from collections import Counter
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from data_support import read, write_contract

from data_prep.command_line.main import main
from data_prep.errors import DataError
from data_prep.operations import mix as mix_module
from data_prep.operations.decontaminate import find_overlap
from data_prep.operations.mix import Part, mix
from data_prep.operations.select import Selection, select
from data_prep.operations.shingles import shingles, words
from data_prep.sources.filters import Condition
from data_prep.storage.provenance import read_provenance

LONG = "A farmer sells forty two apples on Monday and then half as many pears on every day of the following week"


def problems_of(path: Path) -> list[str]:
    return [row["extra_info"]["problem"] for row in read(path)]


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


@pytest.fixture
def parts(tmp_path: Path) -> list[Path]:
    return [
        write_contract(tmp_path / f"{name}.parquet", [f"{name} {i}" for i in range(size)], name=name)
        for name, size in (("a", 50), ("b", 30))
    ]


@pytest.mark.parametrize("bucket", [7, 1000])
def test_mix_everything(tmp_path: Path, parts: list[Path], monkeypatch: pytest.MonkeyPatch, bucket: int) -> None:
    monkeypatch.setattr(mix_module, "BUCKET_ROWS", bucket)
    everything = problems_of(parts[0]) + problems_of(parts[1])
    outs = {}
    for name, options in {"one": {}, "two": {}, "other": {"seed": 1}, "plain": {"shuffle": False}}.items():
        mix([Part(path) for path in parts], tmp_path / name, **options)
        outs[name] = problems_of(tmp_path / name)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()
    assert sorted(outs["one"]) == sorted(outs["other"]) == sorted(everything)
    assert outs["one"] != everything and outs["one"] != outs["other"]
    assert outs["plain"] == everything


def test_mix_by_weight(tmp_path: Path, parts: list[Path]) -> None:
    out = tmp_path / "out.parquet"
    taken = mix([Part(parts[0], 1.0), Part(parts[1], 3.0)], out, rows=40)
    assert list(taken.values()) == [10, 30]
    rows = problems_of(out)
    assert len(set(rows)) == 40 and Counter(row[0] for row in rows) == {"a": 10, "b": 30}


def test_mix_refusals(tmp_path: Path, parts: list[Path]) -> None:
    out = tmp_path / "out.parquet"
    with pytest.raises(DataError, match="31 rows asked, the file has 30"):
        mix([Part(parts[0], 1.0), Part(parts[1], 1.0)], out, rows=62)
    with pytest.raises(DataError, match=r"id 'a/\w+' occurs twice"):
        mix([Part(parts[0]), Part(parts[0])], out)
    with pytest.raises(DataError, match="weights need --rows"):
        mix([Part(parts[0], 1.0), Part(parts[1])], out, rows=5)
    assert not out.exists()


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
