# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""Scores from an engine's forward pass, as far as they go without an engine; tests/htpo/engines has the rest."""

import inspect

import pytest
import torch
from seams_batches import jagged
from tensordict import TensorDict
from verl.utils import tensordict_utils as tu
from verl.workers.engine import EngineRegistry
from verl.workers.engine.fsdp.transformer_impl import FSDPEngineWithLMHead
from verl.workers.engine.megatron.transformer_impl import MegatronEngineWithLMHead

from recipe.htpo.objective.weights import Head, PromptTokens, influence_scores
from recipe.htpo.seams import influence
from recipe.htpo.seams.head_inputs import PART, ROW_FIELD, HeadInputs
from recipe.htpo.seams.influence import (
    CORRECT_FIELD,
    MARGIN_FIELD,
    MODEL_TYPE,
    OPTIONS,
    PROMPT_FIELD,
    SCORE_FIELD,
    InfluencePass,
    MixedPrompts,
    Ranks,
)

ALONE = Ranks(None, None, None)
THR = dict(length_normalised=True, vocab="vstar", anchor_exclude_self=False)
VOCABULARY, WIDTH = 11, 5
PROMPT_LENGTHS, LENGTHS = (2, 1, 3, 2, 1), (3, 4, 2, 3, 2)
PROMPTS, CORRECT = (0, 0, 0, 1, 1), (True, False, False, True, True)


def batch() -> TensorDict:
    """Prompt 0 is mixed, with a masked token in the middle of row 1; prompt 1 is all right."""
    random = torch.Generator().manual_seed(1)
    masks = [torch.ones(length, dtype=torch.int64) for length in LENGTHS]
    masks[1][1] = 0
    ids = [
        torch.randint(VOCABULARY, (prompt + length,), generator=random)
        for prompt, length in zip(PROMPT_LENGTHS, LENGTHS, strict=True)
    ]
    fields = {"input_ids": jagged(ids), "response_mask": jagged(masks)}
    data = TensorDict(fields, batch_size=len(LENGTHS))
    data[PROMPT_FIELD], data[CORRECT_FIELD] = torch.tensor(PROMPTS), torch.tensor(CORRECT)
    tu.assign_non_tensor(data, temperature=0.7)
    return data


def hidden_states() -> list[torch.Tensor]:
    random = torch.Generator().manual_seed(2)
    return [
        torch.randn(prompt + length, WIDTH, generator=random, dtype=torch.float64)
        for prompt, length in zip(PROMPT_LENGTHS, LENGTHS, strict=True)
    ]


WEIGHT = torch.randn(VOCABULARY, WIDTH, generator=torch.Generator().manual_seed(3), dtype=torch.float64)


class Model:
    """Stands where verl's engine stands: two micro-batches, padded or packed, through an LM head."""

    def __init__(self, packed: bool) -> None:
        self.packed = packed

    def infer_batch(self, data, loss_function=None):
        assert OPTIONS not in data
        rows, hidden = torch.arange(len(data)), hidden_states()
        for chosen in (rows[3:], rows[:3]):
            micro_batch = tu.index_select_tensor_dict(data, chosen)
            ids = micro_batch["input_ids"]
            given = jagged([hidden[row] for row in chosen.tolist()])
            if self.packed:
                given, slots = given.values(), torch.arange(len(ids.values()))
            else:
                width = int(ids.offsets().diff().max())
                given = given.to_padded_tensor(0.0, output_size=(len(chosen), width, WIDTH)).flatten(0, 1)
                slots = torch.cat([i * width + torch.arange(n) for i, n in enumerate(ids.offsets().diff().tolist())])
            self.at_head(given)
            self.take(micro_batch, torch.nested.nested_tensor_from_jagged(slots, ids.offsets()))
        return {"model_output": {}}


class Engine(InfluencePass, Model):
    def __init__(self, packed: bool) -> None:
        Model.__init__(self, packed)
        self.watched = 0

    def at_head(self, given):
        if self._inputs is not None:
            self._inputs.give(given, WEIGHT, keep=True)

    def take(self, micro_batch, slots):
        if self._inputs is not None:
            self._inputs.take(micro_batch, slots)

    def _watch_head(self, inputs):
        self.watched += 1

        class Handle:
            def remove(handle):
                self.watched -= 1

        return Handle()

    def _ranks(self):
        return ALONE


@pytest.mark.parametrize("packed", [True, False])
def test_scores_are_those_of_the_prompts_tokens(packed):
    data, engine = batch(), Engine(packed)
    tu.assign_non_tensor(data, **{OPTIONS: THR})
    output = engine.infer_batch(data)["model_output"]
    assert engine.watched == 0 and engine._inputs is None

    hidden, ids, mask = hidden_states(), data["input_ids"].unbind(), data["response_mask"].unbind()
    places = [(row, k) for row in range(3) for k in range(LENGTHS[row]) if mask[row][k]]
    expected = influence_scores(
        PromptTokens(
            torch.stack([hidden[row][PROMPT_LENGTHS[row] + k - 1] for row, k in places]),
            torch.stack([ids[row][PROMPT_LENGTHS[row] + k] for row, k in places]),
            torch.tensor([row for row, _ in places]),
            torch.tensor(CORRECT[:3]),
        ),
        Head(WEIGHT, temperature=0.7),
        **THR,
    )
    score = output[SCORE_FIELD].unbind()
    actual = torch.stack([score[row][k] for row, k in places])
    torch.testing.assert_close(actual, expected.score.float())
    assert score[1][1] == 0 and not score[3].any() and not score[4].any()
    assert output["htpo_anchor"][0] == expected.anchor[0].float() and output["htpo_anchor"][1:].isnan().all()


def test_without_options_the_pass_is_verls_own():
    engine = Engine(packed=True)
    engine._watch_head = None
    assert engine.infer_batch(batch()) == {"model_output": {}}


def test_a_batch_without_mixed_prompts_has_no_scores(monkeypatch):
    monkeypatch.setattr(influence, "influence_scores", None)
    data, engine = batch(), Engine(packed=True)
    data[CORRECT_FIELD] = torch.ones(len(data), dtype=torch.bool)
    tu.assign_non_tensor(data, **{OPTIONS: THR})
    output = engine.infer_batch(data)["model_output"]
    assert not output[SCORE_FIELD].values().any() and output["htpo_anchor"].isnan().all()


@pytest.mark.parametrize("packed", [True, False])
def test_margins_are_made_of_every_response_that_counts(packed):
    data, engine = batch(), Engine(packed=packed)
    data[PROMPT_FIELD][4] = -1
    tu.assign_non_tensor(data, **{OPTIONS: {"margins": True}})
    output = engine.infer_batch(data)["model_output"]
    assert SCORE_FIELD not in output and (output["htpo_score_seconds"] >= 0).all()
    for row, (margins, hidden) in enumerate(zip(output[MARGIN_FIELD].unbind(), hidden_states(), strict=True)):
        ids, mask = data["input_ids"][row], data["response_mask"][row] > 0
        logits = hidden @ WEIGHT.T / 0.7
        before = slice(PROMPT_LENGTHS[row] - 1, PROMPT_LENGTHS[row] - 1 + LENGTHS[row])
        chosen = logits[before].gather(1, ids[PROMPT_LENGTHS[row] :, None])[:, 0]
        expected = (chosen - logits[before].mean(-1)).where(mask, 0) * (row != 4)
        torch.testing.assert_close(margins, expected.float(), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_tf32_is_for_states_that_it_holds_exactly(dtype):
    before = torch.backends.cuda.matmul.allow_tf32
    with influence._tensor_cores(dtype):
        assert torch.backends.cuda.matmul.allow_tf32 == (before or dtype == torch.bfloat16)
    assert torch.backends.cuda.matmul.allow_tf32 == before


def test_a_fused_head_is_refused():
    data = batch()
    tu.assign_non_tensor(data, use_fused_kernels=True, **{OPTIONS: THR})
    with pytest.raises(NotImplementedError, match="use_fused_kernels=False"):
        Engine(packed=True).infer_batch(data)


def test_only_mixed_prompts_are_agreed_upon():
    # Row 5 is empty, row 6 does not count: prompt 7 stays all wrong.
    prompt, correct = torch.tensor([4, 4, 7, 7, 9, 7, -1]), torch.tensor([True, False, False, False, True, True, True])
    prompts = MixedPrompts.agree(prompt, correct, torch.tensor([3, 2, 1, 1, 5, 0, 4]))
    assert [verdicts.tolist() for verdicts in prompts.correct] == [[True, False]]
    assert prompts.prompt.tolist() == [0, 0, -1, -1, -1, -1, -1]
    assert prompts.response[:2].tolist() == [0, 1]


def test_a_rank_keeps_the_tokens_of_its_part_of_the_sequences():
    data = batch()
    length = torch.tensor([int(mask.sum()) for mask in data["response_mask"].unbind()])
    prompts = MixedPrompts.agree(data[PROMPT_FIELD], data[CORRECT_FIELD], length)
    kept = []
    for part in (0, 1):
        inputs = HeadInputs(prompts.prompt >= 0, part)
        data[ROW_FIELD] = torch.arange(len(data))
        # The parts have every other token.
        index = torch.arange(len(data["input_ids"].values()))
        slots = torch.nested.nested_tensor_from_jagged(index // 2 + PART * (index % 2), data["input_ids"].offsets())
        inputs.give(torch.cat(hidden_states())[part::2], WEIGHT, keep=True)
        inputs.take(data, slots)
        kept.append(inputs.taken(0, 1.0).hidden)
    assert len(kept[0]) + len(kept[1]) == int(length[:3].sum())
    both = {tuple(row.tolist()) for part in kept for row in part}
    assert len(both) == int(length[:3].sum())


@pytest.mark.parametrize("backend, base", [("fsdp2", FSDPEngineWithLMHead), ("megatron", MegatronEngineWithLMHead)])
def test_the_engines_are_registered_and_verls_methods_are_as_they_are_used(backend, base, monkeypatch):
    monkeypatch.setenv("VERL_ENGINE_DEVICE", "cuda")
    engine = EngineRegistry.get_engine_cls(MODEL_TYPE, backend)
    assert issubclass(engine, InfluencePass) and issubclass(engine, base)
    assert list(inspect.signature(base.infer_batch).parameters) == ["self", "data", "loss_function"]
    outputs = list(inspect.signature(base.prepare_model_outputs).parameters)
    if backend == "megatron":
        assert outputs == ["self", "output", "data"]
        assert list(inspect.signature(base._lm_head_logits_processor).parameters)[:3] == ["self", "logits", "label"]
    else:
        assert outputs == ["self", "output", "output_args", "micro_batch", "logits_processor_func"]
        assert list(inspect.signature(base._gather_and_unpad_packed).parameters) == ["self", "tensor", "pad_size"]
