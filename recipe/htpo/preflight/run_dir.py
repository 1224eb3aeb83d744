# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""The output directory is new, or belongs to this very run."""

import os
from collections.abc import Iterator
from pathlib import Path

from omegaconf import DictConfig

from recipe.htpo.preflight.problem import Problem
from recipe.htpo.run.record import changed_fields

SHOWN = 8


def check_output_dir(config: DictConfig) -> Iterator[Problem]:
    """A run continues in its directory; another configuration needs another directory."""
    path = Path(config.htpo.output_dir)
    existing = next(parent for parent in (path, *path.absolute().parents) if parent.exists())
    if not existing.is_dir() or not os.access(existing, os.W_OK):
        yield Problem("htpo.output_dir", f"{path} cannot be written", "choose another directory")
        return
    changed = changed_fields(path, config)
    if changed:
        shown = "; ".join(changed[:SHOWN]) + (f"; and {len(changed) - SHOWN} more" if len(changed) > SHOWN else "")
        yield Problem(
            "htpo.output_dir",
            f"{path} holds a run with another configuration ({shown})",
            "choose another htpo.output_dir, restore the settings, or delete the directory",
        )
