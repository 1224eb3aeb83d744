# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""Named objectives: the YAML files of the Hydra group `objective`, readable without Hydra too."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from recipe.htpo.objective.config import ObjectiveConfig

PRESET_DIR = Path(__file__).resolve().parents[1] / "config" / "objective"


def preset_names() -> tuple[str, ...]:
    """Names of the shipped presets, sorted."""
    return tuple(sorted(path.stem for path in PRESET_DIR.glob("*.yaml")))


def load_preset(name: str, overrides: Mapping[str, Any] | None = None) -> ObjectiveConfig:
    """Read a preset and merge nested `overrides` into it, such as `{"cells": {"hard_correct_high": {"rule": "ppo"}}}`.

    Raises:
        ValueError: listing the valid names, for an unknown preset or an invalid override.
    """
    if name not in preset_names():
        raise ValueError(f"unknown objective preset {name!r}. Valid presets: {', '.join(preset_names())}")
    values = yaml.safe_load((PRESET_DIR / f"{name}.yaml").read_text(encoding="utf-8"))
    return ObjectiveConfig.from_mapping(_merged(values, overrides or {}))


def _merged(base: Mapping[str, Any], overrides: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in overrides.items():
        nested = isinstance(value, Mapping) and isinstance(merged.get(key), Mapping)
        merged[key] = _merged(merged[key], value) if nested else value
    return merged
