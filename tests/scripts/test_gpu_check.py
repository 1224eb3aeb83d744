# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""`scripts/gpu_check.sh` without a GPU: its runs are sound configurations, its result lines are true."""

import json
import os
import re
import runpy
import shlex
from importlib.util import find_spec

import pytest
import torch
from script_support import ROOT, SCRIPTS, run_script

from recipe.htpo.config import compose
from recipe.htpo.lab.model import make_model, make_tokenizer
from recipe.htpo.objective.weights import weight_names
from recipe.htpo.preflight import config_problems

SCRIPT = SCRIPTS / "gpu_check.sh"
CHECKS = ["packages", "objective", "thr", "fsdp", "megatron", "vllm", "demo"]
# Stands in for a GPU's driver and for Python: `FAILS` names words of a command that fails.
SMI = "#!/usr/bin/env bash\necho 'a GPU, 580.0, 81559 MiB'\n"
PYTHON = """#!/usr/bin/env bash
echo "$*"
[[ -z "$FAILS" || "$*" != *$FAILS* ]] || { echo "it broke"; exit 3; }
"""


@pytest.fixture
def stand_ins(tmp_path):
    for name, text in (("nvidia-smi", SMI), ("python", PYTHON)):
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o755)
    path = f"{tmp_path}:{os.environ['PATH']}"
    return {"PATH": path, "PYTHON": tmp_path / "python", "OUTPUT_DIR": tmp_path / "out", "FAILS": ""}


def results(finished):
    """Name -> how it ended, in order."""
    lines = [line.split() for line in finished.stdout.splitlines()]
    return {words[1]: words[0] for words in lines if words[0] in ("ok", "FAIL")}


@pytest.fixture(scope="module")
def commands():
    """The training commands of a dry run, by check."""
    finished = run_script(SCRIPT, "--dry-run")
    assert finished.returncode == 0 and finished.stdout.endswith("nothing was run\n"), finished.stderr
    found = {}
    for line in finished.stdout.splitlines():
        if line in CHECKS:
            found[line] = []
        elif line.startswith("      + ") and "main_htpo" in line:
            found[list(found)[-1]].append(shlex.split(line.removeprefix("      + ")))
    return found


def test_the_checks_come_in_their_order(commands):
    assert list(commands) == CHECKS


@pytest.mark.parametrize("check, steps", [("fsdp", 1), ("megatron", 1), ("vllm", 3), ("demo", 20)])
def test_the_runs_are_sound(commands, tmp_path, check, steps):
    (run,) = commands[check]
    tokenizer = make_tokenizer()
    make_model(tokenizer, seed=0).config.save_pretrained(tmp_path)
    config = compose([*run[3:], f"actor_rollout_ref.model.path={tmp_path}"])
    assert config_problems(config) == []
    assert config.trainer.device == "cuda" and config.trainer.total_training_steps == steps
    assert config.actor_rollout_ref.actor.strategy == ("megatron" if check == "megatron" else "fsdp2")


@pytest.mark.parametrize(
    "what, row, shape",
    [
        ("loss", "htpo", "8x32"),
        ("weights", "influence_vstar", "32x64"),
        *(("weights", name, "8x32") for name in weight_names()),
    ],
)
def test_the_benchmarks_that_it_calls(tmp_path, monkeypatch, what, row, shape):
    """One small row of each, with its peer."""
    bench = runpy.run_path(str(SCRIPTS / "bench.py"))
    threads = torch.get_num_threads()
    # What its functions read are the names of its own module.
    monkeypatch.setitem(bench["main"].__globals__, "SHAPES", ((8, 32),))
    monkeypatch.setitem(bench["main"].__globals__, "SCORED", {"cpu": (8, 4, 8, 64)})
    try:
        bench["main"]([what, "--rows", row, "--repeats", "1", "--json", str(tmp_path / "rows.json")])
    finally:
        torch.set_num_threads(threads)
    (result,) = json.loads((tmp_path / "rows.json").read_text())
    ratio = "ratio_to_lm_head" if row.startswith("influence_") else "ratio_to_vanilla"
    assert list(result) == ["name", "shape", "ms", ratio, "peak_planes"]
    assert (result["name"], result["shape"]) == (row, shape) and all(result[key] > 0 for key in list(result)[2:])
    with pytest.raises(SystemExit):
        bench["main"]([what, "--rows", "no_such_row"])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--repeats", "0"], "argument --repeats: must be at least 1, got 0"),
        (["--json", "nowhere/rows.json"], "argument --json: there is no directory .*/nowhere"),
        (["--device", "abacus"], "argument --device: abacus cannot be used"),
    ],
)
def test_what_a_benchmark_cannot_do_is_said_before_it_measures(monkeypatch, capsys, arguments, message):
    bench = runpy.run_path(str(SCRIPTS / "bench.py"))
    monkeypatch.setitem(bench["main"].__globals__, "loss_rows", lambda _: pytest.fail("measured"))
    with pytest.raises(SystemExit, match="2"):
        bench["main"](["loss", *arguments])
    assert re.search(message, capsys.readouterr().err)


def test_every_check_says_how_it_ended(stand_ins):
    finished = run_script(SCRIPT, **stand_ins)
    assert finished.returncode == 0, finished.stdout + finished.stderr
    assert results(finished) == dict.fromkeys(CHECKS, "ok")
    assert "a GPU, 580.0" in finished.stdout


def test_a_failure_is_told_and_the_others_go_on(stand_ins):
    """The step fails, and what would follow in the same check is not run."""
    finished = run_script(SCRIPT, **stand_ins | {"FAILS": "total_training_steps=3"})
    assert finished.returncode == 1
    assert results(finished) == dict.fromkeys(CHECKS, "ok") | {"vllm": "FAIL"}
    assert "exit code 3" in finished.stdout and "it broke" in finished.stdout
    assert "read_steps" not in (stand_ins["OUTPUT_DIR"] / "vllm.log").read_text()


def test_some_checks_only(stand_ins):
    finished = run_script(SCRIPT, **stand_ins | {"CHECKS": "fsdp packages"})
    assert list(results(finished)) == ["packages", "fsdp"]
    assert run_script(SCRIPT, **stand_ins | {"CHECKS": "everything"}).returncode == 2


def test_a_folder_of_wheels_is_all_that_is_installed_from(stand_ins, tmp_path):
    (tmp_path / "wheels").mkdir()
    finished = run_script(SCRIPT, "--dry-run", **stand_ins | {"WHEELS": tmp_path / "wheels"})
    assert "--no-index" in finished.stdout and "--find-links" in finished.stdout
    missing = run_script(SCRIPT, **stand_ins | {"WHEELS": tmp_path / "nope"})
    assert missing.returncode == 2 and "is no folder" in missing.stderr


def test_a_dry_run_names_the_modules_that_are_not_there():
    """Each part of a name: megatron-core alone has no megatron.bridge."""
    finished = run_script(SCRIPT, "--dry-run", CHECKS="packages")
    named = set(re.findall(r"^this machine lacks (\S+) in ", finished.stdout, re.MULTILINE))
    assert named == {
        name for name in ("flash_attn", "megatron.bridge", "transformer_engine") if find_spec(name) is None
    }


def test_without_a_gpu_nothing_is_run():
    finished = run_script(SCRIPT, OUTPUT_DIR=ROOT / "outputs" / "never")
    assert finished.returncode == 2 and "need a GPU" in finished.stderr and results(finished) == {}
