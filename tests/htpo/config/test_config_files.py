# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""The YAML files keep verl's rules (header of verl/trainer/config/ppo_trainer.yaml), so that they can be read."""

import re
from pathlib import Path

import pytest

import recipe.htpo.config as package

ROOT = Path(package.__file__).parent
FILES = sorted(ROOT.rglob("*.yaml"))
FIELD = re.compile(r"^\s*[\w.]+:")


def fields(path):
    """`(line number, line, line above, its two neighbours above)` of every field and list entry with a comment due."""
    lines = path.read_text().splitlines()
    return [(number, line, lines[:number]) for number, line in enumerate(lines) if FIELD.match(line)]


def test_all_files_are_looked_at():
    assert {path.parent.name for path in FILES} == {"config", "objective", "platform", "layout", "fsdp", "megatron"}
    assert len(FILES) >= 26


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_value_has_a_comment_line_above(path):
    """A node that only holds others explains itself through them."""
    for number, line, above in fields(path):
        if line.rstrip().endswith(":") and line.strip() != "cells:":
            continue
        assert above and above[-1].lstrip().startswith("# "), f"{path.name}:{number + 1}: {line.strip()} has no comment"
        indent = len(line) - len(line.lstrip())
        assert len(above[-1]) - len(above[-1].lstrip()) == indent, f"{path.name}:{number + 1}: comment not aligned"


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_inline_comments(path):
    for number, line in enumerate(path.read_text().splitlines(), start=1):
        assert line.lstrip().startswith("#") or " #" not in line, f"{path.name}:{number}"
        assert line == line.rstrip() and "\t" not in line, f"{path.name}:{number}"


# The tables of objectives are one block, row under row.
@pytest.mark.parametrize(
    "path", [path for path in FILES if path.parent.name != "objective"], ids=lambda path: str(path.relative_to(ROOT))
)
def test_blank_line_between_fields(path):
    for number, line, above in fields(path):
        comments = 0
        while comments < len(above) and above[-1 - comments].lstrip().startswith("#"):
            comments += 1
        first = comments == len(above)
        assert first or above[-1 - comments] == "", f"{path.name}:{number + 1}: no blank line above {line.strip()}"
