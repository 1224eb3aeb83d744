# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""Math-Verify in a child that can be killed, and the children of the comparison command."""

import asyncio
import json

import pytest

from data_prep.storage.files import atomic_output
from recipe.htpo.reward import compute_score, compute_score_async
from recipe.htpo.verifier.child import ChildGrader
from recipe.htpo.verifier.compare_graders import main
from recipe.htpo.verifier.second_opinion import SecondOpinion

BOMB = r"\boxed{" + "(" * 9 + "9" + "^9)" * 9 + "}"


def test_a_child_grades_like_the_verifier():
    child = ChildGrader("htpo", limit_s=60)
    assert child.grade(r"\boxed{\frac{2}{4}}", "0.5").correct is True
    assert child.grade(r"\boxed{0.6}", "0.5").correct is False
    child.close()


def test_unknown_grader():
    with pytest.raises(ValueError, match="unknown grader 'sympy'; known: htpo"):
        ChildGrader("sympy", limit_s=1)


@pytest.mark.long
def test_a_hung_child_is_killed_counted_and_replaced():
    opinion = SecondOpinion(limit_s=60)
    assert opinion.ask(r"\boxed{2}", "2") is True
    opinion._child.limit_s = 0.0001
    assert opinion.ask(BOMB, "5") is None
    opinion._child.limit_s = 60
    assert opinion.ask(r"\boxed{3}", "2") is False
    assert dict(opinion.counts) == {"asked": 3, "correct": 1, "timeout": 1, "wrong": 1}
    opinion.close()


@pytest.mark.long
def test_reward_reports_or_accepts_a_second_opinion():
    def ask(response, **options):
        return compute_score("x", response, "6", second_opinion_limit_s=60, **options)

    unevaluated = r"\boxed{2 \cdot 3}"
    report, accept = ask(unevaluated, second_opinion="report"), ask(unevaluated, second_opinion="accept")
    assert report["acc"] == 0.0 and report["second_opinion_accepts"] == 1.0
    assert accept["acc"] == 1.0 and accept["reason"] == "equal"
    equal = ask(r"\boxed{6}", second_opinion="report")
    assert equal["second_opinion_accepts"] == equal["second_opinion_missing"] == 0.0
    assert set(report) == set(accept) == set(equal)
    options = {"second_opinion": "report", "second_opinion_limit_s": 60}
    assert asyncio.run(compute_score_async("x", unevaluated, "6", **options)) == report


def test_the_default_asks_nobody():
    assert not any("opinion" in key for key in compute_score("x", r"\boxed{5}", "6"))


def test_comparison_command(tmp_path, capsys):
    cases = [
        {"response": r"\boxed{0.5}", "ground_truth": "\\frac12", "expected": 1, "category": "a"},
        {"response": r"\boxed{5}", "ground_truth": "6", "expected": 0, "category": "[/b]"},
        {"response": r"\boxed{6}", "ground_truth": ["6"], "expected": "False", "category": "[/b]"},
    ]
    path, result = tmp_path / "cases.jsonl", tmp_path / "result.json"
    path.write_text("".join(json.dumps(case) + "\n" for case in cases))
    arguments = [str(path), "--graders", "htpo", "--limit", "60", "--quiet", "--json", str(result)]
    assert main(arguments) == 0
    score = json.loads(result.read_text())["htpo"]
    assert score["false_negatives"] == {} and score["false_positives"] == {"[/b]": 1} and score["over_limit"] == 0
    assert "p99 ms" in capsys.readouterr().out
    assert main([str(tmp_path / "none.jsonl")]) == 2
    path.write_text(json.dumps(cases[0] | {"expected": "wrong"}) + "\n")
    assert main(arguments) == 2
    assert "row 1: column 'expected' must be true, false, 1 or 0" in capsys.readouterr().err


def test_where_the_numbers_of_the_comparison_cannot_be_written_nothing_is_graded_or_lost(tmp_path, capsys):
    path, result = tmp_path / "cases.jsonl", tmp_path / "result.json"
    path.write_text(json.dumps({"response": "5", "ground_truth": "6", "expected": 0, "category": "a"}) + "\n")
    result.write_text("of the last time")

    def refused(file):
        assert main([str(path), "--graders", "htpo", "--quiet", "--json", str(file)]) == 2
        found = capsys.readouterr()
        assert found.out == ""
        return found.err

    assert "cases.jsonl: the output is an input and would be lost" in refused(path)
    assert "below.json: cannot write" in refused(path / "below.json")
    assert "it is a directory" in refused(tmp_path)
    with pytest.raises(KeyError), atomic_output(result):
        assert "result.json: another process is writing this file" in refused(result)
        raise KeyError
    assert result.read_text() == "of the last time"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"ground_truth": None}, "row 1: column 'ground_truth' must be text or a list of texts, got 'None'"),
        ({"ground_truth": ["6", 7]}, "row 1: column 'ground_truth' must be text or a list of texts"),
        ({"response": None}, "row 1: column 'response' must be text, got NoneType"),
        (None, "holds no rows"),
    ],
)
def test_a_file_without_cases_is_an_error_of_one_line(tmp_path, capsys, change, message):
    path, case = tmp_path / "cases.jsonl", {"response": "5", "ground_truth": "6", "expected": 0, "category": "a"}
    path.write_text("" if change is None else json.dumps(case | change) + "\n")
    assert main([str(path), "--graders", "htpo", "--quiet"]) == 2
    found = capsys.readouterr()
    assert message in found.err and found.err.count("\n") == 1 and found.out == ""


@pytest.mark.parametrize("option", ["--limit=0", "--limit=nan", "--limit=inf", "--sample=-1"])
def test_options_of_the_comparison_that_mean_nothing_are_refused(tmp_path, capsys, option):
    with pytest.raises(SystemExit, match="2"):
        main([str(tmp_path), option])
    assert f"error: {option.partition('=')[0]} must" in capsys.readouterr().err
