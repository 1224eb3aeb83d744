# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""`scripts/run_htpo_cpu.sh` around a training that a command stands in for: exit codes, and the times of its phases."""

import re
import shutil

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from script_support import SCRIPTS, run_script

STAND_IN = """#!/usr/bin/env bash
[[ "$*" != *recipe.htpo.run.supervise* ]] || { mkdir -p "$OUTPUT_DIR"; exit "$TRAINING_ENDS"; }
"""


@pytest.fixture
def run(tmp_path):
    """Runs the script in a directory of its own with a training that ends with `code`."""
    scripts = tmp_path / "scripts"
    scripts.mkdir()
    for name in ("run_htpo_cpu.sh", "hydra_value.sh"):
        shutil.copy(SCRIPTS / name, scripts)
    python = tmp_path / "python"
    python.write_text(STAND_IN)
    python.chmod(0o755)
    (scripts / "setup_env.sh").write_text(f"echo {python}\n")

    def start(code, *arguments, **knobs):
        knobs = {"OUTPUT_DIR": tmp_path / "run", "TRAINING_ENDS": code} | knobs
        return run_script(scripts / "run_htpo_cpu.sh", *arguments, **knobs)

    return start


@pytest.mark.parametrize("name", ["lr=5e-5", "a,b", "run(1)", "it's", "ü"])
def test_names_that_hydra_would_read_as_more_than_a_word(tmp_path, run, name):
    """As Hydra's own parser reads what the script would start."""
    told = run(0, "--dry-run", OUTPUT_DIR=tmp_path / name).stdout
    (word,) = re.findall(r" (htpo\.output_dir=.*) data\.train_files=", told)
    assert OverridesParser.create().parse_override(word).value() == str(tmp_path / name)


@pytest.mark.parametrize("code", [0, 7, 75])
def test_the_times_of_a_start(tmp_path, run, code):
    assert run(code).returncode == code
    lines = (tmp_path / "run" / "phases.tsv").read_text().splitlines()
    assert [line.split("\t")[0] for line in lines] == ["environment", "data", "warm-up", "training"]
    assert all(line.split("\t")[1].isdigit() for line in lines)


def test_a_refused_start_leaves_the_times_of_an_earlier_one(tmp_path, run):
    assert run(0).returncode == 0
    (tmp_path / "run" / "phases.tsv").write_text("of the run")
    assert run(2).returncode == 2
    assert (tmp_path / "run" / "phases.tsv").read_text() == "of the run"
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["phases.tsv"]
