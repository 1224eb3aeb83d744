# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""docs/objectives.md: the worked example runs as it stands there, and the table names every preset."""

import re
from pathlib import Path

import pytest

from recipe.htpo.objective import presets
from recipe.htpo.objective.rules import _RULES

DOCUMENT = Path(__file__).resolve().parents[3] / "docs" / "objectives.md"
SECTION = "\n## Add your own\n"
MAX_LINES = 30


@pytest.fixture
def example():
    """The code blocks of the example, `(language, text)`."""
    section = DOCUMENT.read_text(encoding="utf-8").partition(SECTION)[2].partition("\n## ")[0]
    blocks = re.findall(r"```(\w+)\n(.*?)```", section, flags=re.DOTALL)
    assert [language for language, _ in blocks] == ["python", "yaml", "python"]
    return [text for _, text in blocks]


def test_the_example_runs(example, tmp_path, monkeypatch):
    rule, preset, test = example
    (tmp_path / "base.yaml").write_text((presets.PRESET_DIR / "base.yaml").read_text())
    (tmp_path / "fade.yaml").write_text(preset)
    monkeypatch.setattr(presets, "PRESET_DIR", tmp_path)
    names: dict = {}
    try:
        exec(rule, names)
        exec(test, names)
        names["test_fade"]()
    finally:
        _RULES.pop("fade", None)


def test_the_example_is_short(example):
    assert sum(len([line for line in block.splitlines() if line.strip()]) for block in example) <= MAX_LINES


def test_every_preset_is_in_the_table():
    methods = DOCUMENT.read_text(encoding="utf-8").partition("\n## ")[0] + (DOCUMENT.parent / "thr.md").read_text()
    missing = [name for name in presets.preset_names() if f"`{name}`" not in methods]
    assert not missing, f"neither docs/objectives.md nor docs/thr.md names {', '.join(missing)}"
