# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""A run that is asked to stop, in verl's own training loop; the steps themselves are stand-ins.

`tests/faults/test_drills.py` does it with the whole stack.
"""

from types import SimpleNamespace

import pytest
import transfer_queue as tq

from recipe.htpo.config import compose
from recipe.htpo.run import stop
from recipe.htpo.seams.trainer import HTPOTrainerSync

STEPS = 6


class Loop(HTPOTrainerSync):
    """verl's `fit` with our hooks around steps that do nothing."""

    def __init__(self, config, ask_in_step):
        super().__init__(config)
        self.ask_in_step, self.trained, self.saved, self.recorded = ask_in_step, [], [], []
        self.steps_per_epoch, self.total_training_steps, self.global_steps = 100, STEPS, 0
        self.checkpoint_manager = SimpleNamespace(update_weights=lambda step: None)

    def step(self, metrics, timing_raw):
        self.trained.append(self.global_steps)
        if self.global_steps == self.ask_in_step:
            (self.output_dir / stop.REQUEST).touch()
        return SimpleNamespace(keys=[], partition_id="train")

    def _save_checkpoint(self):
        self.saved.append(self.global_steps)

    def _compute_metrics(self, *_, global_steps, **__):
        self.recorded.append(global_steps)

    def _nothing(self, *_, **__):
        return {}

    _reissue_inflight_prompts = _start_profiling = _stop_profiling = _nothing
    on_train_begin = on_train_end = _consume_sync_metrics = _shutdown_dump_executor = _nothing


@pytest.fixture
def run(tmp_path, monkeypatch):
    """A run that is asked to stop in a step: what it trained, saved and recorded."""
    monkeypatch.setattr(tq, "kv_clear", lambda **_: None)
    for name in (stop.DEADLINE, stop.SLURM_DEADLINE):
        monkeypatch.delenv(name, raising=False)

    def start(ask_in_step, *overrides):
        config = compose(
            [
                "platform=cpu",
                "actor_rollout_ref.model.path=unused",
                "data.train_files=unused",
                "data.val_files=unused",
                f"htpo.output_dir={tmp_path}",
                "trainer.logger=[console]",
                "trainer.val_before_train=False",
                "trainer.test_freq=-1",
                "trainer.save_freq=4",
                "algorithm.filter_groups.enable=False",
                *overrides,
            ]
        )
        Loop.output_dir = tmp_path
        made = Loop(config, ask_in_step)
        made.fit(agent_loop_manager=None)
        return made

    return start


def test_it_saves_at_the_end_of_the_step_and_ends_when_that_is_recorded(run, tmp_path):
    made = run(3)
    assert made.trained == made.recorded == [1, 2, 3] and made.saved == [3]
    assert (tmp_path / "stopped").read_text() == "3\n" and not (tmp_path / "stop").exists()


def test_a_step_that_is_saved_anyway_is_saved_once(run, tmp_path):
    made = run(4)
    assert made.trained == [1, 2, 3, 4] and made.saved == [4] and stop.was_asked(tmp_path)


def test_the_last_step_ends_the_run_as_always(run, tmp_path):
    made = run(STEPS)
    assert made.trained == list(range(1, STEPS + 1)) and made.saved == [4, STEPS] and not stop.was_asked(tmp_path)


def test_a_run_without_checkpoints_of_its_own_saves_too(run):
    assert run(2, "trainer.save_freq=-1").saved == [2]


def test_a_run_that_nobody_asks_goes_on(run, tmp_path):
    made = run(None)
    assert made.trained == list(range(1, STEPS + 1)) and not stop.was_asked(tmp_path)


def test_a_deadline_before_the_next_step(run, tmp_path, monkeypatch):
    monkeypatch.setenv(stop.DEADLINE, "1")
    assert run(None).saved == [1] and stop.was_asked(tmp_path)
