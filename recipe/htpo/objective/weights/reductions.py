# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""Where the scores of a prompt need numbers of other ranks.

An engine passes an object with these three methods. Ranks that share a collective call it equally often and in one
order, whatever part of the tokens they hold.
"""

from torch import Tensor


class Reductions:
    """One process that holds the whole vocabulary and all tokens of the prompt: nothing to reduce."""

    def vocab_max(self, value: Tensor) -> Tensor:
        """Maximum over the shards of the vocabulary (tensor parallel); the shards hold the same tokens."""
        return value

    def vocab_sum(self, value: Tensor) -> Tensor:
        """Sum over the shards of the vocabulary."""
        return value

    def token_sum(self, value: Tensor) -> Tensor:
        """Sum over the parts of the prompt's tokens: sequence parts (context parallel, Ulysses) and data-parallel
        ranks among which its responses are spread. The parts hold the same columns of the vocabulary. `value` may be
        overwritten."""
        return value
