# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""Prompt templates: exact text, reversal, Jinja."""

import hashlib
from pathlib import Path

import pytest

from data_prep.errors import DataError
from data_prep.sources.templates import TEMPLATES, Template, find_template, strip_known_template


def test_dapo_template_is_the_published_text() -> None:
    (message,) = TEMPLATES["dapo"].messages("P")
    assert message["role"] == "user"
    before, after = message["content"].split("P\n\nRemember")
    assert before == (
        "Solve the following math problem step by step. The last line of your response should be of the form Answer: "
        "$Answer (without quotes) where $Answer is the answer to the problem.\n\n"
    )
    assert after == ' to put your answer on its own line after "Answer:".'


@pytest.mark.parametrize("name", ["dapo", "boxed", "gsm8k"])
def test_known_templates_are_stripped(name: str) -> None:
    problem = "Find {x} with $x = {problem}$."
    (message,) = TEMPLATES[name].messages(problem)
    assert strip_known_template(message["content"]) == problem
    assert strip_known_template(problem) == problem


def test_system_message() -> None:
    system, user = TEMPLATES["qwen-boxed"].messages("P")
    assert system == {
        "role": "system",
        "content": "Please reason step by step, and put your final answer within \\boxed{}.",
    }
    assert user == {"role": "user", "content": "P"}


def test_jinja_file(tmp_path: Path) -> None:
    path = tmp_path / "mine.jinja"
    path.write_text("[{{ level }}] {{ problem }}", encoding="utf-8")
    template = find_template(str(path))
    assert template.messages("a < b", level="3") == [{"role": "user", "content": "[3] a < b"}]
    assert template.record()["sha256"] == hashlib.sha256(b"\0[{{ level }}] {{ problem }}").hexdigest()


@pytest.mark.parametrize(
    ("text", "message"), [("{{ problem", "cannot use the template"), ("nothing", "does not print the problem")]
)
def test_bad_jinja_file(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "bad.jinja"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(DataError, match=message):
        find_template(str(path))


def test_unknown_template_lists_the_known_ones() -> None:
    with pytest.raises(DataError, match="choose one of bare, dapo, qwen-boxed"):
        find_template("dappo")


def test_template_without_slot() -> None:
    with pytest.raises(DataError, match="exactly once"):
        Template("t", 1, "no slot")
