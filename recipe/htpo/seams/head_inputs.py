# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""What the LM head of a verl engine is given in a forward pass, collected for the response tokens of chosen rows."""

from typing import NamedTuple

import torch
from tensordict import TensorDict
from torch import Tensor

from recipe.htpo.objective.weights import Head

ROW_FIELD = "htpo_row"
"""Of a batch: the place of each row in it, which the micro-batches bring back."""

PART = 1 << 40
"""A slot is a token's index among the LM head's inputs of its rank, plus `PART` times the rank's sequence part."""


class Taken(NamedTuple):
    """The LM head, and `N` response tokens of this rank in host memory."""

    head: Head
    hidden: Tensor
    """`[N, d]`, from which the head predicts the token."""
    token: Tensor
    """`[N]` vocabulary ids."""
    row: Tensor
    """`[N]` int64, row of the batch."""
    place: Tensor
    """`[N]` int64, place in the row's response."""


class HeadInputs:
    """The LM head's inputs for the response tokens of wanted rows, collected over micro-batches.

    Args:
        wanted: `[B]` bool, rows of the batch.
        part: which part of a sequence this rank has.
    """

    def __init__(self, wanted: Tensor, part: int) -> None:
        self._wanted, self._part = wanted, part
        self._weight: Tensor | None = None
        self._given: Tensor | None = None
        self._taken: list[tuple[Tensor, ...]] = []

    def give(self, hidden: Tensor, weight: Tensor, *, keep: bool) -> None:
        """Called at the LM head with its input `[slots, d]` and its weight.

        Args:
            hidden: the input.
            weight: the weight.
            keep: copy the weight: it is only there during the forward pass.
        """
        self._given = hidden.detach()
        if self._weight is None:
            self._weight = weight.detach().to(hidden.dtype, copy=keep)

    def take(self, micro_batch: TensorDict, slots: Tensor) -> None:
        """Called when the micro-batch is through the model.

        Args:
            micro_batch: jagged `input_ids` (prompt and response) and `response_mask`.
            slots: jagged like `input_ids`, the slot of every token.
        """
        if self._given is None:
            raise RuntimeError("the LM head was not called: this model computes its logits in some other way")
        ids, mask = micro_batch["input_ids"], micro_batch["response_mask"]
        lengths = mask.offsets().diff()
        row = torch.arange(len(lengths), device=lengths.device).repeat_interleave(lengths)
        place = torch.arange(len(row), device=row.device) - mask.offsets()[row]
        token_at = ids.offsets()[1:][row] - lengths[row] + place
        # The position before a token predicts it.
        slot = slots.values()[token_at - 1]
        rows = micro_batch[ROW_FIELD][row]
        keep = self._wanted.to(rows.device)[rows] & (mask.values() > 0) & (slot // PART == self._part)
        kept = (self._given[slot[keep] % PART], ids.values()[token_at[keep]], rows[keep], place[keep])
        self._taken.append(tuple(value.cpu() for value in kept))
        self._given = None

    def taken(self, first_row: int, temperature: float) -> Taken:
        """All that was collected; afterwards it is no longer kept here.

        Args:
            first_row: vocabulary id of the weight's first row.
            temperature: of the old log-probabilities.
        """
        assert self._weight is not None
        tokens = [torch.cat(values) for values in zip(*self._taken, strict=True)]
        self._taken.clear()
        return Taken(Head(self._weight, first_row, temperature), *tokens)
