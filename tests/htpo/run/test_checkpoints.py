# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""Which checkpoint a run resumes from when its end, or the machine's, left the newest one damaged."""

import json
import pickle
import shutil
from functools import cache

import pytest
import torch
import torch.distributed.checkpoint as dcp
from omegaconf import OmegaConf
from safetensors.torch import save_file
from verl.utils.checkpoint.checkpoint_manager import find_latest_ckpt_path

from recipe.htpo.config import compose
from recipe.htpo.run.checkpoints import TRACKER, prune, settle, what_is_lacking
from recipe.htpo.run.record import write_config

RANKS = 2


@cache
def composed(platform):
    """Composing is most of a test's time."""
    engine = {"cpu": "dp", "cpu_megatron": "megatron"}[platform]
    inputs = ["actor_rollout_ref.model.path=unused", "data.train_files=unused", "data.val_files=unused"]
    return compose([f"platform={platform}", f"model_engine={engine}", *inputs])


def configuration(tmp_path, *fields, platform="cpu"):
    directory = [f"htpo.output_dir={tmp_path}", f"trainer.n_gpus_per_node={RANKS}"]
    return OmegaConf.merge(composed(platform), OmegaConf.from_dotlist([*directory, *fields]))


def save(tmp_path, step):
    """The files of verl's FSDP checkpoint, in the order in which it writes them."""
    checkpoint = tmp_path / "checkpoints" / f"global_step_{step}"
    (checkpoint / "actor").mkdir(parents=True)
    for rank in range(RANKS):
        for name in ("model", "optim", "extra_state"):
            torch.save({"step": step}, checkpoint / "actor" / f"{name}_world_size_{RANKS}_rank_{rank}.pt")
    torch.save({"yielded": step}, checkpoint / "data.pt")
    (checkpoint.parent / TRACKER).write_text(str(step))
    return checkpoint


def chosen(tmp_path):
    """What verl will resume from."""
    path = find_latest_ckpt_path(str(tmp_path / "checkpoints"))
    return None if path is None else path.rpartition("_")[2]


def cut(path):
    """As a machine that went down leaves a file."""
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def test_a_whole_checkpoint_is_left_alone(tmp_path, capsys):
    save(tmp_path, 5)
    save(tmp_path, 10)
    assert settle(configuration(tmp_path)) == []
    assert "resuming" not in capsys.readouterr().out
    assert chosen(tmp_path) == "10"


def test_a_tracker_that_was_set_back_is_respected(tmp_path):
    save(tmp_path, 5)
    save(tmp_path, 10)
    (tmp_path / "checkpoints" / TRACKER).write_text("5\n")
    assert settle(configuration(tmp_path)) == []
    assert chosen(tmp_path) == "5"


@pytest.mark.parametrize("content", ["", "1x"])
def test_a_damaged_tracker_stops_verl_and_not_us(tmp_path, capsys, content):
    save(tmp_path, 5)
    save(tmp_path, 10)
    (tmp_path / "checkpoints" / TRACKER).write_text(content)
    with pytest.raises(ValueError):
        chosen(tmp_path)
    assert settle(configuration(tmp_path)) == []
    assert chosen(tmp_path) == "10"
    assert "names no step" in capsys.readouterr().out


@pytest.mark.parametrize(
    "name", ["data.pt", *(f"actor/{n}_world_size_2_rank_1.pt" for n in ("model", "optim", "extra_state"))]
)
@pytest.mark.parametrize("damage", ["missing", "cut short"])
def test_a_damaged_file_means_the_checkpoint_before(tmp_path, capsys, name, damage):
    save(tmp_path, 5)
    broken = save(tmp_path, 10) / name
    cut(broken) if damage == "cut short" else broken.unlink()
    assert settle(configuration(tmp_path)) == []
    assert chosen(tmp_path) == "5"
    assert f"not resuming from global_step_10: {broken} is {damage}" in capsys.readouterr().out


def test_killed_in_its_first_save_the_run_begins_anew(tmp_path):
    (save(tmp_path, 5) / "data.pt").unlink()
    (tmp_path / "checkpoints" / TRACKER).unlink()
    assert settle(configuration(tmp_path)) == []
    assert chosen(tmp_path) is None


def test_killed_before_the_first_tracker_was_written(tmp_path):
    save(tmp_path, 5)
    (tmp_path / "checkpoints" / TRACKER).unlink()
    assert settle(configuration(tmp_path)) == []
    assert chosen(tmp_path) == "5"


def test_no_whole_checkpoint_is_never_a_silent_new_start(tmp_path):
    shutil.rmtree(save(tmp_path, 5) / "actor")
    (problem,) = settle(configuration(tmp_path))
    assert "names step 5" in problem.message and "begin the run anew" in problem.remedy


def test_a_resume_path_must_be_whole(tmp_path):
    path = save(tmp_path, 5)
    assert settle(resuming_from(tmp_path, path)) == []
    (path / "data.pt").unlink()
    (problem,) = settle(resuming_from(tmp_path, path))
    assert problem.field == "trainer.resume_from_path" and "data.pt is missing" in problem.message


def resuming_from(tmp_path, path):
    return configuration(tmp_path, "trainer.resume_mode=resume_path", f"trainer.resume_from_path={path}")


def test_a_resume_path_of_another_run_holds_for_the_first_start(tmp_path, capsys):
    """verl would begin at it again after every crash."""
    path, own = save(tmp_path / "other", 100), tmp_path / "own"
    config = resuming_from(own, path)
    assert settle(config) == [] and config.trainer.resume_mode == "resume_path"
    write_config(own, config)
    # Killed before its first save, and in it.
    for name in (None, "data.pt"):
        if name:
            (save(own, 105) / name).unlink()
            (own / "checkpoints" / TRACKER).unlink()
        config = resuming_from(own, path)
        assert settle(config) == [] and config.trainer.resume_mode == "resume_path"
        write_config(own, config)
    shutil.rmtree(own / "checkpoints")
    save(own, 110)
    for _ in range(2):
        config = resuming_from(own, path)
        assert settle(config) == [] and config.trainer.resume_mode == "auto" and chosen(own) == "110"
        assert f"this run was started from {path} before" in capsys.readouterr().out
        write_config(own, config)


def test_a_run_that_goes_back_to_a_step_of_its_own_does_so_once(tmp_path):
    for step in (5, 10):
        path = save(tmp_path, step)
    config = resuming_from(tmp_path, path.with_name("global_step_5"))
    assert settle(config) == [] and config.trainer.resume_mode == "auto" and chosen(tmp_path) == "5"
    write_config(tmp_path, config)
    for expected in ("5", "10"):
        config = resuming_from(tmp_path, path.with_name("global_step_5"))
        assert settle(config) == [] and config.trainer.resume_mode == "auto" and chosen(tmp_path) == expected
        shutil.rmtree(path)
        save(tmp_path, 10)


def test_a_resume_path_of_another_run_where_this_one_has_checkpoints(tmp_path):
    path = save(tmp_path / "other", 100)
    save(tmp_path / "own", 5)
    (problem,) = settle(resuming_from(tmp_path / "own", path))
    assert problem.field == "trainer.resume_from_path" and "is another run's" in problem.message


def test_nothing_to_settle(tmp_path):
    assert settle(configuration(tmp_path)) == []
    shutil.rmtree(save(tmp_path, 5) / "actor")
    assert settle(configuration(tmp_path, "trainer.resume_mode=disable")) == []


def test_async_trainers_need_the_queue(tmp_path):
    path = save(tmp_path, 5)
    config = configuration(tmp_path, "trainer.v1.trainer_mode=htpo_colocate_async")
    assert list(what_is_lacking(path, config)) == [f"{path}/transfer_queue is missing"]
    (path / "transfer_queue").mkdir()
    assert list(what_is_lacking(path, config)) == []


def test_megatron(tmp_path):
    """What the manifest names, which verl writes last: sharded state, and weights in Hugging Face's format.

    A real one is read in tests/htpo/e2e/test_megatron_async.py.
    """
    path = save(tmp_path, 5)
    config = configuration(tmp_path)
    config.actor_rollout_ref.actor.strategy = "megatron"
    actor = path / "actor"
    manifest = actor / "ckpt_contents.json"
    assert list(what_is_lacking(path, config)) == [f"{manifest} is missing or damaged"]
    contents = {
        "model": {"format": "huggingface", "path": "model/huggingface"},
        "optimizer": {"format": "megatron_dist_checkpoint", "path": "optimizer/dist_ckpt"},
    }
    manifest.write_text(json.dumps({"contents": contents}))
    weights, shards = actor / "model" / "huggingface", actor / "optimizer" / "dist_ckpt"
    weights.mkdir(parents=True)
    # verl makes it in any case; it stays empty when a bridge saves the weights.
    (actor / "model" / "dist_ckpt").mkdir()
    save_file({"weight": torch.ones(1000)}, weights / "model.safetensors")
    dcp.save({"weight": torch.ones(1000)}, checkpoint_id=str(shards), no_dist=True)
    assert list(what_is_lacking(path, config)) == []

    (shard,) = shards.glob("*.distcp")
    cut(shard)
    assert list(what_is_lacking(path, config)) == [f"{shard} is cut short"]
    shard.unlink()
    assert list(what_is_lacking(path, config)) == [f"{shard} is missing"]
    (shards / ".metadata").unlink()
    assert ".metadata cannot be read" in next(what_is_lacking(path, config))


@pytest.mark.parametrize("kind", ["adapter", "fsdp"])
def test_megatron_saves_adapters_and_fsdp_elsewhere_than_the_manifest_says(tmp_path, kind):
    """verl/utils/checkpoint/megatron_checkpoint_manager.py, _build_checkpoint_manifest and save_checkpoint."""
    path = save(tmp_path, 5)
    config = configuration(tmp_path, platform="cpu_megatron")
    config.actor_rollout_ref.actor.megatron.use_megatron_fsdp = kind == "fsdp"
    sharded = {"format": "megatron_dist_checkpoint"}
    contents = {
        "model": {"format": "huggingface", "path": "model/huggingface"},
        "optimizer": {**sharded, "path": "optimizer/dist_ckpt"},
    }
    places = ["model/dist_ckpt"]
    if kind == "adapter":
        contents["model"]["peft_adapter_path"] = "model/huggingface/adapter"
        contents["peft_adapters"] = {**sharded, "path": "model/dist_ckpt"}
        places.append("optimizer/dist_ckpt")
    actor = path / "actor"
    (actor / "ckpt_contents.json").write_text(json.dumps({"contents": contents}))
    for place in places:
        dcp.save({"weight": torch.ones(1000)}, checkpoint_id=str(actor / place), no_dist=True)
    assert list(what_is_lacking(path, config)) == []
    for place in places:
        (shard,) = (actor / place).glob("*.distcp")
        cut(shard)
        assert next(what_is_lacking(path, config)) == f"{shard} is cut short"
        dcp.save({"weight": torch.ones(1000)}, checkpoint_id=str(actor / place), no_dist=True)


def test_megatron_weights_in_several_files(tmp_path):
    path = save(tmp_path, 5)
    config = configuration(tmp_path)
    config.actor_rollout_ref.actor.strategy = "megatron"
    contents = {"model": {"format": "huggingface", "path": "model/huggingface"}}
    (path / "actor" / "ckpt_contents.json").write_text(json.dumps({"contents": contents}))
    weights = path / "actor" / "model" / "huggingface"
    weights.mkdir(parents=True)
    names = [f"model-0000{number}-of-00002.safetensors" for number in (1, 2)]
    for name in names:
        save_file({name: torch.ones(100)}, weights / name)
    index = weights / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {name: name for name in names}}))
    assert list(what_is_lacking(path, config)) == []
    cut(weights / names[1])
    (lacking,) = what_is_lacking(path, config)
    assert lacking.startswith(f"{weights / names[1]} is cut short")
    (weights / names[1]).unlink()
    assert list(what_is_lacking(path, config)) == [f"{weights / names[1]} is missing"]
    cut(index)
    assert list(what_is_lacking(path, config)) == [f"{index} is damaged"]


# Text of another encoding, JSON of another form, a pickle of another type.
NO_JSON = [b"\xff\xfe", b"", b"{}", b"[]", b"null", b"5"]
DAMAGED = {
    "ckpt_contents.json": [
        *NO_JSON,
        b'{"contents": null}',
        b'{"contents": {"model": null}}',
        b'{"contents": {"model": {"format": "huggingface", "path": 1}}}',
    ],
    "model/huggingface/model.safetensors.index.json": [
        *NO_JSON,
        b'{"weight_map": ["a"]}',
        b'{"weight_map": {"a": null}}',
    ],
    "optimizer/dist_ckpt/.metadata": [b"\xff", pickle.dumps({"another": "type"}), b"cno_such_module\nname\n."],
}


@pytest.mark.parametrize("name", DAMAGED)
def test_a_damaged_manifest_means_the_checkpoint_before(tmp_path, capsys, name):
    config = configuration(tmp_path)
    config.actor_rollout_ref.actor.strategy = "megatron"
    contents = {
        "model": {"format": "huggingface", "path": "model/huggingface"},
        "optimizer": {"format": "megatron_dist_checkpoint", "path": "optimizer/dist_ckpt"},
    }
    for step in (5, 10):
        actor = save(tmp_path, step) / "actor"
        (actor / "ckpt_contents.json").write_text(json.dumps({"contents": contents}))
        (actor / "model" / "huggingface").mkdir(parents=True)
        save_file({"weight": torch.ones(10)}, actor / "model" / "huggingface" / "model.safetensors")
        dcp.save({"weight": torch.ones(10)}, checkpoint_id=str(actor / "optimizer" / "dist_ckpt"), no_dist=True)
    for content in DAMAGED[name]:
        (tmp_path / "checkpoints" / TRACKER).write_text("10")
        (actor / name).write_bytes(content)
        assert settle(config) == [] and chosen(tmp_path) == "5", content
        told = capsys.readouterr().out
        assert "not resuming from global_step_10: " in told and str((actor / name).parent) in told


def test_only_the_newest_are_kept(tmp_path):
    """Those of earlier starts as well; one that a run was killed in, further on, is not counted."""
    for step in (2, 4, 10, 12, 14):
        save(tmp_path, step)
    directory = tmp_path / "checkpoints"
    config = configuration(tmp_path)
    prune(config, keep=2, newest=12)
    assert {path.name for path in directory.iterdir()} == {
        *(f"global_step_{step}" for step in (10, 12, 14)),
        TRACKER,
    }
    prune(config, keep=5, newest=12)
    assert (directory / "global_step_10").is_dir()


def test_the_newest_whole_ones_are_kept(tmp_path):
    """Two that are cut short do not push out the ones from which the run can go on."""
    for step in (2, 4, 6, 8, 10):
        save(tmp_path, step)
    directory = tmp_path / "checkpoints"
    for step in (6, 8):
        cut(directory / f"global_step_{step}" / "data.pt")
    prune(configuration(tmp_path), keep=2, newest=10)
    left = {path.name for path in directory.iterdir() if path.is_dir()}
    assert {"global_step_10", "global_step_4"} <= left and "global_step_2" not in left
    assert settle(configuration(tmp_path)) == [] and chosen(tmp_path) == "10"


@pytest.mark.parametrize("content", ["", "{", "[]", '{"step": null, "data": {}}', '{"step": 5}'])
def test_damaged_metrics_beside_a_whole_checkpoint_are_named_and_passed_over(tmp_path, capsys, content):
    checkpoint = save(tmp_path, 5)
    (tmp_path / "metrics").mkdir()
    (tmp_path / "metrics" / "0000.jsonl").touch()
    (checkpoint / "metrics.json").write_text(content)
    assert settle(configuration(tmp_path)) == [] and chosen(tmp_path) == "5"
    assert f"passing over {checkpoint / 'metrics.json'}, which is damaged" in capsys.readouterr().out
