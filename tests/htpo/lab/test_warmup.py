# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
import importlib.metadata
import json
import os
import subprocess
import sys
from dataclasses import replace

import pytest
import torch
from rich.console import Console
from transformers import AutoModelForCausalLM, AutoTokenizer

from recipe.htpo.lab import warmup
from recipe.htpo.lab.arithmetic import problems
from recipe.htpo.lab.evaluate import evaluate
from recipe.htpo.lab.recipes import WarmupRecipe
from recipe.htpo.lab.warmup import RECORD, ensure_warm_model

TINY = WarmupRecipe(steps=3, batch_size=4, pool=50, terms=(2, 3))


def ensure(directory, recipe=TINY) -> str:
    """Runs it and returns what it said."""
    console = Console(record=True, quiet=False, width=200)
    assert ensure_warm_model(directory, recipe, evaluation_prompts=4, console=console) == directory
    return console.export_text()


def test_no_evaluation_on_demand(tmp_path):
    console = Console(record=True, width=200)
    ensure_warm_model(tmp_path / "model", TINY, evaluation_prompts=0, console=console)
    assert json.loads((tmp_path / "model" / RECORD).read_text())["held_out"] == {}
    assert "Held-out" not in console.export_text()


def test_directory_is_complete_recorded_and_reused(tmp_path):
    directory = tmp_path / "deep" / "model"
    threads = torch.get_num_threads()
    ensure(directory)
    assert torch.get_num_threads() == threads
    assert [path.name for path in directory.parent.iterdir()] == ["model"]
    record = json.loads((directory / RECORD).read_text())
    assert record["recipe"] == {
        "version": 1, "steps": 3, "batch_size": 4, "lr": 0.003, "direct_fraction": 0.25, "slip_rate": 0.06,
        "pool": 50, "terms": [2, 3], "seed": 0, "task": "arithmetic",
    }  # fmt: skip
    assert record["versions"]["torch"] == importlib.metadata.version("torch")
    assert record["held_out"]["all"]["prompts"] == 4
    assert record["held_out"]["all"]["samples_per_prompt"] == 8
    assert 0 < record["final_loss"] < 5.6

    model, tokenizer = AutoModelForCausalLM.from_pretrained(directory), AutoTokenizer.from_pretrained(directory)
    results = evaluate(model, tokenizer, problems("test", 4, 0, (2, 3)), 8)
    assert results["all"].first_token_entropy == record["held_out"]["all"]["first_token_entropy"]

    made = (directory / "model.safetensors").stat().st_mtime_ns
    assert "made by the same recipe" in ensure(directory)
    assert (directory / "model.safetensors").stat().st_mtime_ns == made


def test_another_recipe_makes_the_model_anew_and_says_why(tmp_path):
    directory = tmp_path / "model"
    ensure(directory)
    before = (directory / "model.safetensors").read_bytes()
    assert "seed: 0 there, 5 asked" in ensure(directory, replace(TINY, seed=5))
    assert (directory / "model.safetensors").read_bytes() != before
    assert json.loads((directory / RECORD).read_text())["recipe"]["seed"] == 5
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_a_foreign_directory_is_left_alone(tmp_path):
    (tmp_path / "thesis.txt").write_text("three years of work")
    with pytest.raises(FileExistsError, match="is no demo model"):
        ensure(tmp_path)
    assert (tmp_path / "thesis.txt").read_text() == "three years of work"


def test_an_interrupted_run_leaves_nothing_and_keeps_the_old_model(tmp_path, monkeypatch):
    directory = tmp_path / "model"
    ensure(directory)

    def interrupt(*args):
        raise KeyboardInterrupt

    monkeypatch.setattr("recipe.htpo.lab.evaluate.evaluate", interrupt)
    threads = torch.get_num_threads()
    with pytest.raises(KeyboardInterrupt):
        ensure(directory, replace(TINY, seed=5))
    assert torch.get_num_threads() == threads
    assert [path.name for path in tmp_path.iterdir()] == ["model"]
    assert json.loads((directory / RECORD).read_text())["recipe"]["seed"] == 0


def test_what_a_killed_process_of_the_same_number_left_is_in_nobodys_way(tmp_path):
    left = tmp_path / f".model.building-{os.getpid()}"
    left.mkdir()
    (left / "half").write_text("")
    ensure(tmp_path / "model")
    assert [path.name for path in tmp_path.iterdir()] == ["model"]
    assert not (tmp_path / "model" / "half").exists()


def test_a_start_that_finds_the_model_imports_no_torch(tmp_path):
    directory = tmp_path / "model"
    ensure(directory)
    look = (
        "import sys\n"
        "from recipe.htpo.lab.recipes import WarmupRecipe\n"
        "from recipe.htpo.lab.warmup import ensure_warm_model\n"
        f"ensure_warm_model({str(directory)!r}, WarmupRecipe(steps=3, batch_size=4, pool=50, terms=(2, 3)))\n"
        "sys.exit('torch' in sys.modules)"
    )
    found = subprocess.run([sys.executable, "-c", look], capture_output=True, text=True)
    assert found.returncode == 0 and "made by the same recipe" in found.stdout, found.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--steps", "0"], "steps must be at least 1, got 0"),
        (["--terms", "2", "--evaluation-prompts", "0"], "count=20000 asks for more problems than exist"),
        (["--threads", "0"], "argument --threads: must be at least 1, got 0"),
        (["--task", "countdown", "--evaluation-prompts", "600"], "count=600 asks for more problems than were found"),
    ],
)
def test_mistakes_are_named_before_anything_is_trained(tmp_path, monkeypatch, capsys, arguments, message):
    monkeypatch.setattr("recipe.htpo.lab.training._accumulate_gradients", lambda *_: pytest.fail("trained"))
    monkeypatch.setattr("sys.argv", ["warmup", "--out", str(tmp_path / "model"), *arguments])
    with pytest.raises(SystemExit, match="2"):
        warmup.main()
    assert message in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_command_line(tmp_path, monkeypatch, capsys):
    directory = tmp_path / "model"
    ensure(directory)
    record = json.loads((directory / RECORD).read_text())
    # As in a record that is older than the field.
    assert record["recipe"].pop("task") == "arithmetic"
    (directory / RECORD).write_text(json.dumps(record))
    arguments = "--steps 3 --batch-size 4 --pool 50 --terms 2 3 --threads 1".split()
    monkeypatch.setattr("sys.argv", ["warmup", "--out", str(directory), *arguments])
    warmup.main()
    assert "made by the same recipe" in capsys.readouterr().out
