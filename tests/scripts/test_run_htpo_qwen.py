# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""`scripts/run_htpo_qwen.sh`: names, paths, dry runs."""

import shlex
import sys

import pytest
from script_support import ROOT, SCRIPTS, run_script

import recipe.htpo.config
from recipe.htpo.objective import preset_names

SCRIPT = SCRIPTS / "run_htpo_qwen.sh"
LAYOUTS = sorted((ROOT / "recipe/htpo/config/layout").glob("*/qwen3_*.yaml"))
SIZES = sorted({path.stem for path in LAYOUTS})


def overrides_of(finished) -> dict[str, str]:
    """The overrides of the command that the script printed, as Hydra will get them."""
    assert finished.returncode == 0, finished.stderr
    words = shlex.split(finished.stdout.splitlines()[0].removeprefix("+ "))
    assert words[1:3] == ["-m", "recipe.htpo.main_htpo"]
    return dict(word.split("=", 1) for word in words[3:])


@pytest.fixture
def python(tmp_path):
    """The tests' Python, for which the training command does nothing: the script has printed it."""
    path = tmp_path / "python"
    path.write_text(
        f'#!/usr/bin/env bash\n[[ "$1 $2" == \'-m recipe.htpo.main_htpo\' ]] || exec {sys.executable} "$@"\n'
    )
    path.chmod(0o755)
    return path


def test_there_are_seven_sizes_for_each_back_end():
    assert len(SIZES) == 7 and len(LAYOUTS) == 14


@pytest.mark.parametrize(
    ("knob", "value", "valid"),
    [("MODEL", "qwen3_9b", SIZES), ("BACKEND", "deepspeed", ["fsdp", "megatron"]), ("ALGO", "ppo", preset_names())],
)
def test_an_unknown_name_is_refused_with_the_valid_ones(knob, value, valid):
    finished = run_script(SCRIPT, **{knob: value})
    assert finished.returncode == 2 and not finished.stdout
    assert finished.stderr.startswith(f"{knob} is {value}; valid are: ")
    assert set(finished.stderr.split(": ")[1].split()) == set(valid)


def test_a_python_without_the_package_is_refused(bare_python):
    finished = run_script(SCRIPT, PYTHON=bare_python)
    assert finished.returncode == 2 and f"verl-htpo is not installed in {bare_python}" in finished.stderr


def test_defaults_and_the_callers_directory(tmp_path, python):
    directory = tmp_path / "it's a, directory"
    (directory / "model").mkdir(parents=True)
    finished = run_script(
        SCRIPT,
        "--dry-run",
        "data.seed=7",
        cwd=directory,
        PYTHON=python,
        MODEL_PATH="model",
        TRAIN_FILES="a.parquet,/data/b.parquet",
        VAL_FILES="c.parquet",
        NNODES="",
    )
    overrides = overrides_of(finished)
    assert overrides["layout"] == "megatron/qwen3_8b" and overrides["model_engine"] == "megatron"
    assert overrides["objective"] == "htpo" and overrides["data.seed"] == "7" and overrides["htpo.dry_run"] == "True"
    # Empty or absent knobs leave the layout's values alone.
    assert not {"trainer.nnodes", "trainer.n_gpus_per_node"} & set(overrides)
    config = recipe.htpo.config.compose([f"{name}={value}" for name, value in overrides.items()])
    assert config.data.train_files == [str(directory / "a.parquet"), "/data/b.parquet"]
    assert config.data.val_files == str(directory / "c.parquet")
    assert config.actor_rollout_ref.model.path == str(directory / "model")
    assert config.htpo.output_dir == str(directory / "outputs/qwen3_8b_megatron_htpo")
    assert config.trainer.nnodes == 4 and config.data.seed == 7


@pytest.mark.parametrize("spelling", ["Qwen/Qwen3-30B-A3B-Base", "30b-a3b"])
def test_spellings_of_a_size_and_given_knobs(spelling, python):
    knobs = {"NNODES": 2, "GPUS_PER_NODE": 4, "MODEL_PATH": "Qwen/Other"}
    finished = run_script(SCRIPT, "--dry-run", PYTHON=python, MODEL=spelling, BACKEND="fsdp", **knobs)
    overrides = overrides_of(finished)
    assert overrides["layout"] == "fsdp/qwen3_30b_a3b" and overrides["model_engine"] == "dp"
    assert (overrides["trainer.nnodes"], overrides["trainer.n_gpus_per_node"]) == ("2", "4")
    assert overrides["actor_rollout_ref.model.path"] == "Qwen/Other"


@pytest.mark.long
@pytest.mark.parametrize(("model", "backend"), [("qwen3_8b", "megatron"), ("qwen3_30b_a3b", "fsdp")])
def test_dry_run(model, backend):
    """Every layout is dry-run in tests/htpo/config/test_layouts.py; here by the script, in a process of its own."""
    finished = run_script(SCRIPT, "--dry-run", MODEL=model, BACKEND=backend, ALGO="dapo")
    assert finished.returncode == 0, finished.stderr
    assert f"{backend}/{model}" in finished.stdout and "nothing was started" in finished.stdout
