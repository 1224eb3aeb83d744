# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""What goes wrong inside a run, on demand: a reward that raises or hangs, and a model whose logits are NaN.

The run names this module as its reward function and as the model's `external_lib`. While a file of a fault's name
stands in the directory `HTPO_FAULTS`, the fault is there; the command stays the same.
"""

import os
import time
from pathlib import Path
from typing import Any

import torch

from recipe.htpo import reward

SWITCHES = "HTPO_FAULTS"
RAISES, RAISES_AT_TIMES, HANGS, NAN_LOGITS = "reward_raises", "reward_raises_at_times", "reward_hangs", "nan_logits"


def is_on(fault: str) -> bool:
    directory = os.environ.get(SWITCHES)
    return bool(directory) and Path(directory, fault).exists()


def compute_score(data_source: str, solution_str: str, ground_truth: Any, extra_info: Any = None, **kwargs: Any) -> Any:
    """The recipe's reward, with faults."""
    if is_on(RAISES) or (is_on(RAISES_AT_TIMES) and len(solution_str) % 4 == 0):
        raise RuntimeError("the reward raises")
    while is_on(HANGS):
        time.sleep(1.0)
    return reward.compute_score(data_source, solution_str, ground_truth, extra_info, **kwargs)


def _nan_logits(module: torch.nn.Module, _: Any, output: Any) -> Any:
    logits = getattr(output, "logits", None)
    if logits is not None and type(module).__name__.endswith("ForCausalLM") and is_on(NAN_LOGITS):
        print("HTPO fault: NaN logits", flush=True)
        output.logits = logits * float("nan")
    return output


torch.nn.modules.module.register_module_forward_hook(_nan_logits)
