# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""The token dump through verl's splitting of a batch: every token once, as the loss had it."""

from functools import partial

import numpy as np
import pytest
import torch
from seams_batches import actor_config, jagged, mini_batch, train
from tensordict import TensorDict

from recipe.htpo.inspect.dump import TOKENS_DIR, DumpConfig, read_dump
from recipe.htpo.inspect.totals import compare, step_totals
from recipe.htpo.lab.model import make_tokenizer
from recipe.htpo.objective import load_preset
from recipe.htpo.seams.influence import SCORE_FIELD
from recipe.htpo.seams.loss import htpo_loss
from recipe.htpo.seams.responses import ResponseFacts
from recipe.htpo.seams.tokens import BASE_FIELD, DUMP_FIELD, TokenDump

ACTOR = actor_config()
OBJECTIVE = load_preset("htpo_paper", {"entropy_source": "old"})
STEP = 7


def facts_of(batch, padding=()):
    """Rows of one prompt stand together, two by two."""
    rows = len(batch.correct)
    padding = torch.tensor([row in padding for row in range(rows)])
    return ResponseFacts(torch.arange(rows) // 2, batch.correct, ~padding, padding, ())


def dumped(tmp_path, batch, config, ranks=1, padding=(), epochs=1, **split):
    """The dump that a step of training leaves, and the step's metrics."""
    tokens = TokenDump(config, OBJECTIVE, tmp_path, make_tokenizer())
    facts = facts_of(batch, padding)
    rows = tokens.choose(STEP, facts)
    batch.data[DUMP_FIELD] = torch.full((len(batch.correct),), -1)
    if rows:
        # What TransferQueue gives: fields of the chosen rows.
        texts = TensorDict(
            {name: jagged([batch.data[name].unbind()[row] for row in rows]) for name in ("prompts", "responses")},
            batch_size=len(rows),
        )
        texts["uid"] = [f"uid{row // 2}" for row in rows]
        texts["data_source"] = ["arithmetic"] * len(rows)
        batch.data[DUMP_FIELD] = tokens.mark(STEP, rows, facts, batch.hard, texts)
    for _ in range(epochs):
        metrics = train(batch, partial(htpo_loss, ACTOR, OBJECTIVE, dump_to=tokens.run_dir), ranks, **split)[2]
    path = tokens.collect(STEP)
    assert not list((tmp_path / TOKENS_DIR).glob("parts/*"))
    return (read_dump(tmp_path)[0] if path else None), metrics


@pytest.mark.parametrize(
    "ranks, split",
    [(1, {"micro_batch_size_per_gpu": 8}), (2, {"micro_batch_size_per_gpu": 2}), (1, {"max_token_len_per_gpu": 90})],
)
def test_totals_of_a_whole_step_are_the_logged_metrics(tmp_path, ranks, split):
    batch = mini_batch(width=400 if "micro_batch_size_per_gpu" in split else 40)
    dump, metrics = dumped(tmp_path, batch, DumpConfig(steps=(STEP,), prompts=None), ranks, **split)
    assert dump.is_whole and dump.step == STEP
    comparison = compare(dump, metrics)
    # All but the groups' entropies, which the trainer logs.
    assert comparison.compared > 50 and not comparison.different
    assert compare(dump, metrics | {"htpo/clip_frac_group2": 0.9}).different
    # Counted without the core.
    group, fired = dump.flat("group"), dump.flat("fired")
    tokens = (group > 0).sum()
    assert tokens == batch.data["response_mask"].values().sum()
    for index in range(1, 9):
        members = group == index
        assert members.sum() / tokens == pytest.approx(metrics[f"htpo/frac_group{index}"])
        assert (members & (fired == "replaced")).sum() == pytest.approx(
            metrics[f"htpo/replaced_frac_group{index}"] * members.sum()
        )
        assert (members & (fired == "detached")).sum() == pytest.approx(
            (metrics[f"htpo/detach_low_frac_group{index}"] + metrics[f"htpo/detach_high_frac_group{index}"])
            * members.sum()
        )
    assert {"kept", "clipped", "replaced", "outside"} <= set(fired)


def test_numbers_are_those_of_the_loss(tmp_path):
    batch = mini_batch()
    dump, _ = dumped(tmp_path, batch, DumpConfig(steps=(STEP,), prompts=None), micro_batch_size_per_gpu=2)
    for row in dump.table.to_pylist():
        source = row["response"]
        length = len(row["token_id"])
        current = batch.log_probs[source].detach()[-length - 1 : -1]
        old, entropy, advantage = (
            batch.data[name].unbind()[source] for name in ("old_log_probs", "entropy", "advantages")
        )
        inside = batch.data["response_mask"].unbind()[source] > 0
        np.testing.assert_allclose(row["log_prob"], current, rtol=1e-6)
        np.testing.assert_allclose(row["old_log_prob"], old, rtol=1e-6)
        np.testing.assert_allclose(row["entropy"], entropy, rtol=1e-6)
        np.testing.assert_allclose(np.array(row["ratio"])[inside], (current - old).exp()[inside], rtol=1e-5)
        np.testing.assert_allclose(np.array(row["advantage"])[inside], advantage[inside], rtol=1e-6)
        assert (np.array(row["group"]) == 0).tolist() == (~inside).tolist()
        assert row["hard"] == batch.hard[source] and row["correct"] == batch.correct[source]
        assert row["pass_rate"] == batch.correct[source // 2 * 2 : source // 2 * 2 + 2].double().mean()
        assert row["uid"] == f"uid{source // 2}" and row["epoch"] == 1


def test_weights_and_scores_where_the_run_has_them(tmp_path):
    batch = mini_batch()
    advantages = batch.data["advantages"].unbind()
    base = [torch.where(torch.arange(len(row)) % 3 == 0, 0.0, row / 2) for row in advantages]
    batch.data[BASE_FIELD], batch.data[SCORE_FIELD] = jagged(base), jagged([row + 1 for row in advantages])
    dump, _ = dumped(tmp_path, batch, DumpConfig(steps=(STEP,), prompts=None), micro_batch_size_per_gpu=2)
    for row in dump.table.to_pylist():
        source = row["response"]
        np.testing.assert_allclose(row["thr"], advantages[source] + 1, rtol=1e-6)
        # A weight that there is not counts as 1.
        assert row["weight"] == [1.0 if i % 3 == 0 else 2.0 for i in range(len(row["weight"]))]


def test_a_part_of_a_step(tmp_path):
    """Prompts 0 to 3 have the pass rates 1, 0, 1, 0; row 1 is verl's padding."""
    batch = mini_batch()
    config = DumpConfig(steps=(STEP,), prompts=2)
    dump, metrics = dumped(tmp_path, batch, config, padding=(1,), micro_batch_size_per_gpu=2)
    assert dump.table["response"].to_pylist() == [2, 3, 4, 5]
    assert not dump.is_whole and dump.facts["responses"] == 7
    assert step_totals(dump)["htpo/frac_group2"] != metrics["htpo/frac_group2"]
    assert dump.facts["objective"] == OBJECTIVE.to_mapping()


def test_a_response_of_two_epochs_comes_twice(tmp_path):
    dump, metrics = dumped(
        tmp_path,
        mini_batch(),
        DumpConfig(steps=(STEP,), prompts=None),
        epochs=2,
        micro_batch_size_per_gpu=4,
    )
    assert sorted(dump.table["response"].to_pylist()) == sorted([*range(8)] * 2)
    assert dump.table["epoch"].to_pylist() == [1, 2] * 8
    assert dump.is_whole and not compare(dump, metrics).different


def test_processes_that_share_a_row_count_once(tmp_path, monkeypatch):
    """Tensor-parallel ranks compute the same loss."""
    batch = mini_batch()
    tokens = TokenDump(DumpConfig(steps=(STEP,), prompts=None), OBJECTIVE, tmp_path, make_tokenizer())
    for path in ("000001_9", "000000_8"):
        monkeypatch.setattr("os.getpid", lambda path=path: path.split("_")[1])
        monkeypatch.setattr(torch.distributed, "is_initialized", lambda: True)
        monkeypatch.setattr(torch.distributed, "get_rank", lambda path=path: int(path.split("_")[0]))
        batch.data[DUMP_FIELD] = STEP * 1_000_000 + torch.arange(8)
        train(batch, partial(htpo_loss, ACTOR, OBJECTIVE, dump_to=tmp_path), micro_batch_size_per_gpu=4)
    assert len(list((tmp_path / TOKENS_DIR / "parts").iterdir())) == 4
    assert {row: len(epochs) for row, epochs in tokens._read_parts(STEP).items()} == dict.fromkeys(range(8), 1)


def test_nothing_is_written_where_nothing_is_asked_for(tmp_path):
    batch = mini_batch()
    for config in (DumpConfig(), DumpConfig(steps=(STEP + 1,))):
        assert dumped(tmp_path, batch, config, micro_batch_size_per_gpu=2)[0] is None
    assert not list(tmp_path.rglob("*.parquet"))
    # A step of several batches: the first is written.
    tokens = TokenDump(DumpConfig(steps=(STEP,)), OBJECTIVE, tmp_path, make_tokenizer())
    tokens._marked_step = STEP
    assert tokens.choose(STEP, facts_of(batch)) == []


def test_workers_that_write_elsewhere_are_reported(tmp_path, capsys):
    batch = mini_batch()
    config = DumpConfig(steps=(STEP,), prompts=None)
    tokens = TokenDump(config, OBJECTIVE, tmp_path / "here", make_tokenizer())
    rows = tokens.choose(STEP, facts_of(batch))
    texts = TensorDict({name: batch.data[name] for name in ("prompts", "responses")}, batch_size=8)
    texts["uid"] = texts["data_source"] = ["a"] * 8
    batch.data[DUMP_FIELD] = tokens.mark(STEP, rows, facts_of(batch), batch.hard, texts)
    train(batch, partial(htpo_loss, ACTOR, OBJECTIVE, dump_to=tmp_path / "there"), micro_batch_size_per_gpu=4)
    assert tokens.collect(STEP) is None
    assert "8 of 8 responses of step 7 were not written" in capsys.readouterr().out


def test_the_loss_is_the_same_with_the_dump(tmp_path):
    batch = mini_batch()
    plain = train(batch, partial(htpo_loss, ACTOR, OBJECTIVE), micro_batch_size_per_gpu=4)
    batch.data[DUMP_FIELD] = STEP * 1_000_000 + torch.arange(8)
    written = train(batch, partial(htpo_loss, ACTOR, OBJECTIVE, dump_to=tmp_path), micro_batch_size_per_gpu=4)
    assert plain[0] == written[0] and torch.equal(plain[1], written[1]) and plain[2] == written[2]
