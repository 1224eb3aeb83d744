# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""`scripts/run_htpo_cpu.sh` around a training that a command stands in for: exit codes, and the times of its phases."""

import shutil

import pytest
from script_support import SCRIPTS, run_script

STAND_IN = """#!/usr/bin/env bash
[[ "$*" != *recipe.htpo.run.supervise* ]] || { mkdir -p "$OUTPUT_DIR"; exit "$TRAINING_ENDS"; }
"""


@pytest.fixture
def run(tmp_path):
    """Runs the script in a directory of its own with a training that ends with `code`; its exit code."""
    scripts = tmp_path / "scripts"
    scripts.mkdir()
    shutil.copy(SCRIPTS / "run_htpo_cpu.sh", scripts)
    python = tmp_path / "python"
    python.write_text(STAND_IN)
    python.chmod(0o755)
    (scripts / "setup_env.sh").write_text(f"echo {python}\n")

    def start(code):
        knobs = {"OUTPUT_DIR": tmp_path / "run", "TRAINING_ENDS": code}
        return run_script(scripts / "run_htpo_cpu.sh", **knobs).returncode

    return start


@pytest.mark.parametrize("code", [0, 7, 75])
def test_the_times_of_a_start(tmp_path, run, code):
    assert run(code) == code
    lines = (tmp_path / "run" / "phases.tsv").read_text().splitlines()
    assert [line.split("\t")[0] for line in lines] == ["environment", "data", "warm-up", "training"]
    assert all(line.split("\t")[1].isdigit() for line in lines)


def test_a_refused_start_leaves_the_times_of_an_earlier_one(tmp_path, run):
    assert run(0) == 0
    (tmp_path / "run" / "phases.tsv").write_text("of the run")
    assert run(2) == 2
    assert (tmp_path / "run" / "phases.tsv").read_text() == "of the run"
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["phases.tsv"]
