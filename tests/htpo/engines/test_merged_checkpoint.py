# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""A checkpoint of either engine becomes the Hugging Face model that the evaluation loads, weight for weight.

verl's merger of FSDP checkpoints rounds to bf16 (verl/model_merger/fsdp_model_merger.py:187), that of Megatron not.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from engines_cases import LAYOUTS
from engines_launch import ROOT
from transformers import AutoModelForCausalLM, AutoTokenizer

from recipe.htpo.evaluation.models import model_directory

pytestmark = [pytest.mark.stack, pytest.mark.xdist_group("engines")]

SAVER = Path(__file__).with_name("engines_save.py")


@pytest.mark.parametrize("layout", ["fsdp-1", "fsdp-dp2", "megatron-1"])
def test_a_checkpoint_is_merged_into_the_model_that_was_saved(layout, engine_inputs, tmp_path):
    environment = os.environ | {
        "VERL_PLATFORM": "cpu",
        "OMP_NUM_THREADS": "1",
        "WORLD_SIZE": str(LAYOUTS[layout].processes),
        "DIST_INIT_METHOD": f"file://{tmp_path}/rendezvous",
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": "0",
        "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]),
    }
    command = [sys.executable, str(SAVER), layout, str(engine_inputs), str(tmp_path)]
    ranks = [
        subprocess.Popen(command, env=environment | {"RANK": str(rank), "LOCAL_RANK": str(rank)})
        for rank in range(LAYOUTS[layout].processes)
    ]
    assert not any(process.wait(timeout=500) for process in ranks)
    directory = model_directory(str(tmp_path / "checkpoints" / "global_step_1"), tmp_path / "scratch")
    merged = AutoModelForCausalLM.from_pretrained(directory, dtype=torch.float32).state_dict()
    saved = torch.load(tmp_path / "weights.pt")
    assert saved.keys() <= merged.keys() and {name for name in merged if name not in saved} <= {"lm_head.weight"}
    dtype = torch.bfloat16 if LAYOUTS[layout].engine == "fsdp2" else torch.float32
    assert all(torch.equal(merged[name], tensor.to(dtype).float()) for name, tensor in saved.items())
    assert AutoTokenizer.from_pretrained(directory).chat_template
    # Merged once.
    assert model_directory(str(tmp_path / "checkpoints" / "global_step_1"), tmp_path / "scratch") == directory
