# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""verl's Megatron engine without an accelerator: collectives over gloo, torch layers, fp32.

Nothing here is imported before megatron-core is: `install()` only leaves hooks.
"""

import os

from recipe.htpo.cpu.megatron import patches
from recipe.htpo.import_hooks import after_import, after_import_of_each


def install() -> None:
    """Arrange for megatron-core, mbridge and verl's Megatron engine to be patched when they are imported."""
    # megatron-core and verl compile small functions where they define them; on a CPU that costs more than it saves.
    os.environ.setdefault("TORCHDYNAMO_DISABLE", "1")
    for package in ("megatron.core", "mbridge"):
        after_import_of_each(package, patches.cuda_means_cpu)
    after_import("megatron.core", patches.tensors_stay)
    after_import("megatron.core.tensor_parallel.random", patches.cpu_random_state)
    after_import("megatron.core.models.gpt.gpt_layer_specs", patches.torch_layers)
    after_import("megatron.core.optimizer.optimizer", patches.torch_clips)
    after_import("megatron.core.optimizer.distrib_optimizer", patches.resumable_optimizer)
    after_import("verl.utils.megatron.optimizer", patches.parameters_say_cuda)
    after_import("verl.workers.config.engine", patches.float32_engine)
