# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""The command that grades a file."""

import json

import pyarrow
import pyarrow.parquet
import pytest

from recipe.htpo.verify import main

ROWS = [
    {"response": r"\boxed{5}", "ground_truth": "5", "data_source": "a", "label": 1, "kind": "x"},
    {"response": r"\boxed{6}", "ground_truth": "5", "data_source": "a", "label": 1, "kind": "y"},
    {"response": r"\boxed{7}", "ground_truth": "7", "data_source": "b", "label": 0, "kind": "y"},
    {"response": "no answer", "ground_truth": "7", "data_source": "b", "label": 0, "kind": "y"},
]


def write(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return str(path)


def test_counts_by_category(tmp_path, capsys):
    source, table, output = write(tmp_path / "in.jsonl", ROWS), tmp_path / "table.json", tmp_path / "out.jsonl"
    arguments = [source, "--expected", "label", "--category", "kind", "--json", str(table), "--output", str(output)]
    assert main(arguments) == 0
    result = json.loads(table.read_text())
    assert result["groups"]["x"]["false_negatives"] == 0
    assert (result["groups"]["y"]["false_negatives"], result["groups"]["y"]["false_positives"]) == (1, 1)
    assert result["all"]["rows"] == 4 and result["all"]["correct"] == 2
    assert result["all"]["reasons"]["extraction"] == 1
    verdicts = [json.loads(line)["verdict"] for line in output.read_text().splitlines()]
    assert [verdict["reason"] for verdict in verdicts] == ["equal", "not_equal", "equal", "extraction"]
    assert "accepted (FP)" in capsys.readouterr().out


def test_groups_by_data_source_without_labels(tmp_path, capsys):
    assert main([write(tmp_path / "in.jsonl", ROWS), "--quiet"]) == 0
    printed = capsys.readouterr().out
    assert "by data_source" in printed and "50.0%" in printed and "FN" not in printed


def test_parquet_with_verls_struct_and_a_list(tmp_path):
    rows = [{"text": r"\boxed{2, 1}", "reward_model": {"style": "rule", "ground_truth": ["1", "2"]}}]
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), tmp_path / "in.parquet")
    table = tmp_path / "table.json"
    arguments = ["--response", "text", "--ground-truth", "reward_model.ground_truth", "--json", str(table), "--quiet"]
    assert main([str(tmp_path / "in.parquet"), *arguments]) == 0
    assert json.loads(table.read_text())["all"]["correct"] == 1


def test_a_verifier_option(tmp_path):
    source = write(tmp_path / "in.jsonl", [{"response": r"\boxed{25\%}", "ground_truth": "25"}])
    for setting, correct in (("percent_either=true", 1), ("percent_either=false", 0)):
        assert main([source, "--set", setting, "--json", str(tmp_path / "t.json"), "--quiet"]) == 0
        assert json.loads((tmp_path / "t.json").read_text())["all"]["correct"] == correct


@pytest.mark.parametrize(
    "text, arguments, message",
    [
        ('{"response": "x", "ground_truth": "1"}\n{oops\n', [], "line 2: no JSON"),
        ("[1]\n", [], "line 1: a JSON object is needed"),
        ("", [], "holds no rows"),
        ('{"answer": "x", "ground_truth": "1"}\n', [], "no column 'response'; it has: answer, ground_truth"),
        ('{"response": 3, "ground_truth": "1"}\n', [], "must be text, got int"),
        ('{"response": "x", "ground_truth": "1"}\n', ["--set", "percent=1"], "unknown verifier option percent; valid"),
        ('{"response": "x", "ground_truth": "1"}\n', ["--set", "percent"], "needs OPTION=VALUE"),
        ('{"response": "x", "ground_truth": "1"}\n', ["--expected", "label"], "no column 'label'"),
    ],
)
def test_errors_say_what_to_change(tmp_path, capsys, text, arguments, message):
    path = tmp_path / "in.jsonl"
    path.write_text(text)
    assert main([str(path), "--quiet", *arguments]) == 2
    assert message in capsys.readouterr().err


def test_missing_file_and_bad_parquet(tmp_path, capsys):
    assert main([str(tmp_path / "none.jsonl")]) == 2
    (tmp_path / "bad.parquet").write_text("x")
    assert main([str(tmp_path / "bad.parquet")]) == 2
    printed = capsys.readouterr().err
    assert "no such file" in printed and "no parquet file" in printed


def test_unusable_ground_truths_are_reported(tmp_path, capsys):
    source = write(tmp_path / "in.jsonl", [{"response": r"\boxed{1}", "ground_truth": None}])
    assert main([source, "--quiet"]) == 0
    assert "1 rows have no usable ground truth" in capsys.readouterr().err
