# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""Which directory is the model of a name."""

import subprocess
from pathlib import Path

import pytest
from transformers import AutoTokenizer

from recipe.htpo.evaluation.from_gguf import find
from recipe.htpo.evaluation.from_gguf import main as from_gguf
from recipe.htpo.evaluation.models import identity, load, model_directory
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


def test_a_model_that_cannot_be_loaded_is_named(tmp_path, monkeypatch):
    with pytest.raises(
        SettingsError, match="model: .*m cannot be loaded .*Remedy: give the directory of a Hugging Face"
    ):
        load(str(tmp_path / "m"), str(whole(tmp_path / "m")))

    def nothing_on_the_hub(name, **_):
        raise OSError(f"{name} is not a valid model identifier\nand more")

    monkeypatch.setattr(AutoTokenizer, "from_pretrained", nothing_on_the_hub)
    monkeypatch.chdir(tmp_path)
    whole(Path("outputs") / "cpu_htpo")
    with pytest.raises(
        SettingsError, match="outputs/cpu_htop is no directory here, nor on the hub .*Remedy: did you mean ou"
    ):
        load("outputs/cpu_htop", model_directory("outputs/cpu_htop", tmp_path))
    with pytest.raises(SettingsError, match="some-model is no directory.*valid.*give a model, a checkpoint or a name"):
        load("someone/some-model", "someone/some-model")


def test_a_directory_without_a_model(tmp_path):
    with pytest.raises(SettingsError, match="holds neither a Hugging Face model.*checkpoints/global_step_N"):
        model_directory(str(tmp_path), tmp_path)


@pytest.mark.parametrize("shard", ["model_world_size_1_rank_0.pt", "model/dist_ckpt/__0_0.distcp"])
def test_shards_are_merged_once_and_again_when_they_have_changed(tmp_path, monkeypatch, shard):
    """verl's merger itself: tests/htpo/engines/test_merged_checkpoint.py."""
    actor = tmp_path / "global_step_1" / "actor"
    (actor / shard).parent.mkdir(parents=True)
    if "dist_ckpt" not in shard:
        (actor / "fsdp_config.json").write_text("{}")
    merges = []

    def merger(command, **_):
        source, target = (Path(command[command.index(name) + 1]) for name in ("--local_dir", "--target_dir"))
        merges.append(source)
        (whole(target) / "model.safetensors").write_bytes((source / shard).read_bytes())
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(subprocess, "run", merger)
    found = []
    for weights in (b"one", b"one", b"two"):
        (actor / shard).write_bytes(weights)
        directory = model_directory(str(actor.parent), tmp_path / "scratch")
        assert (Path(directory) / "model.safetensors").read_bytes() == weights
        found.append(identity(directory))
    assert merges == [actor, actor]
    assert found[0] == found[1] and found[0]["digest"] != found[2]["digest"]
    assert [path.name for path in (tmp_path / "scratch").iterdir()] == [found[2]["name"]]


def test_other_weights_are_another_model(tmp_path):
    one, two = whole(tmp_path / "a" / "m"), whole(tmp_path / "b" / "m")
    assert identity(str(one)) == identity(str(two))
    (two / "model.safetensors").write_bytes(b"weightz")
    assert identity(str(one)) != identity(str(two))
    assert identity("someone/some-model") == {"name": "someone/some-model"}


def test_a_directory_that_is_a_pattern_is_refused(tmp_path):
    model = str(whole(tmp_path / "run[1]" / "model"))
    with pytest.raises(SettingsError, match="run.1./model has one of .*which vLLM takes for a pattern.*rename"):
        load(model, model)


def test_a_gguf_file_that_is_not_there(tmp_path, capsys):
    assert find("recipe.htpo".partition(".")[0] + ":htpo/reward.py").name == "reward.py"
    assert from_gguf(["nothing:model.gguf", str(tmp_path / "out")]) == 2
    assert "PACKAGE:NAME" in capsys.readouterr().err
    assert from_gguf(["nothing", str(tmp_path)]) == 0


def test_a_file_that_is_no_gguf(tmp_path, capsys):
    (tmp_path / "model.gguf").write_bytes(b"GGUX" + bytes(64))
    assert from_gguf([str(tmp_path / "model.gguf"), str(tmp_path / "out")]) == 2
    assert "model.gguf cannot be converted into " in capsys.readouterr().err and not (tmp_path / "out").exists()
