# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""The `vllm.general_plugins` entry point: vLLM calls it in each of its processes, with or without verl."""

import os


def register() -> None:
    """Install the vLLM patches where the CPU platform is asked for."""
    if os.environ.get("VERL_PLATFORM", "").strip().lower() == "cpu":
        from recipe.htpo.cpu.patches import install_vllm_patches

        install_vllm_patches()
