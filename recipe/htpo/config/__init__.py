# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""Hydra configuration: `compose()` gives what `python -m recipe.htpo.main_htpo` runs with."""

from collections.abc import Sequence

from hydra import compose as _compose
from hydra import initialize_config_module
from omegaconf import DictConfig


def compose(overrides: Sequence[str] = (), config_name: str = "htpo_trainer") -> DictConfig:
    """Compose a configuration as the command line would; unknown keys and groups are Hydra's errors."""
    with initialize_config_module(__name__, version_base=None):
        return _compose(config_name, overrides=list(overrides))
