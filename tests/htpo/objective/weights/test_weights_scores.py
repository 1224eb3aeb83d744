# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""The streaming scores against the double sum, under sharding and scaling, and in memory.

The shards are threads that meet at a barrier: it shows that the sums are complete and that all parts call them
equally often. It does not show an engine's process groups.
"""

import threading
from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode
from torch.utils.weak import WeakIdKeyDictionary
from weights_reference import anchors, is_mixed, pair_scores, prompt

from recipe.htpo.objective.weights import (
    Head,
    PromptTokens,
    Reductions,
    Scores,
    WeightBatch,
    WeightConfig,
    influence_scores,
    token_margins,
)

MIXED = prompt(3, [5, 3, 4, 6], [1, 0, 1, 0], 29, 7)


def tokens_of(given: dict, dtype: torch.dtype = torch.float64) -> PromptTokens:
    response = torch.arange(len(given["lens"])).repeat_interleave(torch.from_numpy(given["lens"]))
    hidden = torch.from_numpy(given["H"]).to(dtype)
    return PromptTokens(hidden, torch.from_numpy(given["y"]), response, torch.from_numpy(given["reward"]) > 0)


def head_of(given: dict, dtype: torch.dtype = torch.float64) -> Head:
    return Head(torch.from_numpy(given["W"]).to(dtype))


def largest_difference(actual: torch.Tensor, expected: np.ndarray) -> float:
    """In units of the largest value."""
    expected = torch.as_tensor(expected)
    return float((actual.double() - expected).abs().max() / expected.abs().max())


@st.composite
def prompts(draw: st.DrawFn) -> dict:
    lens = draw(st.lists(st.integers(0, 5), min_size=2, max_size=5).filter(sum))
    reward = draw(st.lists(st.integers(0, 1), min_size=len(lens), max_size=len(lens)))
    sizes = draw(st.tuples(st.integers(2, 30), st.integers(1, 8)))
    return prompt(draw(st.integers(0, 999)), lens, reward, *sizes, spread=draw(st.sampled_from([0.1, 1.0, 5.0])))


@pytest.mark.parametrize("dtype, relative", [(torch.float64, 1e-12), (torch.float32, 1e-5)], ids=["fp64", "fp32"])
@given(
    given_prompt=prompts(),
    normalised=st.booleans(),
    vocab=st.sampled_from(["vstar", "full"]),
    exclude=st.booleans(),
    chunk=st.integers(1, 9),
    block=st.integers(1, 40),
)
def test_streaming_equals_the_double_sum(dtype, relative, given_prompt, normalised, vocab, exclude, chunk, block):
    hidden, head, token, lens, reward = (given_prompt[key] for key in ("H", "W", "y", "lens", "reward"))
    # The inputs of both sides are the rounded ones: only the computation is compared.
    hidden, head = (torch.from_numpy(value).to(dtype).double().numpy() for value in (hidden, head))
    scores = influence_scores(
        tokens_of(given_prompt, dtype),
        head_of(given_prompt, dtype),
        length_normalised=normalised,
        vocab=vocab,
        anchor_exclude_self=exclude,
        token_chunk=chunk,
        vocab_block=block,
    )
    assert scores.score.dtype == scores.anchor.dtype == dtype
    if not is_mixed(lens, reward):
        assert not scores.score.any() and scores.anchor.isnan().all()
        return
    options = {"normalised": normalised, "columns": np.unique(token) if vocab == "vstar" else None}
    expected = pair_scores(hidden, head, token, lens, reward, **options)
    # Terms of either sign cancel, and rounding is relative to the terms.
    error = pair_scores(np.abs(hidden), head, token, lens, np.ones_like(reward), normalised=False)
    scale = max(np.abs(expected).max(), np.abs(error).max())
    assert np.abs(scores.score.double().numpy() - expected).max() <= relative * scale
    anchor_scores = pair_scores(hidden, head, token, lens, reward, exclude_self=exclude, **options)
    for index, anchor in enumerate(scores.anchor.tolist()):
        if (value := anchors(anchor_scores, lens, reward).get(index)) is None:
            assert np.isnan(anchor)
        else:
            assert abs(anchor - value) <= relative * scale


def test_one_correct_response_without_itself_has_an_anchor_of_exactly_zero():
    given_prompt = prompt(1, [4, 5, 3], [0, 1, 0], 17, 5)
    scores = influence_scores(
        tokens_of(given_prompt, torch.float32),
        head_of(given_prompt, torch.float32),
        length_normalised=True,
        anchor_exclude_self=True,
    )
    assert scores.anchor[1] == 0


def test_confident_tokens_keep_their_error():
    """1 - q is 0 in fp32 for a nearly certain token; its g, and with it the score, is not."""
    head = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.3, 0.2]])
    hidden = torch.tensor([[10.0, -10.8], [9.5, -11.2]])
    token = torch.tensor([0, 0])
    tokens = PromptTokens(hidden, token, torch.tensor([0, 1]), torch.tensor([True, False]))
    assert ((hidden @ (3.0 * head).T).softmax(-1)[:, 0] == 1).all()
    scores = influence_scores(tokens, Head(3.0 * head), length_normalised=False, vocab="full")
    expected = pair_scores(
        hidden.double().numpy(), 3.0 * head.double().numpy(), token.numpy(), [1, 1], [1, 0], normalised=False
    )
    # Token by token: both scores are tiny. A logit of 50 is rounded by 4e-6, which is the relative error of q.
    assert np.abs(scores.score.double().numpy() / expected - 1).max() < 1e-4


@pytest.mark.parametrize("normalised", [False, True])
def test_a_gradient_step_on_the_head_moves_the_correct_responses_by_the_score(normalised):
    """d/d eta of sum_i w_i log pi(y_i), after a step of size eta on log pi(y_t) alone, is s_t."""
    tokens, head = tokens_of(MIXED), head_of(MIXED).weight
    length = torch.bincount(tokens.response)[tokens.response].double()
    weight = tokens.correct[tokens.response] / (length if normalised else torch.ones_like(length))

    def log_prob(head: torch.Tensor) -> torch.Tensor:
        return (tokens.hidden @ head.T).log_softmax(-1).gather(1, tokens.token[:, None])[:, 0]

    step = 1e-6
    change = []
    for t in range(len(tokens.token)):
        variable = head.clone().requires_grad_()
        (gradient,) = torch.autograd.grad(log_prob(variable)[t], variable)
        up, down = (weight @ log_prob(head + sign * step * gradient) for sign in (1, -1))
        change.append(float(up - down) / (2 * step))
    scores = influence_scores(tokens, Head(head), length_normalised=normalised, vocab="full")
    assert largest_difference(scores.score, np.array(change)) < 1e-7


def test_temperature_divides_the_logits():
    tokens, head = tokens_of(MIXED), head_of(MIXED).weight
    warm = influence_scores(tokens, Head(head, temperature=2.5), length_normalised=True)
    scaled = influence_scores(tokens, Head(head / 2.5), length_normalised=True)
    assert torch.allclose(warm.score, scaled.score, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name, parameters", [("thr", {"p": -0.1}), ("nthr", {"eta": 0.25, "beta": 0.1})])
def test_scaling_the_hidden_states_leaves_the_selection(name, parameters):
    """The errors stay: the head is scaled the other way. A power of two, so that every rounding is the same."""

    def advantages(scale: float) -> torch.Tensor:
        tokens, head = tokens_of(MIXED, torch.float32), head_of(MIXED, torch.float32).weight
        tokens = PromptTokens(scale * tokens.hidden, tokens.token, tokens.response, tokens.correct)
        scores = influence_scores(tokens, Head(head / scale), length_normalised=name == "thr")
        mask = torch.arange(6) < torch.from_numpy(MIXED["lens"])[:, None]
        batch = WeightBatch(
            advantages=torch.ones(4, 6),
            response_mask=mask,
            correct=tokens.correct,
            prompt_index=torch.zeros(4, dtype=torch.int64),
            score=torch.zeros(4, 6).masked_scatter(mask, scores.score),
            anchor=scores.anchor,
        )
        return WeightConfig.from_mapping(name, parameters)(batch)

    expected = advantages(1.0)
    assert len(expected.unique()) > 1
    assert torch.equal(advantages(8.0), expected) and torch.equal(advantages(0.125), expected)


class _Meeting:
    """All-reduce among threads, by rank order: every thread gets the same bits."""

    def __init__(self, size: int) -> None:
        self._values: list[torch.Tensor | None] = [None] * size
        self._barrier = threading.Barrier(size, timeout=20)

    def abort(self) -> None:
        self._barrier.abort()

    def __call__(self, rank: int, value: torch.Tensor, combine: Callable[[torch.Tensor], torch.Tensor]) -> torch.Tensor:
        self._values[rank] = value.clone()
        self._barrier.wait()
        result = combine(torch.stack(self._values))
        self._barrier.wait()
        return result


class _Threads(Reductions):
    """Rank (shard, part): shards of the vocabulary by `vocab_meetings[part]`, parts by `token_meetings[shard]`."""

    def __init__(self, shard: int, part: int, vocab_meetings: list[_Meeting], token_meetings: list[_Meeting]) -> None:
        self._shard, self._part = shard, part
        self._vocab, self._token = vocab_meetings[part], token_meetings[shard]

    def vocab_max(self, value: torch.Tensor) -> torch.Tensor:
        return self._vocab(self._shard, value, lambda values: values.amax(0))

    def vocab_sum(self, value: torch.Tensor) -> torch.Tensor:
        return self._vocab(self._shard, value, lambda values: values.sum(0))

    def token_sum(self, value: torch.Tensor) -> torch.Tensor:
        return self._token(self._part, value, lambda values: values.sum(0))


def sharded(given_prompt: dict, cut: int, owner: torch.Tensor, **options) -> dict[tuple[int, int], Scores]:
    """Scores of four ranks: the vocabulary is cut at `cut`, and `owner` says which part has a token."""
    tokens, head = tokens_of(given_prompt), head_of(given_prompt).weight
    shards = [Head(head[:cut], 0), Head(head[cut:], cut)]
    meetings = [_Meeting(2) for _ in range(4)]
    results: dict[tuple[int, int], Scores] = {}

    def run(shard: int, part: int) -> None:
        here = owner == part
        mine = PromptTokens(tokens.hidden[here], tokens.token[here], tokens.response[here], tokens.correct)
        try:
            reductions = _Threads(shard, part, meetings[:2], meetings[2:])
            results[shard, part] = influence_scores(mine, shards[shard], reductions=reductions, **options)
        finally:
            if (shard, part) not in results:
                for meeting in meetings:
                    meeting.abort()

    threads = [threading.Thread(target=run, args=(shard, part)) for shard in (0, 1) for part in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 4
    return results


@pytest.mark.parametrize("exclude", [False, True])
@pytest.mark.parametrize("vocab", ["vstar", "full"])
@pytest.mark.parametrize(
    "cut, owners",
    [(11, "sequence"), (28, "sequence"), (16, "responses"), (16, "one_part_empty"), (16, "unmixed")],
)
def test_two_shards_of_the_vocabulary_and_two_parts_of_the_tokens(cut, owners, vocab, exclude):
    given_prompt = MIXED if owners != "unmixed" else MIXED | {"reward": np.ones(4, int)}
    tokens = tokens_of(given_prompt)
    owner = {
        "responses": tokens.response % 2,  # the parts have the correct and the wrong responses
        "one_part_empty": torch.zeros_like(tokens.token),
    }.get(owners, torch.arange(len(tokens.token)) % 2)
    options = {"length_normalised": True, "vocab": vocab, "anchor_exclude_self": exclude}
    options |= {"token_chunk": 2, "vocab_block": 4}
    whole = influence_scores(tokens, head_of(given_prompt), **options)
    for (_, part), scores in sharded(given_prompt, cut, owner, **options).items():
        assert torch.allclose(scores.score, whole.score[owner == part], rtol=1e-12, atol=1e-12)
        assert torch.allclose(scores.anchor, whole.anchor, rtol=1e-12, atol=1e-12, equal_nan=True)


@pytest.mark.parametrize("chunk", [1, 3, 1024])
def test_margins_are_logits_less_their_mean(chunk):
    """On one shard of the vocabulary, and on two: less the log-probability they are logsumexp(z) - mean(z)."""
    generator = torch.Generator().manual_seed(4)
    hidden, weight = (torch.randn(size, 6, generator=generator, dtype=torch.float64) for size in (7, 13))
    token = torch.randint(13, (7,), generator=generator)
    logits = hidden @ weight.T / 0.7
    expected = logits.gather(1, token[:, None])[:, 0] - logits.mean(-1)
    margins = token_margins(hidden, token, Head(weight, temperature=0.7), token_chunk=chunk)
    torch.testing.assert_close(margins, expected, rtol=1e-12, atol=1e-12)
    certainty = logits.logsumexp(-1) - logits.mean(-1)
    log_prob = logits.log_softmax(-1).gather(1, token[:, None])[:, 0]
    torch.testing.assert_close(margins - log_prob, certainty, rtol=1e-12, atol=1e-12)

    meeting, found = _Meeting(2), {}

    def run(shard: int, rows: slice) -> None:
        head = Head(weight[rows], rows.start, 0.7)
        reductions = _Threads(shard, 0, [meeting], [_Meeting(1), _Meeting(1)])
        found[shard] = token_margins(hidden, token, head, token_chunk=chunk, reductions=reductions)

    threads = [
        threading.Thread(target=run, args=(shard, rows)) for shard, rows in enumerate((slice(0, 5), slice(5, 13)))
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for shard in (0, 1):
        torch.testing.assert_close(found[shard], expected, rtol=1e-12, atol=1e-12)


class _PeakMemory(TorchDispatchMode):
    """Largest number of bytes in storages that operations made and that are alive at one time."""

    def __init__(self) -> None:
        super().__init__()
        self._alive: WeakIdKeyDictionary = WeakIdKeyDictionary()
        self.peak = 0

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """Nothing is compiled: without the import of the compiler the mode starts seconds sooner."""
        return False

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(result):
            if isinstance(tensor, torch.Tensor):
                storage = tensor.untyped_storage()
                self._alive[storage] = storage.nbytes()
        self.peak = max(self.peak, sum(self._alive.values()))
        return result


@pytest.mark.parametrize("vocab", ["vstar", "full"])
def test_the_work_is_that_of_the_table_in_docs_thr(vocab):
    """2 V d per token for the normaliser, 4 V' d per token for the scores and per correct token for M."""
    vocabulary, width, length = 200, 8, 30
    generator = torch.Generator().manual_seed(0)
    response = torch.arange(4).repeat_interleave(length)
    token = torch.randint(vocabulary // 4, response.shape, generator=generator)
    hidden = torch.randn(len(response), width, generator=generator)
    head = Head(torch.randn(vocabulary, width, generator=generator))

    def product(_, left, right, **kwargs):
        return 2 * left[0] * left[1] * right[1]

    # torch counts the product that is written to a new tensor, and not the one in place.
    with FlopCounterMode(display=False, custom_mapping={torch.ops.aten.addmm_: product}) as flop:
        influence_scores(
            PromptTokens(hidden, token, response, torch.tensor([True, False, False, False])),
            head,
            length_normalised=True,
            vocab=vocab,
            token_chunk=16,
            vocab_block=64,
        )
    columns = len(token.unique()) if vocab == "vstar" else vocabulary
    tokens, correct = len(response), length
    expected = 2 * vocabulary * width * tokens + 4 * columns * width * (tokens + correct)
    assert flop.get_total_flops() == expected


@pytest.mark.parametrize("exclude", [False, True])
@pytest.mark.parametrize("vocab", ["vstar", "full"])
def test_peak_memory_grows_by_a_few_numbers_per_token(vocab, exclude):
    vocabulary, width, chunk, block = 256, 16, 32, 128
    generator = torch.Generator().manual_seed(0)
    head = Head(torch.randn(vocabulary, width, generator=generator))
    peaks = {}
    for length in (32, 64, 128):
        response = torch.arange(4).repeat_interleave(length)
        hidden = torch.randn(4 * length, width, generator=generator)
        token = torch.randint(vocabulary, response.shape, generator=generator)
        tokens = PromptTokens(hidden, token, response, torch.tensor([True, False, True, False]))
        with _PeakMemory() as memory:
            influence_scores(
                tokens,
                head,
                length_normalised=True,
                vocab=vocab,
                anchor_exclude_self=exclude,
                token_chunk=chunk,
                vocab_block=block,
            )
        peaks[length] = memory.peak
    # Bytes per further token of the prompt; one row of logits is 1,024 and one of T+ x T- is 512 and more.
    per_token = (peaks[128] - peaks[64]) / (4 * 64)
    assert per_token < 128
    # Linear: the step from 64 to 128 costs twice that from 32 to 64.
    assert peaks[128] - peaks[64] < 2.2 * (peaks[64] - peaks[32])
    assert peaks[128] < 4 * (4 * 128) * vocabulary / 2


def test_bf16_inputs_are_summed_in_fp32():
    tokens, head = tokens_of(MIXED, torch.bfloat16), head_of(MIXED, torch.bfloat16)
    scores = influence_scores(tokens, head, length_normalised=True)
    rounded = MIXED | {"H": tokens.hidden.double().numpy(), "W": head.weight.double().numpy()}
    columns = np.unique(MIXED["y"])
    expected = pair_scores(
        *(rounded[key] for key in ("H", "W", "y", "lens", "reward")), normalised=True, columns=columns
    )
    assert scores.score.dtype == torch.float32 and largest_difference(scores.score, expected) < 1e-5


@pytest.mark.parametrize(
    "change, message",
    [
        ({"hidden": torch.zeros(3)}, "hidden"),
        ({"token": torch.zeros(2, dtype=torch.int64)}, "token"),
        ({"response": torch.zeros(3)}, "response"),
        ({"correct": torch.ones(2)}, "correct"),
    ],
)
def test_wrong_tokens_are_refused(change, message):
    index = torch.zeros(3, dtype=torch.int64)
    fields = {"hidden": torch.zeros(3, 2), "token": index, "response": index, "correct": torch.ones(2) > 0}
    PromptTokens(**fields)
    with pytest.raises(ValueError, match=message):
        PromptTokens(**(fields | change))


@pytest.mark.parametrize("options", [{"vocab": "all"}, {"token_chunk": 0}, {"vocab_block": 0}])
def test_wrong_options_are_refused(options):
    with pytest.raises(ValueError, match=next(iter(options))):
        influence_scores(tokens_of(MIXED), head_of(MIXED), length_normalised=True, **options)
