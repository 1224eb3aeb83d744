# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""Malformed input gives one clear error, never a traceback; what an error advises exists."""

import ast
import re
from collections.abc import Iterator
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


def texts(*packages: Path) -> Iterator[str]:
    """The string constants of their modules."""
    for package in packages:
        for file in package.rglob("*.py"):
            for node in ast.walk(ast.parse(file.read_text("utf-8"))):
                if isinstance(node, ast.Constant) and isinstance(node.value, str):
                    yield node.value


OPTION = re.compile(r"(?<![\w-])--[a-z][a-z-]*")
PACKAGE = Path(data_prep.__file__).parent


def options_of_commands() -> dict[str, set[str]]:
    (commands,) = [action for action in cli._parser()._actions if action.choices]
    return {name: set(command._option_string_actions) for name, command in commands.choices.items()}


def test_every_option_in_a_message_exists() -> None:
    known = set().union(*options_of_commands().values())
    named = {option for text in texts(PACKAGE) for option in OPTION.findall(text)}
    assert len(named) > 20 and named <= known, named - known


def test_every_command_in_a_message_exists() -> None:
    """With the options that are advised for it; in the package, a command may be named without it."""
    ours = re.compile(r"`(?:python -m )?(?:data_prep )?([a-z]+)((?: [^`]*)? --[^`]*)`")
    any_one = re.compile(r"`(?:python -m )?data_prep ([a-z]+)([^`]*)")
    advised = [match for text in texts(PACKAGE) for match in ours.findall(text)]
    advised += [match for text in texts(PACKAGE, PACKAGE.parent / "recipe") for match in any_one.findall(text)]
    known = options_of_commands()
    assert len(advised) > 15
    for command, rest in advised:
        assert command in known, f"{command}{rest}"
        assert set(OPTION.findall(rest)) <= known[command], f"{command}{rest}"
