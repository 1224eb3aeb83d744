# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""Which directory is the model of a name."""

import pytest

from recipe.htpo.evaluation.from_gguf import find
from recipe.htpo.evaluation.from_gguf import main as from_gguf
from recipe.htpo.evaluation.models import identity, model_directory
from recipe.htpo.evaluation.settings import SettingsError


def whole(path):
    path.mkdir(parents=True)
    (path / "config.json").write_text("{}")
    (path / "model.safetensors").write_bytes(b"weights")
    return path


def test_a_model_a_run_and_a_checkpoint_that_carries_its_model(tmp_path):
    model = whole(tmp_path / "model")
    assert model_directory(str(model), tmp_path) == str(model)
    checkpoints = tmp_path / "run" / "checkpoints"
    for step, inner in ((5, "huggingface"), (10, "model/huggingface")):
        whole(checkpoints / f"global_step_{step}" / "actor" / inner)
    (checkpoints / "latest_checkpointed_iteration.txt").write_text("10")
    newest = checkpoints / "global_step_10" / "actor" / "model" / "huggingface"
    for name in (tmp_path / "run", checkpoints, checkpoints / "global_step_10", newest):
        assert model_directory(str(name), tmp_path) == str(newest)
    older = checkpoints / "global_step_5"
    assert model_directory(str(older), tmp_path) == str(older / "actor" / "huggingface")


def test_what_is_no_path_may_be_a_name_on_the_hub(tmp_path):
    assert model_directory("someone/some-model", tmp_path) == "someone/some-model"
    with pytest.raises(SettingsError, match="no such directory"):
        model_directory("./models/nothing/there", tmp_path)


def test_a_directory_without_a_model(tmp_path):
    with pytest.raises(SettingsError, match="holds neither a Hugging Face model.*checkpoints/global_step_N"):
        model_directory(str(tmp_path), tmp_path)


def test_other_weights_are_another_model(tmp_path):
    one, two = whole(tmp_path / "a" / "m"), whole(tmp_path / "b" / "m")
    assert identity(str(one)) == identity(str(two))
    (two / "model.safetensors").write_bytes(b"weightz")
    assert identity(str(one)) != identity(str(two))
    assert identity("someone/some-model") == {"name": "someone/some-model"}


def test_a_gguf_file_that_is_not_there(tmp_path, capsys):
    assert find("recipe.htpo".partition(".")[0] + ":htpo/reward.py").name == "reward.py"
    assert from_gguf(["nothing:model.gguf", str(tmp_path / "out")]) == 2
    assert "PACKAGE:NAME" in capsys.readouterr().err
    assert from_gguf(["nothing", str(tmp_path)]) == 0
