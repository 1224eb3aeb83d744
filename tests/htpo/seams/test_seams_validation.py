# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""pass@k of a validation: beside verl's names, and the same for a set of repeated rows as for repeated samples."""

import inspect
import uuid

import numpy as np
import pytest
from test_seams_trainer import trainer
from verl.trainer.ppo.v1.trainer_base import PPOTrainer

PROBLEMS, REPEATS = 30, 32


@pytest.fixture(scope="module")
def made():
    return trainer("htpo_sync")


def validated(made, rows, acc, n):
    """Metrics of `n` samples for each of `rows`; `acc` is `[rows, n]`."""
    uids = [str(uuid.uuid4()) for _ in rows]
    inputs = [row for row in rows for _ in range(n)]
    flat = acc.reshape(-1).tolist()
    made._maybe_log_val_generations(inputs=inputs, outputs=[""] * len(flat), scores=flat)
    return made._val_metrics_update(
        ["aime_2024"] * len(flat),
        [uid for uid in uids for _ in range(n)],
        {"acc": flat, "reward": flat},
        [],
        expected_acc_counts={("aime_2024", uid): n for uid in uids},
    )


def test_960_rows_and_30_rows_of_aime_have_the_same_numbers(made):
    rng = np.random.default_rng(0)
    acc = rng.binomial(1, rng.beta(0.5, 1.5, PROBLEMS)[:, None], (PROBLEMS, REPEATS)).astype(float)
    texts = [f"problem {i}" for i in range(PROBLEMS)]
    thirty = validated(made, texts, acc, REPEATS)
    # The file of 960 rows has the problems in 32 rounds; its rows have one sample each.
    many = validated(made, texts * REPEATS, acc.T.reshape(-1, 1), 1)
    ours = {name: value for name, value in thirty.items() if name.startswith("val/")}
    assert list(ours) == [f"val/aime_2024/pass@{k}" for k in (1, 2, 4, 8, 16, 32)]
    assert {name: many[name] for name in ours} == pytest.approx(ours, abs=1e-14)
    # avg@32, and what verl says of both files.
    assert ours["val/aime_2024/pass@1"] == pytest.approx(acc.mean())
    assert thirty["val-core/aime_2024/acc/mean@32"] == pytest.approx(acc.mean())
    assert many["val-core/aime_2024/acc/mean@1"] == pytest.approx(acc.mean())


def test_a_sample_that_failed_is_wrong_as_for_verl(made):
    uids = ["a", "b"]
    made._maybe_log_val_generations(inputs=["1+1", "1+1"], outputs=["", ""], scores=[1.0, 1.0])
    found = made._val_metrics_update(
        ["s", "s"],
        ["a", "a"],
        {"acc": [1.0, 1.0], "reward": [1.0, 1.0]},
        [],
        expected_acc_counts={("s", uid): 4 for uid in uids},
    )
    assert found["val/s/pass@1"] == pytest.approx(0.25)
    assert found["val/s/pass@4"] == pytest.approx(0.5)


def test_a_source_without_acc_has_no_pass_rate(made):
    made._maybe_log_val_generations(inputs=["p"], outputs=[""], scores=[1.0])
    assert not [name for name in made._val_metrics_update(["s"], ["a"], {"reward": [1.0]}, []) if "pass@" in name]


def test_verl_hands_the_prompts_on_in_the_order_of_the_uids():
    """What the mixin rests on; if this fails, find the prompts elsewhere."""
    source = inspect.getsource(PPOTrainer._validate)
    log = source.index("self._maybe_log_val_generations(inputs=sample_inputs")
    assert log < source.index("return self._val_metrics_update(")
    assert "sample_inputs.extend(all_inputs[i] for i in final_indices)" in source
    assert "select_fields=fields" in source and "keys=final_keys" in source
