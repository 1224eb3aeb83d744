# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""The command that grades a file."""

import errno
import json
import os

import pyarrow
import pyarrow.parquet
import pytest

from recipe.htpo import scorers
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


def test_the_data_source_may_stand_in_a_struct(tmp_path, capsys):
    row = {"response": r"\boxed{5}", "ground_truth": "5", "extra_info": {"set": "aime"}}
    assert main([write(tmp_path / "in.jsonl", [row]), "--quiet", "--data-source", "extra_info.set"]) == 0
    assert "aime" in capsys.readouterr().out


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
        ('{"response": "x", "ground_truth": "1"}\n', ["--data-source", "set"], "no column 'set'; it has: response"),
        ('{"response": "x", "ground_truth": "1", "n": ' + "9" * 5000 + "}\n", [], "line 1: JSON beyond a limit"),
        ('{"response": "x", "n": ' + "[" * 100_000 + "\n", [], "line 1: JSON beyond a limit"),
        ('{"response": "x", "ground_truth": "1"}\n', ["--json", "/dev/null"], "is no regular file"),
        ('{"response": "x", "ground_truth": "1"}\n', ["--json", "/dev/null/t.json"], "cannot write"),
        ('{"response": "x", "ground_truth": "1"}\n', ["--json", "t", "--output", "./t"], "name the same file"),
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


def test_text_that_is_no_utf8(tmp_path, capsys):
    path = tmp_path / "in.jsonl"
    path.write_bytes('{"response": "x", "ground_truth": "1"}\n{"response": "é"}\n'.encode("latin-1"))
    assert main([str(path), "--quiet"]) == 2
    assert "line 2: no UTF-8 (byte 15)" in capsys.readouterr().err


@pytest.mark.parametrize("label, counts", [(True, 1), (1, 1), (1.0, 1), ("True", 1), ("1", 1), ("FALSE", 0), ("0", 0)])
def test_labels(tmp_path, label, counts):
    source = write(tmp_path / "in.jsonl", [{"response": r"\boxed{1}", "ground_truth": "1", "label": label}])
    assert main([source, "--expected", "label", "--json", str(tmp_path / "t.json"), "--quiet"]) == 0
    result = json.loads((tmp_path / "t.json").read_text())["all"]
    assert (result["expected_correct"], result["false_positives"]) == (counts, 1 - counts)


@pytest.mark.parametrize("label", ["yes", "", 2, 0.5, None, [True]])
def test_a_label_that_says_neither(tmp_path, capsys, label):
    rows = [{"response": r"\boxed{1}", "ground_truth": "1", "label": value} for value in (1, label)]
    assert main([write(tmp_path / "in.jsonl", rows), "--expected", "label", "--quiet"]) == 2
    assert f"row 2: column 'label' must be true, false, 1 or 0, got {str(label)!r}" in capsys.readouterr().err


COUNTDOWN = {
    "response": "<answer>94*4 - (6 + 61)</answer>",
    "ground_truth": "94*4 - 61 - 6",
    "data_source": "reasoning_gym:countdown",
}
NUMBERS = {"source_dataset": "countdown", "numbers": [6, 61, 94, 4], "target": 309}


def test_a_task_is_graded_by_its_own_scorer(tmp_path, caplog):
    entry = {"task_entry": json.dumps({"metadata": NUMBERS})}
    rows = [COUNTDOWN | {"extra_info": entry}, COUNTDOWN | {"extra_info": entry, "response": "<answer>309</answer>"}]
    rows += [COUNTDOWN | {"extra_info": {"task_entry": "{"}}, ROWS[0]]
    assert main([write(tmp_path / "in.jsonl", rows), "--json", str(tmp_path / "t.json"), "--quiet"]) == 0
    result = json.loads((tmp_path / "t.json").read_text())
    reasons = result["groups"]["reasoning_gym:countdown"]["reasons"]
    assert (reasons["equal"], reasons["not_equal"], reasons["internal_error"]) == (1, 1, 1)
    assert result["groups"]["a"]["correct"] == 1
    assert "the scorer of data_source reasoning_gym:countdown raised" in caplog.text


@pytest.mark.parametrize("info", [{}, {"extra_info": None}, {"extra_info": {"task_entry": None}}])
def test_a_task_without_its_entry_is_refused(tmp_path, capsys, info):
    assert main([write(tmp_path / "in.jsonl", [ROWS[0], COUNTDOWN | info]), "--quiet"]) == 2
    printed = capsys.readouterr().err
    assert "row 2: " in printed and "'extra_info.task_entry'" in printed and "columns acc and reason" in printed


def test_a_task_without_its_package_is_refused(tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(scorers.SCORERS, "parity:", "no.such.module:score")
    assert main([write(tmp_path / "in.jsonl", [ROWS[0] | {"data_source": "parity:odd"}]), "--quiet"]) == 2
    assert "package that is missing" in capsys.readouterr().err


@pytest.mark.parametrize("option", ["--output", "--json"])
def test_the_input_is_not_overwritten(tmp_path, capsys, option):
    source = write(tmp_path / "in.jsonl", ROWS)
    (tmp_path / "link.jsonl").symlink_to(source)
    before = (tmp_path / "in.jsonl").read_bytes()
    for path in (source, str(tmp_path / "link.jsonl")):
        assert main([source, option, path, "--quiet"]) == 2
        assert "the output is an input" in capsys.readouterr().err
    assert (tmp_path / "in.jsonl").read_bytes() == before


def test_a_missing_folder_is_made(tmp_path):
    source, output = write(tmp_path / "in.jsonl", ROWS), tmp_path / "new" / "folder" / "out.jsonl"
    assert main([source, "--output", str(output), "--quiet"]) == 0
    assert len(output.read_text().splitlines()) == len(ROWS)


def test_a_full_disk_leaves_the_old_file(tmp_path, capsys, monkeypatch):
    def full(descriptor):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    source, output = write(tmp_path / "in.jsonl", ROWS), tmp_path / "out.jsonl"
    output.write_text("old")
    monkeypatch.setattr(os, "fsync", full)
    assert main([source, "--output", str(output), "--quiet"]) == 2
    assert "No space left on device" in capsys.readouterr().err
    assert output.read_text() == "old" and len(list(tmp_path.iterdir())) == 2


def test_a_bad_row_leaves_no_file(tmp_path):
    source = write(tmp_path / "in.jsonl", [*ROWS, {"response": 3, "ground_truth": "1"}])
    assert main([source, "--output", str(tmp_path / "out.jsonl"), "--quiet"]) == 2
    assert [path.name for path in tmp_path.iterdir()] == ["in.jsonl"]


def test_half_a_surrogate_pair_is_written_as_its_escape(tmp_path):
    source, output = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    source.write_text(r'{"response": "\ud800 é \\boxed{1}", "ground_truth": "1"}' + "\n", encoding="utf-8")
    assert main([str(source), "--output", str(output), "--quiet"]) == 0
    row = json.loads(output.read_text(encoding="utf-8"))
    assert row["response"] == "\ud800 é \\boxed{1}" and row["verdict"]["correct"]


def test_names_that_look_like_markup(tmp_path, capsys):
    rows = [row | {"data_source": "[/foo]"} for row in ROWS]
    assert main([write(tmp_path / "[bold].jsonl", rows), "--quiet"]) == 0
    printed = capsys.readouterr().out
    assert "[/foo]" in printed and "[bold].jsonl" in printed


def test_unusable_ground_truths_are_reported(tmp_path, capsys):
    source = write(tmp_path / "in.jsonl", [{"response": r"\boxed{1}", "ground_truth": None}])
    assert main([source, "--quiet"]) == 0
    assert "1 rows have no usable ground truth" in capsys.readouterr().err


def test_a_ground_truth_beyond_a_limit_that_was_set_is_reported(tmp_path, capsys):
    source = write(tmp_path / "in.jsonl", [{"response": r"\boxed{1}", "ground_truth": "12345"}])
    assert main([source, "--quiet", "--set", "max_answer_chars=3"]) == 0
    assert "1 rows have no usable ground truth, for example '12345'" in capsys.readouterr().err
