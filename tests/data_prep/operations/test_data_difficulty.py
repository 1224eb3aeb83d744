# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""Difficulty as data: verdict files of every origin, ranges, curriculum order, disjoint splits, measured pass rates."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from data_support import read, write_contract

from data_prep.command_line.main import main
from data_prep.operations import passrate
from recipe.htpo import verify

Write = Callable[..., Path]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return write_contract(tmp_path / "data.parquet", [f"What is {i} plus 0?" for i in range(12)])


def rates_of(path: Path) -> list[float | None]:
    return [row["extra_info"]["pass_rate"] for row in read(path)]


def test_verdicts_of_the_verify_command(data: Path, tmp_path: Path, write_jsonl: Write) -> None:
    """Row i gets i % 3 right responses out of two, graded by ``recipe.htpo.verify``, whose file is read as it is."""
    lines = [
        {
            "response": f"\\boxed{{{row['reward_model']['ground_truth'] if answer < i % 3 else 99}}}",
            "score": 1,  # of another grader: the verdict counts
            "ground_truth": row["reward_model"]["ground_truth"],
            "data_source": row["data_source"],
            "extra_info": {"id": row["extra_info"]["id"]},
        }
        for i, row in enumerate(read(data))
        for answer in range(2)
    ]
    verdicts = tmp_path / "verdicts.jsonl"
    assert verify.main([str(write_jsonl(lines)), "--output", str(verdicts), "--quiet"]) == 0
    assert main(["select", str(data), "--verdicts", str(verdicts), "--out", str(tmp_path / "out.parquet")]) == 0
    assert rates_of(tmp_path / "out.parquet") == [0, 0.5, 1] * 4


def mixed_splits(tmp_path: Path) -> Path:
    """Index 0 and 1 of a train and of a test split of one set."""
    paths = []
    for split in ("train", "test"):
        source = tmp_path / f"{split}.jsonl"
        source.write_text("".join(json.dumps({"problem": f"{split} {i}", "answer": i}) + "\n" for i in range(2)))
        command = ["build", "--source", str(source), "--name", "set", "--split", split, "--out", str(tmp_path)]
        assert main(command) == 0
        paths.append(str(tmp_path / "set" / f"{split}.parquet"))
    assert main(["mix", *paths, "--no-shuffle", "--out", str(tmp_path / "mixed.parquet")]) == 0
    return tmp_path / "mixed.parquet"


def test_verdicts_by_index_know_the_split(tmp_path: Path, write_jsonl: Write, capsys: pytest.CaptureFixture) -> None:
    mixed, out = mixed_splits(tmp_path), tmp_path / "out.parquet"
    lines = [
        {"data_source": "set", "split": split, "index": index, "acc": split == "test" and index == 1}
        for split in ("train", "test")
        for index in range(2)
    ]
    command = ["select", str(mixed), "--verdict-key", "index", "--out", str(out), "--force", "--verdicts"]
    assert main([*command, str(write_jsonl(lines, "verdicts.jsonl"))]) == 0
    assert rates_of(out) == [0, 0, 0, 1]
    for line in lines:
        line.pop("split")
    assert main([*command, str(write_jsonl(lines, "none.jsonl"))]) == 1
    assert "write the split on every verdict" in capsys.readouterr().err
    lines[0]["split"] = "train"
    assert main([*command, str(write_jsonl(lines, "some.jsonl"))]) == 1
    assert "some lines have a split and some have none" in capsys.readouterr().err


@pytest.fixture
def rated(tmp_path: Path, write_jsonl: Write) -> Path:
    rates = [0.5, None, 0.0, 1.0, 0.25, 0.5, 0.75, None]
    records = [{"problem": f"p{i}", "answer": i, "solved": rate} for i, rate in enumerate(rates)]
    source = write_jsonl(records, "rated.jsonl")
    assert main(["build", "--source", str(source), "--pass-rate", "solved", "--out", str(tmp_path)]) == 0
    return tmp_path / "rated" / "train.parquet"


@pytest.mark.parametrize(
    ("order", "expected"),
    [
        ("pass_rate", [0.0, 0.25, 0.5, 0.5, 0.75, 1.0, None, None]),
        ("-pass_rate", [1.0, 0.75, 0.5, 0.5, 0.25, 0.0, None, None]),
    ],
)
def test_curriculum_order(rated: Path, tmp_path: Path, order: str, expected: list[float | None]) -> None:
    out = tmp_path / "out.parquet"
    assert main(["select", str(rated), f"--order={order}", "--out", str(out)]) == 0
    assert rates_of(out) == expected
    halves = [row["extra_info"]["problem"] for row in read(out) if row["extra_info"]["pass_rate"] == 0.5]
    assert halves == ["p0", "p5"]


def test_a_text_column_of_numbers_is_sorted_by_size(tmp_path: Path, write_jsonl: Write) -> None:
    records = [{"problem": f"p{i}", "answer": i, "level": level} for i, level in enumerate([10, 9, 2])]
    assert main(["build", "--source", str(write_jsonl(records, "levels.jsonl")), "--out", str(tmp_path)]) == 0
    out = tmp_path / "out.parquet"
    assert main(["select", str(tmp_path / "levels" / "train.parquet"), "--order", "level", "--out", str(out)]) == 0
    assert [row["extra_info"]["level"] for row in read(out)] == ["2", "9", "10"]


def test_range_and_complement_are_a_disjoint_split(rated: Path, tmp_path: Path) -> None:
    out, rest = tmp_path / "mid.parquet", tmp_path / "rest.parquet"
    command = ["select", str(rated), "--pass-rate", "0.2", "0.8", "--out", str(out), "--complement", str(rest)]
    assert main(command) == 0
    assert rates_of(out) == [0.5, 0.25, 0.5, 0.75] and rates_of(rest) == [None, 0.0, 1.0, None]
    ids = [{row["extra_info"]["id"] for row in read(path)} for path in (out, rest)]
    assert not ids[0] & ids[1] and len(ids[0] | ids[1]) == 8
    drawn, others = tmp_path / "drawn.parquet", tmp_path / "others.parquet"
    assert main(["select", str(rated), "--rows", "3", "--out", str(drawn), "--complement", str(others)]) == 0
    assert [len(read(path)) for path in (drawn, others)] == [3, 5]


def test_an_empty_complement_is_refused_before_anything_is_written(
    rated: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    out, rest = tmp_path / "all.parquet", tmp_path / "rest.parquet"
    assert main(["select", str(rated), "--out", str(out), "--complement", str(rest)]) == 1
    assert "none is left for the complement; nothing was written" in capsys.readouterr().err
    assert not out.exists() and not rest.exists()


@pytest.mark.parametrize("target", ["rated", "mid"])
def test_a_complement_never_overwrites(rated: Path, tmp_path: Path, capsys: pytest.CaptureFixture, target: str) -> None:
    out = tmp_path / "mid.parquet"
    rest = rated if target == "rated" else out
    assert main(["select", str(rated), "--rows", "3", "--out", str(out), "--complement", str(rest)]) == 1
    assert ("is an input" if target == "rated" else "are one file") in capsys.readouterr().err


def test_passrate_fills_in_what_the_evaluation_found(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    """The evaluation's part is played by a function that writes its file; called again, it is asked to go on."""
    calls: list[list[str]] = []

    def evaluate(arguments: list[str]) -> int:
        calls.append(arguments)
        if arguments[0] == "broken":
            return 2
        rows = [row["extra_info"]["id"] for row in read(data)]
        out = Path(arguments[-1].removeprefix("out="))
        out.mkdir(exist_ok=True)
        acc = [float(sample < i % 5) for i, _ in enumerate(rows) for sample in range(4)]
        pq.write_table(pa.table({"id": [row for row in rows for _ in range(4)], "acc": acc}), out / "responses.parquet")
        return 0

    module = ModuleType("evaluation")
    module.main = evaluate  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, passrate.EVALUATION, module)
    out = tmp_path / "rated.parquet"
    command = ["passrate", str(data), "--model", "M", "--out", str(out), "n=4", "temperature=1"]
    for _ in range(2):
        assert main(command) == 0
    assert calls == [["M", str(data), "n=4", "temperature=1", f"out={tmp_path / 'rated.responses'}"]] * 2
    assert rates_of(out) == [(i % 5) / 4 for i in range(12)]
    assert main(["passrate", str(data), "--model", "broken", "--out", str(tmp_path / "b.parquet")]) == 1
    assert "the evaluation failed" in capsys.readouterr().err
    assert main([*command, "out=x"]) == 1
