# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""Each patch of the Megatron engine is needed (the original still does the harmful thing), and works.

That the patched engine computes what Hugging Face computes, resumes exactly and runs in parallel is shown in
tests/htpo/engines.
"""

import importlib.util
import inspect
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from recipe.htpo.cpu.megatron import patches

PATCHES = [
    patches.cuda_means_cpu,
    patches.tensors_stay,
    patches.cpu_random_state,
    patches.torch_layers,
    patches.parameters_say_cuda,
    patches.torch_clips,
    patches.resumable_optimizer,
    patches.float32_engine,
]

# What stands in the line that a docstring names.
LINES = {
    "megatron/core/pipeline_parallel/schedules.py:596": 'device="cuda"',
    "mbridge/core/util.py:323": "device=torch.cuda.current_device()",
    "megatron/core/models/common/embeddings/rope_utils.py:64": ".cuda(non_blocking=True)",
    "mbridge/core/util.py:151": "model_module.cuda(torch.cuda.current_device())",
    "megatron/core/models/common/language_module/language_module.py:244": "weight.data.cuda()",
    "megatron/core/tensor_parallel/random.py:55": "torch.cuda.random.get_rng_state(device=device)",
    "megatron/core/models/gpt/gpt_layer_specs.py:46": "import TESpecProvider",
    "megatron/core/optimizer/distrib_optimizer.py:420": "model_param.type() == 'torch.cuda.FloatTensor'",
    "megatron/core/optimizer/clip_grads.py:167": "assert param.grad.type() == 'torch.cuda.FloatTensor'",
    "megatron/core/optimizer/distrib_optimizer.py:825": 's["step"] = step',
    "verl/workers/config/engine.py:218": 'assert self.dtype in ["bfloat16", "float16"]',
}


def test_docstrings_name_the_right_lines():
    named = [place for patch in PATCHES for place in re.findall(r"[\w/]+\.py:\d+", inspect.getdoc(patch))]
    assert sorted(named) == sorted(LINES)
    for place, text in LINES.items():
        file, _, number = place.partition(":")
        package = file.split("/")[0] if not file.startswith("megatron") else "megatron.core"
        root = Path(importlib.util.find_spec(package).origin).parents[package.count(".") + 1]
        assert text in (root / file).read_text().splitlines()[int(number) - 1], place


def test_every_patch_is_tested_here():
    public = [
        value
        for name, value in vars(patches).items()
        if inspect.isfunction(value) and value.__module__ == patches.__name__ and not name.startswith("_")
    ]
    assert public == PATCHES


PROBE = """
import json, os, sys
import torch
import verl
import megatron.core
from megatron.core.tensor_parallel import random
from megatron.core.models.gpt import gpt_layer_specs
from megatron.core.optimizer import clip_grads, optimizer
from megatron.core.optimizer import distrib_optimizer
from verl.workers.config import McoreEngineConfig

def outcome(function):
    try:
        return str(function())
    except Exception as error:
        return type(error).__name__

def clipped(clip):
    parameter = torch.nn.Parameter(torch.zeros(2))
    parameter.grad = torch.tensor([3.0, 4.0])
    clip([parameter], 1.0, 5.0)
    return [round(value, 4) for value in parameter.grad.tolist()]

def drawn():
    state = random._get_cuda_rng_state()
    first = torch.rand(3)
    random._set_cuda_rng_state(state)
    return torch.equal(first, torch.rand(3))

print("REPORT" + json.dumps({
    "factory": outcome(lambda: distrib_optimizer.torch.zeros(2, device="cuda").device),
    "current_device": outcome(lambda: torch.ones(1, device=distrib_optimizer.torch.cuda.current_device()).device),
    "move": outcome(lambda: torch.ones(1).cuda().device),
    "random": outcome(drawn),
    "layers": outcome(lambda: gpt_layer_specs.TESpecProvider.__name__),
    "type": torch.nn.Parameter(torch.ones(1)).type(),
    "clip": outcome(lambda: clipped(optimizer.clip_grad_by_total_norm_fp32)),
    "float32": outcome(lambda: McoreEngineConfig(dtype="float32").dtype),
    "float64": outcome(lambda: McoreEngineConfig(dtype="float64").dtype),
}))
"""


def probe(**environment):
    """What the modules do in a new process."""
    result = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", PROBE],
        env={name: value for name, value in os.environ.items() if name != "VERL_PLATFORM"} | environment,
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout.rpartition("REPORT")[2])


@pytest.fixture(scope="module")
def original():
    return probe(CUDA_VISIBLE_DEVICES="")


@pytest.fixture(scope="module")
def patched():
    return probe(VERL_PLATFORM="cpu")


@pytest.mark.long
def test_without_the_platform_megatron_needs_an_accelerator(original):
    for name in ("factory", "current_device", "move", "random", "layers", "clip", "float32"):
        assert original[name].endswith("Error"), f"{name} now works without its patch: {original[name]}"
    assert original["type"] == "torch.FloatTensor"


@pytest.mark.long
def test_on_the_platform_cuda_means_the_cpu(patched):
    assert patched["factory"] == patched["current_device"] == patched["move"] == "cpu"
    assert patched["random"] == "True"
    assert patched["layers"] == "CpuSpecProvider"


@pytest.mark.long
def test_clipping_scales_to_the_norm(patched):
    assert patched["clip"] == "[0.6, 0.8]"


@pytest.mark.long
def test_float32_is_let_through_and_nothing_else(patched):
    assert patched["float32"] == "float32" and patched["float64"] == "AssertionError"
