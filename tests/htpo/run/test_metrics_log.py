# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""Metrics of a run over all its starts, from files that verl's own logger wrote."""

import os

import numpy as np
import pytest
from verl.utils.tracking import FileLogger

from recipe.htpo.run.metrics_log import (
    SAVED_STEP_FILE,
    read_steps,
    recover_saved_step,
    validation_accuracy,
    write_saved_step,
)
from recipe.htpo.run.record import next_metrics_file


@pytest.fixture
def log(tmp_path, monkeypatch):
    """`log({step: metrics})` writes the file of one start."""

    def write(steps):
        path = next_metrics_file(tmp_path)
        monkeypatch.setenv("VERL_FILE_LOGGER_PATH", str(path))
        logger = FileLogger("project", "run")
        for step, metrics in steps.items():
            logger.log(metrics, step)
        logger.finish()
        return path

    return write


def test_no_run(tmp_path):
    assert read_steps(tmp_path / "nothing") == {}


def test_steps_are_in_order_and_validation_joins_its_step(tmp_path, log):
    path = log({0: {"val-core/a/acc/mean@4": 0.25}, 2: {"x": 2.0}, 1: {"x": 1.0}})
    with path.open("a") as stream:
        stream.write('{"step": 2, "data": {"val-core/a/acc/mean@4": 0.5}}\n')
    assert read_steps(tmp_path) == {
        0: {"val-core/a/acc/mean@4": 0.25},
        1: {"x": 1.0},
        2: {"x": 2.0, "val-core/a/acc/mean@4": 0.5},
    }
    assert list(read_steps(tmp_path)) == [0, 1, 2]


def test_a_resumed_run_has_the_last_values_of_steps_trained_twice(tmp_path, log):
    log({1: {"x": 1.0}, 2: {"x": 2.0}, 3: {"x": 3.0}})
    log({3: {"x": 30.0}, 4: {"x": 40.0}})
    assert {step: metrics["x"] for step, metrics in read_steps(tmp_path).items()} == {1: 1.0, 2: 2.0, 3: 30.0, 4: 40.0}


def test_what_is_no_number_is_left_out(tmp_path, log):
    """verl's logger writes NaN as null; the step that was trained again has no older value instead of it."""
    path = log({1: {"x": 1.0, "y": 1.0}})
    log({1: {"x": float("nan"), "y": 2.0, "z": None, "name": "n", "val-core/a/acc/mean@4": float("nan")}})
    assert read_steps(tmp_path) == {1: {"y": 2.0}}
    assert validation_accuracy(read_steps(tmp_path)[1]) == {}
    # Nor does a checkpoint's copy of the step add it, at every start anew.
    write_saved_step(tmp_path / "global_step_1", 1, {"x": float("nan"), "y": 2.0})
    before = path.with_name("0001.jsonl").read_bytes()
    recover_saved_step(tmp_path, tmp_path / "global_step_1")
    assert path.with_name("0001.jsonl").read_bytes() == before


@pytest.mark.parametrize("cut", [1, 10, 20])
def test_a_line_that_was_not_finished_is_left_out(tmp_path, log, cut):
    path = log({1: {"x": 1.0}, 2: {"x": 2.0}})
    path.write_bytes(path.read_bytes()[: -1 - cut])
    assert list(read_steps(tmp_path)) == [1]
    # And does not spoil what a later start wrote.
    log({2: {"x": 5.0}})
    assert read_steps(tmp_path)[2] == {"x": 5.0}


def test_a_character_cut_in_the_middle(tmp_path, log):
    path = log({1: {"x": 1.0}})
    with path.open("ab") as stream:
        stream.write('{"step": 2, "data": {"name": "é'.encode()[:-1])
    assert list(read_steps(tmp_path)) == [1]


@pytest.mark.parametrize(
    "name, found",
    [
        ("val-core/aime_2024/acc/mean@32", {"aime_2024": 0.5}),
        ("val-core/dir/with/slash/acc/mean@1", {"dir/with/slash": 0.5}),
        ("val-core/aime_2024/acc/best@32/mean", {}),
        ("val-core/aime_2024/reward/mean@32", {}),
        ("val-aux/aime_2024/acc/mean@32", {}),
        ("val-core", {}),
        ("timing_s/step", {}),
    ],
)
def test_held_out_accuracy_is_mean_at_n_of_acc(name, found):
    assert validation_accuracy({name: 0.5}) == found


@pytest.mark.parametrize("unfinished", ["", '{"step": 2, "da'])
def test_a_step_that_was_saved_and_not_recorded(tmp_path, log, unfinished):
    """Killed between the save of step 2 and its record, possibly in the middle of the line."""
    path = log({1: {"x": 1.0}})
    with path.open("a") as stream:
        stream.write(unfinished)
    checkpoint = tmp_path / "checkpoints" / "global_step_2"
    write_saved_step(checkpoint, 2, {"x": np.float32(2.0), "n": np.int64(3), "counts": {0.0: 1}})
    for _ in range(2):
        recover_saved_step(tmp_path, checkpoint)
        assert read_steps(tmp_path) == {1: {"x": 1.0}, 2: {"x": 2.0, "n": 3}}
    # Once only, and the next start has a file of its own.
    assert path.read_text().count('"step":2') == 1
    assert log({3: {"x": 3.0}}).name == "0001.jsonl"


def test_a_step_that_was_recorded_stays_as_it_is(tmp_path, log):
    path = log({1: {"x": 1.0, "timing_s/step": 0.5}})
    before = path.read_bytes()
    write_saved_step(tmp_path / "global_step_1", 1, {"x": 1.0})
    recover_saved_step(tmp_path, tmp_path / "global_step_1")
    assert path.read_bytes() == before


def test_checkpoints_without_metrics(tmp_path, log):
    """Of an earlier version."""
    path = log({1: {"x": 1.0}})
    recover_saved_step(tmp_path, tmp_path / "global_step_1")
    assert read_steps(tmp_path) == {1: {"x": 1.0}} and path.exists()


def test_damaged_lines_are_left_out(tmp_path, log):
    path = log({1: {"x": 1.0}})
    with path.open("a") as stream:
        stream.write('null\n[1]\n{"step": "two", "data": {}}\n{"data": {}}\n{"step": 3, "data": {"x": 3.0}}\n')
    assert read_steps(tmp_path) == {1: {"x": 1.0}, 3: {"x": 3.0}}


def test_saved_metrics_are_written_whole_or_not_at_all(tmp_path, monkeypatch):
    write_saved_step(tmp_path, 1, {"x": 1.0})

    def killed(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", killed)
    with pytest.raises(KeyboardInterrupt):
        write_saved_step(tmp_path, 2, {"x": 2.0})
    assert b'"step":1' in (tmp_path / SAVED_STEP_FILE).read_bytes()
