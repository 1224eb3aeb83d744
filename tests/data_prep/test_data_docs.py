# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""The examples of docs/data.md do what it says."""

import json
import re
import shlex
from pathlib import Path

import pytest
from data_support import read

from data_prep.command_line.main import _parse, main
from data_prep.sources.dataset import DataSet
from data_prep.sources.sets import BUILTIN

TEXT = (Path(__file__).parents[2] / "docs" / "data.md").read_text(encoding="utf-8")


def block(language: str, containing: str) -> str:
    blocks = re.findall(rf"```{language}\n(.*?)```", TEXT, flags=re.DOTALL)
    (found,) = [text for text in blocks if containing in text]
    return found


def test_yaml_example(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("quiz.yaml").write_text(block("yaml", "name: quiz"))
    Path("quiz.jsonl").write_text(json.dumps({"question": "How many?", "solution": "so\n#### 72", "grade": 4}))
    assert main(shlex.split(block("bash", "quiz.yaml"))[3:]) == 0
    (row,) = read(Path("data/quiz/train.parquet"))
    assert row["reward_model"]["ground_truth"] == "72" and row["extra_info"]["level"] == "4"


def test_class_example() -> None:
    names: dict = {}
    exec(block("python", "class Sums"), names)
    data_set = names["SUMS"]
    assert isinstance(data_set, DataSet)
    parsed = data_set.parse({"pair": [3, 4]})
    assert (parsed.problem, parsed.answer, parsed.level) == ("What is 3 + 4?", "7", "1")


def test_every_command_line_parses() -> None:
    blocks = "\n".join(re.findall(r"```bash\n(.*?)```", TEXT, flags=re.DOTALL)).replace("\\\n", " ")
    commands = [shlex.split(line, comments=True)[3:] for line in blocks.splitlines() if "-m data_prep " in line]
    assert len(commands) >= 10
    for command in commands:
        assert callable(_parse(command).run)


def test_every_set_is_described() -> None:
    described = re.findall(r"^\| `(\w+)` \| (?:train|test)", TEXT, flags=re.MULTILINE)
    assert sorted(described) == sorted(data_set.name for data_set in BUILTIN)
