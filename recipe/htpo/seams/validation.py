# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""Unbiased pass@k of verl's validation, next to verl's own names."""

from typing import Any

from verl.trainer.ppo.v1.trainer_base import PPOTrainer

from recipe.htpo.evaluation.validation import validation_metrics


class ValidationMixin(PPOTrainer):
    """Mixed in before one of verl's trainers; adds to what a validation reports."""

    _validated_prompts: list[str]

    def _maybe_log_val_generations(self, inputs: list[str], outputs: list[str], scores: list[float]) -> None:
        # The one place where a validation hands its prompts on (verl/trainer/ppo/v1/trainer_base.py, _validate); the
        # metrics get the rows' random uids only.
        self._validated_prompts = list(inputs)
        super()._maybe_log_val_generations(inputs=inputs, outputs=outputs, scores=scores)

    def _val_metrics_update(
        self,
        data_sources: list[Any],
        sample_uids: list[str],
        reward_extra_infos_dict: dict[str, list[Any]],
        sample_turns: list[int],
        expected_acc_counts: dict[tuple[str, str], int] | None = None,
    ) -> dict[str, float]:
        metrics = super()._val_metrics_update(
            data_sources, sample_uids, reward_extra_infos_dict, sample_turns, expected_acc_counts=expected_acc_counts
        )
        acc = reward_extra_infos_dict.get("acc")
        if acc is not None:
            metrics |= validation_metrics(
                data_sources, sample_uids, self._validated_prompts, acc, expected=expected_acc_counts
            )
        return metrics
