# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""Influence of every token of a prompt on the likelihood of its correct responses (NTHR, arXiv 2505.18830; THR, arXiv
2510.03669), from the old policy.

With h_t the input of the LM head at the position that predicts token t, q_t the next-token distribution there and
g_t = e_{y_t} - q_t, the score is

    s_t = sum over correct responses i of w_i sum_k <g_ik, g_t> <h_ik, h_t> = g_t^T M h_t,  M = sum w_i g_ik h_ik^T

M is built from chunks of tokens, one block of vocabulary columns at a time, so memory holds a block of M, a chunk of
logits and a few numbers per token: nothing of tokens x vocabulary and nothing of tokens x tokens. Logits are made
anew where they are used: over the whole vocabulary for the normaliser, and at the scored columns for M and for s.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor

from recipe.htpo.objective.weights.reductions import Reductions

Vocab = Literal["vstar", "full"]


@dataclass(frozen=True)
class PromptTokens:
    """The valid response tokens of one prompt, or the part of them that this process holds (possibly none)."""

    hidden: Tensor
    """`[T, d]` floating, input of the LM head (after the final norm) at the position that predicts the token."""
    token: Tensor
    """`[T]` int64, ids of the sampled tokens in the whole vocabulary."""
    response: Tensor
    """`[T]` int64 in 0..G-1, the response of every token."""
    correct: Tensor
    """`[G]` bool, verified answers of all the prompt's responses, on every process."""

    def __post_init__(self) -> None:
        if self.hidden.dim() != 2 or not self.hidden.is_floating_point():
            raise ValueError(f"hidden must be floating [T, d], got {tuple(self.hidden.shape)} {self.hidden.dtype}")
        for name, dtype, shape in (
            ("token", torch.int64, self.hidden.shape[:1]),
            ("response", torch.int64, self.hidden.shape[:1]),
            ("correct", torch.bool, self.correct.shape[:1]),
        ):
            value = getattr(self, name)
            if value.dtype != dtype or value.shape != shape:
                raise ValueError(
                    f"{name} must be {dtype} of shape {tuple(shape)}, got {value.dtype} {tuple(value.shape)}"
                )


@dataclass(frozen=True)
class Head:
    """The LM head, or this process's rows of it."""

    weight: Tensor
    """`[V_local, d]` floating."""
    first: int = 0
    """Vocabulary id of row 0."""
    temperature: float = 1.0
    """Logits are divided by it, as for the old log-probabilities."""

    def __post_init__(self) -> None:
        if self.weight.dim() != 2 or not self.temperature > 0 or self.first < 0:
            raise ValueError(
                f"weight must be [V, d], first at least 0 and temperature above 0, got {tuple(self.weight.shape)}, "
                f"{self.first} and {self.temperature}"
            )


@dataclass(frozen=True)
class Scores:
    """Scores of a prompt; fp32, or fp64 where the hidden states are fp64."""

    score: Tensor
    """`[T]`, s_t of the tokens of this process; 0 where the prompt has no score."""
    anchor: Tensor
    """`[G]`, mean score over the tokens of a correct response; NaN for wrong and for empty responses and for a prompt
    without scores."""


@torch.no_grad()
def influence_scores(
    tokens: PromptTokens,
    head: Head,
    *,
    length_normalised: bool,
    vocab: Vocab = "vstar",
    anchor_exclude_self: bool = False,
    token_chunk: int = 1024,
    vocab_block: int = 16384,
    reductions: Reductions | None = None,
) -> Scores:
    """Score all tokens of a prompt, and average the scores of each correct response (the anchors of tau).

    A prompt whose non-empty responses are all correct or all wrong has no scores, and costs a count of its tokens.

    Args:
        tokens: the prompt's tokens here.
        head: the LM head's rows here.
        length_normalised: weights w_i = 1/|y_i| (THR) instead of 1 (NTHR).
        vocab: columns of the inner product <g_s, g_t>: `vstar`, the distinct tokens of the prompt's responses, with
            probabilities as they are in the whole vocabulary, or `full`.
        anchor_exclude_self: leave a response's own tokens out of its anchor. The scores stay as they are.
        token_chunk: tokens whose logits exist at one time.
        vocab_block: vocabulary columns of the logits and of M that exist at one time.
        reductions: sums and maxima over other processes.

    Raises:
        ValueError: for an unknown `vocab`, or a chunk or block below 1.
    """
    if vocab not in get_args(Vocab):
        raise ValueError(f"vocab is {vocab!r}. Valid values: {', '.join(get_args(Vocab))}")
    if token_chunk < 1 or vocab_block < 1:
        raise ValueError(f"token_chunk and vocab_block must be at least 1, got {token_chunk} and {vocab_block}")
    reduce = reductions or Reductions()
    dtype = torch.float64 if tokens.hidden.dtype == torch.float64 else torch.float32
    num_responses = tokens.correct.numel()
    length = reduce.token_sum(torch.bincount(tokens.response, minlength=num_responses))
    score = torch.zeros(tokens.token.shape, dtype=dtype, device=tokens.hidden.device)
    anchored = tokens.correct & (length > 0)
    if not anchored.any() or not (~tokens.correct & (length > 0)).any():
        return Scores(score, torch.full_like(length, torch.nan, dtype=dtype))

    columns = _columns(tokens, head, vocab, reduce)
    errors = _Errors(tokens, head, columns, dtype, token_chunk, vocab_block, reduce)
    weight = (1 / length.clamp(min=1).to(dtype) if length_normalised else torch.ones_like(length, dtype=dtype))[
        tokens.response
    ]
    if anchor_exclude_self:
        # Once in each direction: a response meets the sum of those before it. Taking its own part away from the whole
        # would leave rounding where the rest is small, and not 0 where it is alone.
        parts = [(tokens.response == index).nonzero()[:, 0] for index in anchored.nonzero()[:, 0].tolist()]
        passes = [parts, parts[::-1]]
    else:
        passes = [[anchored[tokens.response].nonzero()[:, 0]]]
    everything = torch.arange(tokens.token.numel(), device=score.device)
    others = torch.zeros_like(score)
    for start in range(0, columns.numel(), vocab_block):
        total = None
        for order in passes:
            total = None
            for rows in order:
                if total is not None:
                    errors.add_scores(others, start, rows, total)
                matrix = reduce.token_sum(errors.matrix(start, rows, weight))
                total = matrix if total is None else total.add_(matrix)
        assert total is not None
        errors.add_scores(score, start, everything, total)
    score = reduce.vocab_sum(score)
    averaged = reduce.vocab_sum(others) if anchor_exclude_self else score
    summed = torch.zeros_like(length, dtype=dtype).index_add_(0, tokens.response, averaged)
    anchor = reduce.token_sum(summed) / length
    return Scores(score, torch.where(anchored, anchor, torch.nan))


def _columns(tokens: PromptTokens, head: Head, vocab: Vocab, reduce: Reductions) -> Tensor:
    """Local rows of the head that take part in the scores, sorted."""
    rows = head.weight.shape[0]
    if vocab == "full":
        return torch.arange(rows, device=head.weight.device)
    local = tokens.token - head.first
    here = (local >= 0) & (local < rows)
    return reduce.token_sum(torch.bincount(local[here], minlength=rows)).nonzero()[:, 0]


class _Errors:
    """The prediction errors g of a prompt's tokens, made anew for every chunk of tokens and block of columns."""

    def __init__(
        self,
        tokens: PromptTokens,
        head: Head,
        columns: Tensor,
        dtype: torch.dtype,
        token_chunk: int,
        vocab_block: int,
        reduce: Reductions,
    ) -> None:
        self._tokens, self._head, self._columns, self._dtype = tokens, head, columns, dtype
        self._token_chunk, self._vocab_block = token_chunk, vocab_block
        self._log_normaliser, self._own = self._normalise(reduce)
        # Place of the sampled token among the columns, or -1 where another shard owns it.
        local = tokens.token - head.first
        place = torch.searchsorted(columns, local).clamp(max=max(columns.numel() - 1, 0))
        found = columns[place] == local if columns.numel() else torch.zeros_like(local, dtype=torch.bool)
        self._place = torch.where(found, place, -1)

    def matrix(self, start: int, rows: Tensor, weight: Tensor) -> Tensor:
        """M of these tokens, the block of columns from `start` on: `[block, d]`."""
        head = self._block(self._columns[start : start + self._vocab_block])
        matrix = torch.zeros_like(head)
        for chunk, hidden in self._chunks(rows):
            matrix.addmm_(self._error(chunk, hidden, head, start).T, hidden * weight[chunk, None])
        return matrix

    def add_scores(self, score: Tensor, start: int, rows: Tensor, matrix: Tensor) -> None:
        """Add the block's part of g^T M h to the scores of these tokens."""
        head = self._block(self._columns[start : start + self._vocab_block])
        for chunk, hidden in self._chunks(rows):
            error = self._error(chunk, hidden, head, start)
            score[chunk] += error.mul_(hidden @ matrix.T).sum(-1)

    def _error(self, chunk: Tensor, hidden: Tensor, head: Tensor, start: int) -> Tensor:
        """g `[chunk, block]`: -q, and -expm1(log q) at the sampled token: 1 - q would lose it for confident tokens."""
        error = self._logits(hidden, head).sub_(self._log_normaliser[chunk, None]).exp_().neg_()
        place = (self._place[chunk] - start)[:, None]
        inside = (place >= 0) & (place < error.shape[1])
        place = place.clamp(0, error.shape[1] - 1)
        return error.scatter_(1, place, torch.where(inside, self._own[chunk, None], error.gather(1, place)))

    def _normalise(self, reduce: Reductions) -> tuple[Tensor, Tensor]:
        """Log of the softmax denominator, and g at the sampled token: `[T]` each.

        The sum of exp(z - max) is kept without one of its largest terms, which is 1: log1p of the rest is exact to the
        last bits where one token has nearly all the probability.
        """
        log_normaliser, own = (
            torch.empty(self._tokens.token.shape, dtype=self._dtype, device=self._tokens.hidden.device)
            for _ in range(2)
        )
        rows, size = self._head.weight.shape[0], self._vocab_block
        for chunk, hidden in self._chunks(torch.arange(own.numel(), device=own.device)):
            largest = hidden.new_full(chunk.shape, -torch.inf)
            rest, ties, sampled = (torch.zeros_like(largest) for _ in range(3))
            for start in range(0, rows, size):
                logits = self._logits(hidden, self._block(slice(start, start + size)))
                place = (self._tokens.token[chunk] - self._head.first - start)[:, None]
                inside = ((place >= 0) & (place < logits.shape[1]))[:, 0]
                at_place = logits.gather(1, place.clamp(0, logits.shape[1] - 1))[:, 0]
                sampled = torch.where(inside, at_place, sampled)
                raised = torch.maximum(largest, logits.amax(-1))
                rest, ties = _rescale(largest, raised, rest, ties)
                largest = raised
                top = logits == largest[:, None]
                ties = ties + top.sum(-1)
                rest = rest + logits.sub_(largest[:, None]).exp_().masked_fill_(top, 0).sum(-1)
            over_shards = reduce.vocab_max(largest)
            rest, ties = _rescale(largest, over_shards, rest, ties)
            log_sum = torch.log1p(reduce.vocab_sum(rest) + (reduce.vocab_sum(ties) - 1))
            log_normaliser[chunk] = over_shards + log_sum
            own[chunk] = -torch.expm1(reduce.vocab_sum(sampled) - over_shards - log_sum)
        return log_normaliser, own

    def _chunks(self, rows: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        for chunk in rows.split(self._token_chunk):
            yield chunk, self._tokens.hidden[chunk].to(self._dtype)

    def _block(self, columns: Tensor | slice) -> Tensor:
        return self._head.weight[columns].to(self._dtype)

    def _logits(self, hidden: Tensor, head: Tensor) -> Tensor:
        return (hidden @ head.T).div_(self._head.temperature)


def _rescale(old: Tensor, new: Tensor, rest: Tensor, ties: Tensor) -> tuple[Tensor, Tensor]:
    """Sums of exp(z - old) below and at the maximum `old`, for the maximum `new` >= old."""
    same = old == new
    scaled = (rest + ties) * (old - new).exp()
    return torch.where(same, rest, scaled), torch.where(same, ties, 0)
