# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""A run is its directory: the recorded configuration decides whether a start continues it."""

import errno
import os
from copy import deepcopy
from functools import cache

import pytest
from omegaconf import OmegaConf

from recipe.htpo.config import compose
from recipe.htpo.run import record


@pytest.fixture(scope="module")
def config():
    return compose(["platform=cpu", "actor_rollout_ref.model.path=m", "data.train_files=[a,b]", "data.val_files=c"])


def changed(config, output_dir, **fields):
    other = OmegaConf.create(OmegaConf.to_container(config, resolve=False))
    for field, value in fields.items():
        OmegaConf.update(other, field.replace("__", "."), value, force_add=True)
    return record.changed_fields(output_dir, other)


def test_a_new_directory_holds_no_run(config, tmp_path):
    assert record.changed_fields(tmp_path / "new", config) == []


def test_the_same_configuration_continues(config, tmp_path):
    """Every value survives the file: small floats, lists, nulls, interpolations."""
    record.write_config(tmp_path, config)
    assert record.changed_fields(tmp_path, config) == []
    # As it would be composed for the next start.
    again = compose(["platform=cpu", "actor_rollout_ref.model.path=m", "data.train_files=[a,b]", "data.val_files=c"])
    assert record.changed_fields(tmp_path, again) == []


def test_a_change_is_named_with_both_values(config, tmp_path):
    record.write_config(tmp_path, config)
    lr = config.actor_rollout_ref.actor.optim.lr
    assert changed(config, tmp_path, actor_rollout_ref__actor__optim__lr=0.5) == [
        f"actor_rollout_ref.actor.optim.lr: {lr} -> 0.5"
    ]
    assert changed(config, tmp_path, data__train_files=["a"]) == ["data.train_files: ['a', 'b'] -> ['a']"]
    assert changed(config, tmp_path, algorithm__new=1) == ["algorithm.new: (absent) -> 1"]
    # What an interpolation gives counts, not how it is written: data.seed stands for nothing else.
    assert "data.seed: 42 -> 7" in changed(config, tmp_path, data__seed=7)


@pytest.mark.parametrize("field", record.FREE_FIELDS)
def test_what_cannot_change_a_step_may_differ(config, tmp_path, field):
    assert OmegaConf.select(config, field, default="absent") != "absent", "no such field"
    config = OmegaConf.merge(config, {"actor_rollout_ref": {"actor": {"optim": {"lr_scheduler_type": "constant"}}}})
    record.write_config(tmp_path, config)
    assert changed(config, tmp_path, **{field.replace(".", "__"): "other"}) == []


@cache
def on_engine(platform):
    engine = {"cpu": "dp", "cpu_megatron": "megatron"}[platform]
    inputs = ["actor_rollout_ref.model.path=m", "data.train_files=a", "data.val_files=c"]
    return compose([f"platform={platform}", f"model_engine={engine}", *inputs])


@pytest.mark.parametrize(
    "platform, schedule, goes_by_length",
    [
        ("cpu", {}, True),
        ("cpu", {"lr_scheduler_type": "constant"}, False),
        ("cpu", {"lr_scheduler_type": "constant", "lr_warmup_steps": 0, "lr_warmup_steps_ratio": 0.1}, True),
        ("cpu", {"lr_scheduler_type": "constant", "lr_warmup_steps_ratio": 0.1}, False),
        ("cpu_megatron", {}, True),
        ("cpu_megatron", {"lr_decay_style": "constant"}, False),
        ("cpu_megatron", {"lr_decay_steps": 100}, False),
        ("cpu_megatron", {"lr_decay_style": "constant", "lr_warmup_steps": -1, "lr_warmup_steps_ratio": 0.1}, True),
    ],
)
def test_the_length_may_differ_where_no_schedule_goes_by_it(platform, schedule, goes_by_length):
    """Megatron would go on with the last rate of the old schedule, which may be 0; FSDP with that of another one."""
    config = deepcopy(on_engine(platform))
    for name, value in schedule.items():
        OmegaConf.update(config, f"actor_rollout_ref.actor.optim.{name}", value)
    config.trainer.total_training_steps = 30
    assert list(record.schedule_fields(config)) == ["trainer.total_training_steps"] * goes_by_length
    config.trainer.total_training_steps = None
    both = ["trainer.total_training_steps", "trainer.total_epochs"]
    assert list(record.schedule_fields(config)) == both * goes_by_length


def test_a_length_that_may_not_differ_is_named_with_the_reason(tmp_path):
    config = on_engine("cpu")
    record.write_config(tmp_path, config)
    assert changed(config, tmp_path, trainer__total_training_steps=60) == [
        "trainer.total_training_steps: 30 -> 60 (the learning rate's schedule goes by it)"
    ]
    assert changed(config, tmp_path, trainer__total_epochs=7) == []


def test_a_field_that_only_begins_like_a_free_one_counts(config, tmp_path):
    record.write_config(tmp_path, config)
    assert changed(config, tmp_path, trainer__save_freq_of_something=1) != []


def test_the_record_is_written_whole_or_not_at_all(config, tmp_path, monkeypatch):
    record.write_config(tmp_path, config)
    before = (tmp_path / record.CONFIG_FILE).read_text()

    def killed(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", killed)
    with pytest.raises(KeyboardInterrupt):
        record.write_config(tmp_path, compose(["platform=cpu", "data.seed=1"]))
    assert (tmp_path / record.CONFIG_FILE).read_text() == before


def test_every_start_gets_a_metrics_file_of_its_own(tmp_path):
    names = []
    for _ in range(3):
        path = record.next_metrics_file(tmp_path)
        path.touch()
        names.append(path.name)
    assert names == sorted(set(names)) == ["0000.jsonl", "0001.jsonl", "0002.jsonl"]
    # verl truncates the file it is given: after a deletion no existing file may be named.
    (tmp_path / record.METRICS_DIR / "0000.jsonl").unlink()
    assert record.next_metrics_file(tmp_path).name == "0003.jsonl"


@pytest.mark.parametrize("content", ["", "a: [", "\x00\x00", "just text"])
def test_a_damaged_record_is_named_and_passed_over(config, tmp_path, capsys, content):
    (tmp_path / record.CONFIG_FILE).write_text(content)
    assert record.changed_fields(tmp_path, config) == []
    assert f"passing over {tmp_path / record.CONFIG_FILE}, which is damaged" in capsys.readouterr().out


def test_other_files_among_the_metrics(tmp_path):
    (tmp_path / record.METRICS_DIR).mkdir()
    (tmp_path / record.METRICS_DIR / "notes.jsonl").touch()
    assert record.next_metrics_file(tmp_path).name == "0000.jsonl"


def test_bytes_are_on_the_disk_before_their_name_is(tmp_path, monkeypatch):
    """A power cut after `write_atomic` loses nothing, and one before it leaves the old file."""
    path = tmp_path / "file"
    happened = []
    fsync, replace = os.fsync, os.replace

    def note_sync(descriptor):
        happened.append(os.readlink(f"/proc/self/fd/{descriptor}"))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", note_sync)
    monkeypatch.setattr(os, "replace", lambda old, new: (happened.append("replace"), replace(old, new)))
    record.write_atomic(path, b"new")
    assert happened == [f"{path}.tmp", "replace", str(tmp_path)]
    assert path.read_bytes() == b"new"


def test_a_full_disk_leaves_the_old_file_and_no_other(tmp_path, monkeypatch):
    path = tmp_path / "file"
    record.write_atomic(path, b"old")

    def no_space(_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", no_space)
    with pytest.raises(OSError, match="No space"):
        record.write_atomic(path, b"new")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]
