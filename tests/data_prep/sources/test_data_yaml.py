# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""New data sets: by YAML, by an installed package's entry point; and a light import."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from data_support import read

from data_prep.command_line.main import main

YAML = """\
# A set of our own.
name: quiz
source: quiz.jsonl
columns:
  problem: task.text
  answer: [key, solution]
  level: hardness
  id: uid
answer: integer
template: qwen-boxed
split: test
data_source: our_quiz
"""
RECORDS = [
    {"task": {"text": "1 + 1?"}, "key": "2.0", "hardness": 1.0, "uid": 7},
    {"task": {"text": "2 + 2?"}, "solution": "04", "hardness": 2.5, "uid": 9},
]


@pytest.fixture
def config(tmp_path: Path) -> Path:
    (tmp_path / "quiz.jsonl").write_text("".join(json.dumps(record) + "\n" for record in RECORDS))
    path = tmp_path / "quiz.yaml"
    path.write_text(YAML)
    return path


def test_yaml(config: Path, tmp_path: Path) -> None:
    assert main(["build", "--config", str(config), "--out", str(tmp_path / "out")]) == 0
    rows = read(tmp_path / "out" / "quiz" / "test.parquet")
    assert [row["reward_model"]["ground_truth"] for row in rows] == ["2", "4"]
    assert [row["extra_info"]["id"] for row in rows] == ["quiz/7", "quiz/9"]
    assert [row["extra_info"]["level"] for row in rows] == ["1", "2.5"]
    assert {row["extra_info"]["split"] for row in rows} == {"test"}
    assert {row["data_source"] for row in rows} == {"our_quiz"}
    assert [message["role"] for message in rows[0]["prompt"]] == ["system", "user"]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            "answer: integer",
            "answr: integer",
            "unknown key answr. Remedy: did you mean answer? valid keys: ability, answer, bad_rows",
        ),
        (
            "  level: hardness",
            "  hardness: level",
            "unknown key columns.hardness. Remedy: valid keys: ability, answer, id",
        ),
        (
            "answer: integer",
            "answer: numbers",
            "answer is 'numbers'. Remedy: use 'verbatim', 'integer'",
        ),
        ("template: qwen-boxed", "template: qwen", "unknown template 'qwen'"),
        ("split: test", "dedup: all", "dedup is 'all'. Remedy: use 'rows', 'problems' or 'none'"),
        ("source: quiz.jsonl\n", "", "source is missing. Remedy: write `source: ...`, or give --source"),
        ("columns:", "columns: x\nother:", "columns is 'x'"),
        ("name: quiz", "name: [", "cannot read the YAML"),
        ("  problem: task.text", "  problem: text", "row 0: no problem: none of the columns text holds a value"),
    ],
)
def test_bad_yaml(config: Path, capsys: pytest.CaptureFixture, old: str, new: str, message: str) -> None:
    assert old in YAML
    config.write_text(YAML.replace(old, new))
    assert main(["build", "--config", str(config), "--out", str(config.parent / "out")]) == 1
    assert message in capsys.readouterr().err
    assert not list(config.parent.glob("out/*/*"))


PYPROJECT = """\
[build-system]
requires = ["setuptools"]
build-backend = "setuptools.build_meta"

[project]
name = "quiz-sets"
version = "1"

[project.entry-points."verl_htpo.datasets"]
quiz = "quiz_sets:QUIZ"

[tool.setuptools]
py-modules = ["quiz_sets"]
"""
MODULE = """\
from data_prep.sources.dataset import DataSet, Parsed


class Quiz(DataSet):
    def parse(self, record):
        left, right = record["pair"]
        return Parsed(problem=f"{left} + {right}?", answer=str(left + right))


QUIZ = Quiz(name="quiz", title="Quiz", files={"train": ("quiz*",)}, template="bare")
"""


def test_entry_point_of_an_installed_package(tmp_path: Path) -> None:
    package, target = tmp_path / "package", tmp_path / "target"
    package.mkdir()
    (package / "pyproject.toml").write_text(PYPROJECT)
    (package / "quiz_sets.py").write_text(MODULE)
    (tmp_path / "quiz.jsonl").write_text('{"pair": [3, 4]}\n')
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation", "--no-index"]
    subprocess.run([*pip, "--target", str(target), str(package)], check=True)
    environment = os.environ | {"PYTHONPATH": str(target)}

    def run(*arguments: str) -> str:
        command = [sys.executable, "-m", "data_prep", *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True, env=environment).stdout

    assert "quiz             train      Quiz" in run("list")
    run("build", "quiz", "--source", str(tmp_path), "--out", str(tmp_path / "out"))
    (row,) = read(tmp_path / "out" / "quiz" / "train.parquet")
    assert row["prompt"][0]["content"] == "3 + 4?" and row["reward_model"]["ground_truth"] == "7"


def test_unknown_set_lists_the_known_ones(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    assert main(["build", "dapo", "--out", str(tmp_path)]) == 1
    assert "unknown data set 'dapo'. Remedy: choose one of arithmetic, dapo_math_17k" in capsys.readouterr().err


def test_import_is_light() -> None:
    code = (
        "import sys, data_prep, data_prep.command_line.main, data_prep.sources.registry, data_prep.sources.sets; "
        "heavy = {'torch', 'transformers', 'datasets', 'pandas', 'verl', 'pyarrow'} & set(sys.modules); "
        "assert not heavy, heavy; "
        "import data_prep.operations.check, data_prep.operations.build; "
        "heavy = {'torch', 'transformers', 'datasets', 'verl', 'recipe'} & set(sys.modules); "
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
