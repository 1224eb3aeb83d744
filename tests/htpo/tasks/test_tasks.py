# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""Scorers of tasks: countdown, exact and bounded; reasoning-gym's tasks from the data to the reward."""

import json

import pyarrow.parquet as pq
import pytest

from data_prep.command_line.main import main
from recipe.htpo.reward import compute_score
from recipe.htpo.tasks.countdown import solves
from recipe.htpo.tasks.reasoning_gym import score
from recipe.htpo.verifier import VerifierConfig

NUMBERS, TARGET = [6, 61, 94, 4], 309


@pytest.mark.parametrize(
    ("answer", "verdict"),
    [
        ("94*4 - 61 - 6", True),
        (r"$94 \times 4 - (61 + 6)$", True),
        ("94 × 4 − 61 − 6", True),
        (r"\[94 \cdot 4 - \left(61 + 6\right)\]", True),
        (r"\(94⋅4 - 61 - 6\)", True),
        ("94\u00a0· 4\n- 61 - 6", True),
        ("-6 + 94*4 - 61", True),
        ("94*4 + (-61 - 6)", True),
        ("-(6 + 61 - 94*4)", True),
        ("94*4 - 61 - -6", False),
        ("-(-(94*4) + 61 - 6)", False),
        ("94*4 - 61 - 6 + 0", False),
        ("94*4 - 61", False),
        ("94*4*61*6", False),
        ("309", False),
        ("94/(4-4)", False),
        ("94*4 - 61 - 6 = 309", None),
        ("9**9**9**9", None),
        ("94*4 - 61 - +6", None),
        ("94*4 - 61 - ~6", None),
        ("94*4 - 61 - 6//1", None),
        ("__import__('os')", None),
        ("", None),
        ("(" * 200, None),
        ("1+" * 400 + "1", None),
    ],
)
def test_countdown(answer: str, verdict: bool | None) -> None:
    assert solves(answer, NUMBERS, TARGET) is verdict


def test_countdown_divides_exactly() -> None:
    assert solves("6*(1/3)*(2/1)", [6, 1, 3, 2, 1], 4) is True
    assert solves("(1/3)*3", [1, 3, 3], 1) is True


def entry(task: str = "countdown", answer: str = "94*4 - 61 - 6", **metadata: object) -> dict:
    metadata = {"source_dataset": task, "numbers": NUMBERS, "target": TARGET} | metadata
    return {"task_entry": json.dumps({"question": "?", "answer": answer, "metadata": metadata})}


@pytest.mark.parametrize(
    ("response", "reason"),
    [
        ("I try. <answer>94*4 - 61 - 6</answer>", "equal"),
        ("<answer>1</answer> no: <answer>94*4 - 61 - 6</answer>", "equal"),
        ("<think><answer>94*4 - 61 - 6</answer></think> So <answer>1</answer>", "not_equal"),
        (r"so \boxed{94*4 - 61 - 6}", "equal"),
        (r"<answer>\boxed{94*4 - 61 - 6}</answer>", "equal"),
        (r"<answer>\boxed{94*4} \boxed{61 + 6}</answer>", "format"),
        ("<answer>94*4 - 61 - 6</answer>, closed twice</answer>", "equal"),
        ("<answer>4+94</answer>", "not_equal"),
        ("<answer>ninety-four</answer>", "format"),
        ("<answer></answer>", "extraction"),
        ("94*4 - 61 - 6", "extraction"),
        ("<answer>" + "1+" * 2000 + "1</answer>", "over_limit"),
    ],
)
def test_countdown_through_the_reward(response: str, reason: str) -> None:
    found = compute_score("reasoning_gym:countdown", response, "94*4 - 61 - 6", entry())
    assert (found["reason"], found["acc"]) == (reason, float(reason == "equal"))


@pytest.mark.parametrize("unit", ["(", "1+", "9*", "<answer>", "<answer>9", "</answer>", " ", r"\boxed{"])
def test_countdown_reads_only_the_end_of_a_response(unit: str) -> None:
    """Whatever repeats there, as long as what is read: what stands before it is not."""
    end = unit * VerifierConfig().tail_chars
    assert score("<answer>94*4 - 61 - 6</answer>" + end, "", entry()) == score(end, "", entry())


def test_a_row_of_another_making_is_a_reason() -> None:
    assert compute_score("reasoning_gym:countdown", "<answer>1</answer>", "1", {})["reason"] == "internal_error"


@pytest.mark.parametrize(
    ("answer", "reason"), [("10*(8 - 5) - 6", "equal"), ("6*4*1*1", "not_equal"), ("10*8 - 6 - 5", "not_equal")]
)
def test_puzzle24_wants_the_numbers_of_its_question(answer: str, reason: str) -> None:
    row = entry("puzzle24", numbers=[8, 5, 10, 6])
    assert compute_score("reasoning_gym:puzzle24", f"<answer>{answer}</answer>", "", row)["reason"] == reason


@pytest.mark.parametrize("task", ["countdown", "puzzle24", "arc_agi", "futoshiki", "tower_of_hanoi"])
def test_the_packages_own_answers_are_right(task: str) -> None:
    """Minus signs, boards that JSON made lists, ``<`` in an answer, answers above MAX_ANSWER_CHARS."""
    reasoning_gym = pytest.importorskip("reasoning_gym")
    for row in reasoning_gym.create_dataset(task, seed=5, size=12):
        info = {"task_entry": json.dumps(row, default=str, ensure_ascii=False)}
        found = compute_score(f"reasoning_gym:{task}", f"<answer>{row['answer']}</answer>", row["answer"], info)
        assert found["reason"] == "equal", row["answer"]


def test_an_answer_that_is_code_ends_nothing() -> None:
    reasoning_gym = pytest.importorskip("reasoning_gym")
    (row,) = reasoning_gym.create_dataset("spiral_matrix", seed=5, size=1)
    found = compute_score("reasoning_gym:spiral_matrix", "<answer>exit()</answer>", "", {"task_entry": json.dumps(row)})
    assert found["reason"] == "not_equal"


@pytest.mark.parametrize("task", ["countdown", "leg_counting", "basic_arithmetic", "gcd"])
def test_tasks_from_data_to_reward(tmp_path, task: str) -> None:
    """The package's own answer is right for every row, another row's is not; splits share no question."""
    pytest.importorskip("reasoning_gym")
    arguments = ["build", f"reasoning_gym:{task}", "--train-rows", "30", "--test-rows", "10"]
    assert main([*arguments, "--out", str(tmp_path), "--seed", "3", "--test-seed", "3"]) == 0
    splits = {
        split: pq.read_table(tmp_path / f"reasoning_gym_{task}" / f"{split}.parquet").to_pylist()
        for split in ("train", "test")
    }
    assert [len(rows) for rows in splits.values()] == [30, 10]
    assert {row["data_source"] for row in splits["train"]} == {f"reasoning_gym:{task}"}
    questions = [{row["extra_info"]["problem"] for row in rows} for rows in splits.values()]
    assert not questions[0] & questions[1] and len(questions[0]) == 30
    for row in splits["train"]:
        assert row["prompt"][-1]["content"].endswith("between <answer> and </answer>.")
        truth = row["reward_model"]["ground_truth"]
        for answer, expected in ((truth, 1.0), (f"{truth} or 0", 0.0)):
            found = compute_score(row["data_source"], f"<answer>{answer}</answer>", truth, row["extra_info"])
            assert found["acc"] == expected, (answer, found)


def test_the_same_seed_gives_the_same_file_and_options_reach_the_task(tmp_path, capsys) -> None:
    pytest.importorskip("reasoning_gym")
    arguments = ["build", "reasoning_gym:countdown", "--split", "train", "--train-rows", "20"]
    options = ["--task-option", "max_numbers=4", "--task-option", "max_value=9", "--task-option", "min_target=10"]
    for name in ("one", "two"):
        assert main([*arguments, *options, "--out", str(tmp_path / name)]) == 0
    paths = [tmp_path / name / "reasoning_gym_countdown" / "train.parquet" for name in ("one", "two")]
    assert paths[0].read_bytes() == paths[1].read_bytes()
    for row in pq.read_table(paths[0]).to_pylist():
        numbers = json.loads(row["extra_info"]["task_entry"])["metadata"]["numbers"]
        assert len(numbers) == 4 and max(numbers) <= 9
    assert main([*arguments, "--task-option", "max_number=4", "--out", str(tmp_path / "three")]) == 1
    assert "its options (--task-option NAME=VALUE): min_numbers, max_numbers" in capsys.readouterr().err
    assert main(["build", "reasoning_gym:count_down", "--out", str(tmp_path / "three")]) == 1
    assert "choose one of" in capsys.readouterr().err


def test_countdown_splits_share_no_numbers_and_target(tmp_path) -> None:
    pytest.importorskip("reasoning_gym")
    options = ["max_numbers=2", "min_numbers=2", "max_value=5", "min_target=2", "max_target=9"]
    arguments = [part for option in options for part in ("--task-option", option)]
    command = ["build", "reasoning_gym:countdown", *arguments, "--train-rows", "40", "--test-rows", "12"]
    assert main([*command, "--out", str(tmp_path)]) == 0
    keys = []
    for split in ("train", "test"):
        rows = pq.read_table(tmp_path / "reasoning_gym_countdown" / f"{split}.parquet").to_pylist()
        metadata = [json.loads(row["extra_info"]["task_entry"])["metadata"] for row in rows]
        keys.append({(*sorted(item["numbers"]), item["target"]) for item in metadata})
    assert not keys[0] & keys[1]
