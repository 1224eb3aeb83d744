# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""Malformed input gives one clear error, never a traceback; what an error advises exists."""

import ast
import re
from pathlib import Path

import pytest

import data_prep
from data_prep.command_line import main as cli
from data_prep.command_line.main import main
from data_prep.errors import DataError
from data_prep.operations.build import BuildOptions, build_split
from data_prep.sources.dataset import DataSet, Parsed

DEEP = '{"problem": ' + "[" * 100_000 + "]" * 100_000 + ', "answer": 1}'
LONG_INTEGER = '{"problem": "p", "answer": ' + "7" * 5000 + "}"


@pytest.mark.parametrize("array", [False, True])
@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"prompt": [{"role": "user"}], "answer": 1}', "no user message with content"),
        ('{"prompt": ["a", "b"], "answer": 1}', "not of messages"),
        ('{"problem": "\\ud800", "answer": 1}', "problem holds a lone surrogate"),
        ('{"problem": "p", "answer": "\\udfff"}', "answer holds a lone surrogate"),
        (DEEP, "nested too deeply"),
        (LONG_INTEGER, "Exceeds the limit (4300 digits) for integer string conversion: value has 5000 digits. Remedy"),
        ('{"prompt": "p", "answer": NaN}', "answer is not a finite number: nan"),
        ('{"prompt": "p", "answer": -Infinity}', "answer is not a finite number: -inf"),
    ],
)
def test_malformed_rows(tmp_path: Path, capsys: pytest.CaptureFixture, line: str, message: str, array: bool) -> None:
    source = tmp_path / ("rows.json" if array else "rows.jsonl")
    source.write_text(f"[{line}]" if array else line)
    assert main(["build", "deepscaler", "--source", str(source), "--out", str(tmp_path), "--bad-rows", "error"]) == 1
    error = capsys.readouterr().err
    assert error.startswith(f"error: {source}, ") and message in error and "Remedy: " in error


class Raising(DataSet):
    def parse(self, record: dict) -> Parsed:
        return Parsed(problem=record["pair"][5], answer="")


class Wrong(DataSet):
    def parse(self, record: dict) -> Parsed:
        return record  # type: ignore[return-value]


@pytest.mark.parametrize(
    ("kind", "message"), [(Raising, "Raising.parse raised IndexError"), (Wrong, "Wrong.parse returned dict")]
)
def test_parse_that_fails(tmp_path: Path, kind: type[DataSet], message: str) -> None:
    source = tmp_path / "rows.jsonl"
    source.write_text('{"pair": [1]}')
    with pytest.raises(DataError, match=f"rows.jsonl, row 0: {re.escape(message)}.*Remedy"):
        build_split(kind(name="x", title="x"), "train", tmp_path / "out", BuildOptions(source=str(source)))


@pytest.mark.parametrize(
    ("line", "field"),
    [
        ("template: 5", "template is 5"),
        ("answer: [math]", "answer is"),
        ("dedup: {a: 1}", "dedup is"),
        ("columns: {problem: 3}", "columns.problem is 3"),
        ("columns: {problem: [1]}", "columns.problem is"),
        ("split: " + "9" * 5000, "cannot read the YAML"),
    ],
)
def test_yaml_of_wrong_types(tmp_path: Path, capsys: pytest.CaptureFixture, line: str, field: str) -> None:
    config = tmp_path / "set.yaml"
    config.write_text(f"name: set\nsource: rows.jsonl\n{line}\n")
    assert main(["build", "--config", str(config), "--out", str(tmp_path / "out")]) == 1
    error = capsys.readouterr().err
    assert field in error and "Remedy: " in error


def test_what_is_not_there_is_named(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    assert main(["build", "--config", str(tmp_path / "none.yaml"), "--out", str(tmp_path)]) == 1
    assert "no such file. Remedy: check --config" in capsys.readouterr().err
    source = tmp_path / "rows.jsonl"
    source.write_text('{"problem": "p", "task": {"key": 1}}')
    assert main(["build", "--source", str(source), "--answer", "task", "--out", str(tmp_path)]) == 1
    assert "column 'task' holds fields, no answer. Remedy: name one: task.key" in capsys.readouterr().err


def test_every_option_in_a_message_exists() -> None:
    parser = cli._parser()
    (commands,) = [action for action in parser._actions if action.choices]
    known = {option for command in commands.choices.values() for option in command._option_string_actions}
    named = {
        option
        for file in Path(data_prep.__file__).parent.rglob("*.py")
        for node in ast.walk(ast.parse(file.read_text("utf-8")))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
        for option in re.findall(r"(?<![\w-])--[a-z][a-z-]*", node.value)
    }
    assert len(named) > 20 and named <= known, named - known
