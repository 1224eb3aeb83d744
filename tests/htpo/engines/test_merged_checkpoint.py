# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""A checkpoint of either engine becomes the Hugging Face model that the evaluation loads, weight for weight.

verl's merger of FSDP checkpoints rounds to bf16 (verl/model_merger/fsdp_model_merger.py:187), that of Megatron not.
"""

import pytest
import torch
from engines_cases import LAYOUTS
from engines_launch import run_ranks
from transformers import AutoModelForCausalLM, AutoTokenizer

from recipe.htpo.evaluation.models import model_directory

pytestmark = [pytest.mark.stack, pytest.mark.xdist_group("engines")]


@pytest.mark.parametrize("layout", ["fsdp-1", "fsdp-dp2", "megatron-1"])
def test_a_checkpoint_is_merged_into_the_model_that_was_saved(layout, engine_inputs, tmp_path):
    run_ranks("engines_save", LAYOUTS[layout].processes, layout, engine_inputs, tmp_path)
    directory = model_directory(str(tmp_path / "checkpoints" / "global_step_1"), tmp_path / "scratch")
    merged = AutoModelForCausalLM.from_pretrained(directory, dtype=torch.float32).state_dict()
    saved = torch.load(tmp_path / "weights.pt")
    assert saved.keys() <= merged.keys() and {name for name in merged if name not in saved} <= {"lm_head.weight"}
    dtype = torch.bfloat16 if LAYOUTS[layout].engine == "fsdp2" else torch.float32
    assert all(torch.equal(merged[name], tensor.to(dtype).float()) for name, tensor in saved.items())
    assert AutoTokenizer.from_pretrained(directory).chat_template
    # Merged once.
    assert model_directory(str(tmp_path / "checkpoints" / "global_step_1"), tmp_path / "scratch") == directory
