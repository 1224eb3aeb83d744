# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""The `verl.plugins` entry point. verl imports this module in every process (verl/__init__.py:50-76).

Importing it is the registration: verl loads the entry point and does not call it. It stays light (nothing of the
trainer or of torch is imported) because it runs while `verl` is half imported, and it does nothing for people who use
verl for something else: names are added to verl's registries, and the CPU platform only answers to
`VERL_PLATFORM=cpu`. verl swallows an exception raised here at DEBUG level, so `is_loaded()` is the trace that the
trainer asks every worker for.
"""

import os
import sys

from recipe.htpo.import_hooks import after_import


def is_loaded() -> bool:
    """Whether verl loaded this plugin to its end in this process."""
    return bool(getattr(sys.modules.get(__name__), "_LOADED", False))


def _register() -> None:
    if os.environ.get("VERL_PLATFORM", "").strip().lower() == "cpu":
        from recipe.htpo import cpu

        cpu.activate()

    # Importing these modules registers their names. They import verl's modules themselves: where one of ours comes
    # first, its hook finds it half imported, and it registers its names when it goes on.
    def register_algorithms(module: object) -> None:
        from recipe.htpo.seams import algorithms, loss  # noqa: F401

    def register_trainers(module: object) -> None:
        from recipe.htpo.seams import trainer  # noqa: F401

    def register_fsdp_engine(module: object) -> None:
        from recipe.htpo.seams import influence_fsdp  # noqa: F401

    def register_megatron_engine(module: object) -> None:
        from recipe.htpo.seams import influence_megatron  # noqa: F401

    after_import("verl.trainer.ppo.core_algos", register_algorithms)
    after_import("verl.trainer.ppo.v1", register_trainers)
    after_import("verl.workers.engine.fsdp.transformer_impl", register_fsdp_engine)
    after_import("verl.workers.engine.megatron.transformer_impl", register_megatron_engine)


_register()
_LOADED = True
