# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""The token-level objective: who (difficulty x correctness x entropy) gets what (a table of rules). Torch only.

config = load_preset("htpo")
hard = difficulty(correct, prompt_index, valid, config.difficulty_threshold).hard
groups = partition(entropy, response_mask, hard, correct, config)
output = token_loss(log_prob, old_log_prob, advantages, response_mask, groups, config, 0.2, 0.28, 10.0)
metrics = metrics_from_sums(group_sums(output, entropy=entropy))
"""

from recipe.htpo.objective.config import CELL_NAMES, CellConfig, CellTable, ObjectiveConfig
from recipe.htpo.objective.difficulty import Difficulty, binarise_acc, difficulty
from recipe.htpo.objective.loss import TokenLossOutput, token_loss
from recipe.htpo.objective.metrics import destruction_warning, entropy_sums, group_sums, metrics_from_sums
from recipe.htpo.objective.partition import TokenGroups, partition, partition_jagged
from recipe.htpo.objective.presets import load_preset, preset_names, preset_settings
from recipe.htpo.objective.rules import RuleOutput, TokenTerms, register_rule, rule_names

__all__ = [
    "CELL_NAMES",
    "CellConfig",
    "CellTable",
    "Difficulty",
    "ObjectiveConfig",
    "RuleOutput",
    "TokenGroups",
    "TokenLossOutput",
    "TokenTerms",
    "binarise_acc",
    "destruction_warning",
    "difficulty",
    "entropy_sums",
    "group_sums",
    "load_preset",
    "metrics_from_sums",
    "partition",
    "partition_jagged",
    "preset_names",
    "preset_settings",
    "register_rule",
    "rule_names",
    "token_loss",
]
