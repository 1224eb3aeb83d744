# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""How much: advantage transforms from quantities of the old policy. Torch only.

scores = influence_scores(tokens, Head(weight), length_normalised=True)   # for every prompt; THR and NTHR only
batch = WeightBatch(advantages=..., response_mask=..., correct=..., prompt_index=..., score=..., anchor=...)
advantages = WeightConfig.from_mapping("thr", {"p": 0.1})(batch)
"""

from recipe.htpo.objective.weights import light
from recipe.htpo.objective.weights.certainty import token_margins
from recipe.htpo.objective.weights.reductions import Reductions
from recipe.htpo.objective.weights.registry import WeightBatch, WeightConfig, register_weight, weight_names
from recipe.htpo.objective.weights.scores import Head, PromptTokens, Scores, influence_scores
from recipe.htpo.objective.weights.thr import (
    NthrParameters,
    ThrParameters,
    nthr_metrics,
    nthr_weight,
    thr_metrics,
    thr_scores,
    thr_weight,
)

__all__ = [
    "Head",
    "NthrParameters",
    "PromptTokens",
    "Reductions",
    "Scores",
    "ThrParameters",
    "WeightBatch",
    "WeightConfig",
    "influence_scores",
    "light",
    "nthr_metrics",
    "nthr_weight",
    "register_weight",
    "thr_metrics",
    "thr_scores",
    "thr_weight",
    "token_margins",
    "weight_names",
]
