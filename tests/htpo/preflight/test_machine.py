# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""What a machine lacks for a run: packages, the model, the data, an output directory that fits."""

from pathlib import Path

import pyarrow.parquet as pq
import pytest
from preflight_support import composed, the_problem

from recipe.htpo.lab.model import make_model, make_tokenizer
from recipe.htpo.preflight import find_problems
from recipe.htpo.preflight.machine import check_python_path
from recipe.htpo.run.record import write_config

ROLLOUT = "actor_rollout_ref.rollout"

pytestmark = pytest.mark.usefixtures("no_ray")


def test_plugin_missing(sound, monkeypatch):
    monkeypatch.setattr("importlib.metadata.entry_points", lambda group: [])
    problem = the_problem(find_problems(composed(sound)), "environment")
    assert "verl.plugins" in problem.message and "every node" in problem.remedy


@pytest.mark.parametrize(("path", "refused"), [("/my dir/python", 1), ("/a$b/python", 1), ("/\u00fc-1.0_a/python", 0)])
def test_ray_starts_no_worker_from_a_path_that_a_shell_reads(sound, monkeypatch, path, refused):
    monkeypatch.setattr("sys.executable", path)
    problems = list(check_python_path(composed(sound)))
    assert len(problems) == refused and all("HTPO_VENV" in problem.remedy for problem in problems)


def test_rays_line_that_quotes_nothing():
    """Fails when Ray quotes the path of Python: then `check_python_path` is no longer needed."""
    from ray._private.runtime_env import context

    assert 'executable = ["exec", self.py_executable]' in Path(context.__file__).read_text().splitlines()[47]


def test_versions(sound, monkeypatch):
    monkeypatch.setattr("recipe.htpo.preflight.machine.VERL", "0.9.1")
    required = {"cpu": {"verl": "==0.9.0", "no-such-distribution": "==1.0"}}
    monkeypatch.setattr("recipe.htpo.preflight.machine.REQUIRED", required)
    problems = find_problems(composed(sound))
    assert [problem.message for problem in problems] == [
        "verl is 0.9.1, this recipe needs 0.9.0",
        "no-such-distribution is not installed, this recipe needs 1.0",
    ]
    assert all("setup_env.sh" in problem.remedy for problem in problems)
    assert find_problems(composed([*sound, "htpo.check_versions=False"])) == []


def test_model_directory(sound, inputs, tmp_path):
    path = "actor_rollout_ref.model.path"
    missing = find_problems(composed([*sound, f"{path}=/no/such/model"]))
    assert "no such directory" in the_problem(missing, path).message
    (tmp_path / "empty").mkdir()
    empty = the_problem(find_problems(composed([*sound, f"{path}={tmp_path}/empty"])), path)
    assert "cannot be loaded" in empty.message and "config.json and a tokenizer" in empty.remedy


def test_chat_template(sound, tmp_path):
    tokenizer = make_tokenizer()
    tokenizer.chat_template = None
    tokenizer.save_pretrained(tmp_path / "model")
    make_model(tokenizer, seed=0).config.save_pretrained(tmp_path / "model")
    # Prompts are measured with the template too, so only the model's problems are looked at here.
    overrides = [*sound, f"actor_rollout_ref.model.path={tmp_path}/model", "data.filter_overlong_prompts=True"]
    problem = the_problem(find_problems(composed(overrides)), "actor_rollout_ref.model.path")
    assert "no chat template" in problem.message and "custom_chat_template" in problem.remedy


def test_model_positions(sound):
    longer = [*sound, "data.max_response_length=600", f"{ROLLOUT}.max_model_len=1000"]
    problem = the_problem(find_problems(composed(longer)), "data.max_response_length")
    assert "632 tokens, the model has 512 positions" in problem.message


@pytest.mark.parametrize("field", ["data.train_files", "data.val_files"])
def test_data_files(sound, inputs, tmp_path, field):
    missing = the_problem(find_problems(composed([*sound, f"{field}=/no/such.parquet"])), field)
    assert "/no/such.parquet" in missing.message and missing.remedy
    (tmp_path / "broken.parquet").write_text("not parquet")
    broken = the_problem(find_problems(composed([*sound, f"{field}={tmp_path}/broken.parquet"])), field)
    assert "broken.parquet" in broken.message and broken.remedy
    table = pq.read_table(inputs / "train.parquet")
    pq.write_table(table.drop_columns(["reward_model"]), tmp_path / "column.parquet")
    column = the_problem(find_problems(composed([*sound, f"{field}={tmp_path}/column.parquet"])), field)
    assert "reward_model" in column.message
    # In a list as well.
    both = f"{field}=[{inputs}/train.parquet,{tmp_path}/column.parquet]"
    assert the_problem(find_problems(composed([*sound, both])), field).message == column.message


def test_overlong_prompts(sound):
    short = [*sound, "data.max_prompt_length=3"]
    problem = the_problem(find_problems(composed(short)), "data.train_files")
    assert "3" in problem.message and problem.remedy
    # verl drops them itself where it is told to.
    assert find_problems(composed([*short, "data.filter_overlong_prompts=True"])) == []


def test_too_few_prompts(sound):
    problem = the_problem(find_problems(composed([*sound, "data.train_batch_size=64"])), "data.train_batch_size")
    assert "has 48 prompts" in problem.message and "build more data" in problem.remedy
    fewer = composed([*sound, "data.train_max_samples=16"])
    assert "train_max_samples leaves 16" in the_problem(find_problems(fewer), "data.train_batch_size").message


def test_too_few_epochs(sound):
    """verl would end after them, without the last save and validation."""
    more = [*sound, "data.train_batch_size=16", "trainer.total_training_steps=31", "trainer.total_epochs=10"]
    problem = the_problem(find_problems(composed(more)), "trainer.total_training_steps")
    assert "10 epochs of 48 prompts are 30 steps" in problem.message and "total_epochs=11" in problem.remedy
    assert find_problems(composed([*more, "trainer.total_epochs=11"])) == []


def test_output_directory(sound, tmp_path):
    run = [*sound, f"htpo.output_dir={tmp_path}/run"]
    write_config(tmp_path / "run", composed(run))
    assert find_problems(composed([*run, "trainer.save_freq=99"])) == []
    longer = the_problem(find_problems(composed([*run, "trainer.total_training_steps=99"])), "htpo.output_dir")
    assert "total_training_steps: 30 -> 99 (the learning rate's schedule goes by it)" in longer.message
    problem = the_problem(find_problems(composed([*run, "data.seed=1"])), "htpo.output_dir")
    assert "data.seed: 42 -> 1" in problem.message and "choose another htpo.output_dir" in problem.remedy
    many = the_problem(find_problems(composed([*run, "objective=entropy_80_20", "data.seed=1"])), "htpo.output_dir")
    assert "more)" in many.message
    # Only compared when all else is well: a typing error would appear twice.
    assert not [p for p in find_problems(composed([*run, "data.seed=1", f"{ROLLOUT}.n=1"])) if p.field == problem.field]


def test_tokens_of_steps_that_are_trained_already(sound, tmp_path):
    run = [*sound, f"htpo.output_dir={tmp_path}/run", "htpo.dump_tokens.steps=[1,30]"]
    assert find_problems(composed(run)) == []
    (tmp_path / "run" / "checkpoints").mkdir(parents=True)
    (tmp_path / "run" / "checkpoints" / "latest_checkpointed_iteration.txt").write_text("10")
    problem = the_problem(find_problems(composed(run)), "htpo.dump_tokens.steps")
    assert "has trained step 10: the tokens of [1] are not kept" in problem.message
    assert "after 10, or choose another htpo.output_dir" in problem.remedy
    assert find_problems(composed([*run, "trainer.resume_mode=disable"])) == []
    # A run that is resumed has written them.
    (tmp_path / "run" / "tokens").mkdir()
    (tmp_path / "run" / "tokens" / "step_000001.parquet").write_bytes(b"")
    assert find_problems(composed(run)) == []


def test_output_directory_cannot_be_written(sound, tmp_path):
    (tmp_path / "file").write_text("")
    problem = the_problem(find_problems(composed([*sound, f"htpo.output_dir={tmp_path}/file/run"])), "htpo.output_dir")
    assert "cannot be written" in problem.message
