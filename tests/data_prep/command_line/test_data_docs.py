# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""The examples of docs/data.md do what it says."""

import json
import re
import shlex
import subprocess
from pathlib import Path

import pytest
from data_support import read

from data_prep.command_line.main import _parse, main
from data_prep.sources.dataset import DataSet
from data_prep.sources.sets import BUILTIN

REPOSITORY = Path(__file__).parents[3]
TEXT = (REPOSITORY / "docs" / "data.md").read_text(encoding="utf-8")


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


def test_the_readme_in_an_empty_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    """The whole block of the section on data, line by line."""
    monkeypatch.chdir(tmp_path)
    readme = (REPOSITORY / "README.md").read_text(encoding="utf-8")
    section = readme.partition("## Data\n")[2].partition("```bash\n")[2].partition("```")[0]
    lines = section.splitlines()
    assert len(lines) == 6
    for line in lines:
        words = shlex.split(line, comments=True)
        if words[:3] == ["python", "-m", "data_prep"]:
            assert main(words[3:]) == 0, line
        else:
            subprocess.run(line, shell=True, check=True)
    assert "mixed/train.parquet: written 102 rows" in (text := capsys.readouterr().out)
    assert text.endswith("2 files, 0 errors, 0 warnings\n")


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


@pytest.mark.parametrize("page", ["data.md", "verifier.md"])
def test_every_test_that_a_page_names_exists(page: str) -> None:
    tests = REPOSITORY / "tests"
    text = (REPOSITORY / "docs" / page).read_text(encoding="utf-8")
    section = text.partition("## What shows it")[2].partition("\n## ")[0]
    code = "\n".join(path.read_text(encoding="utf-8") for path in tests.rglob("test_*.py"))
    names = re.findall(r"(?<![\w/])test_\w+(?=`)|(?<=::)test_\w+", section)
    assert len(names) > 10
    assert not [name for name in names if f"def {name}(" not in code]
    assert not [name for name in re.findall(r"test_\w+\.py", section) if not list(tests.rglob(name))]
    cases = "".join(path.read_text(encoding="utf-8") for path in (tests / "htpo" / "verifier").glob("*.jsonl"))
    cells = re.findall(r"categor(?:y|ies) (.*) \|$", section, flags=re.MULTILINE)
    categories = [name for cell in cells for name in re.findall(r"`(\w+)`", cell)]
    assert not [name for name in categories if f'"category": "{name}"' not in cases]
    assert bool(categories) == (page == "verifier.md")
