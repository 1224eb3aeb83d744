# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""`scripts/study.sh` as far as its runs: the lab takes every line of it. What its page says is what its tables say."""

import re
import shutil

import pytest
from script_support import ROOT, SCRIPTS, run_script

from recipe.htpo.lab.__main__ import _parse, _plans

STAND_IN = """#!/usr/bin/env bash
printf '%s\\t' "$@" >>"$CALLS"
echo >>"$CALLS"
"""
# Arms of each part; the part `stack` trains on the real stack.
ARMS = {"arms": 13, "more": 4, "near": 13, "countdown": 4, "parts": 9, "forms": 18, "demo": 5}


@pytest.mark.parametrize("part", ARMS)
def test_the_lab_takes_every_line(tmp_path, part):
    scripts = tmp_path / "scripts"
    scripts.mkdir()
    shutil.copy(SCRIPTS / "study.sh", scripts)
    python, calls = tmp_path / "python", tmp_path / "calls"
    python.write_text(STAND_IN)
    python.chmod(0o755)
    (scripts / "setup_env.sh").write_text(f"echo {python}\n")
    assert run_script(scripts / "study.sh", part, CALLS=calls, OUT=tmp_path / "out").returncode == 0
    lines = [line.rstrip("\t").split("\t") for line in calls.read_text().splitlines()]
    runs = [line[2:] for line in lines if line[:3] == ["-m", "recipe.htpo.lab", "run"]]
    arms = {path.parent for run in runs for path in _plans(_parse(run))[0]}
    assert len(arms) == ARMS[part], sorted(arm.name for arm in arms)


def test_the_page_quotes_its_tables():
    parts = re.split(r"<!-- (?:compare|end): \w+ -->", (ROOT / "docs" / "study.md").read_text())
    readme = (ROOT / "README.md").read_text()
    quoting = [*parts[::2], next(line for line in readme.splitlines() if line.startswith("| `htpo` |"))]
    interval = re.compile(r"([+-]\d+\.\d)(?:\s(?:points\s)?of\s+pass@\d+)?\s\(([+-]\d+\.\d)\s+to\s+([+-]\d+\.\d)\)")
    quoted = {found.groups() for text in quoting for found in interval.finditer(text)}
    assert len(quoted) > 20
    assert quoted - {found.groups() for table in parts[1::2] for found in interval.finditer(table)} == set()
