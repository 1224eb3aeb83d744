# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""Named objectives: the YAML files of the Hydra group `objective`, readable without Hydra too.

A file holds fields of the objective. One that sets fields of verl besides begins with `# @package _global_`; there the
objective stands under `objective`.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from recipe.htpo.objective.config import ObjectiveConfig

PRESET_DIR = Path(__file__).resolve().parents[1] / "config" / "objective"

_BASE = "base"
"""The file that Hydra's defaults list of every preset names first."""


def preset_names() -> tuple[str, ...]:
    """Names of the shipped presets, sorted."""
    return tuple(sorted(path.stem for path in PRESET_DIR.glob("*.yaml") if path.stem != _BASE))


def load_preset(name: str, overrides: Mapping[str, Any] | None = None) -> ObjectiveConfig:
    """Read a preset and merge nested `overrides` into it, such as `{"cells": {"hard_correct_high": {"rule": "ppo"}}}`.

    Raises:
        ValueError: listing the valid names, for an unknown preset or an invalid override.
    """
    return ObjectiveConfig.from_mapping(_merged(_composed(_known(name))["objective"], overrides or {}))


def preset_settings(name: str) -> dict[str, Any]:
    """The fields of verl that a preset sets, nested as in the run's configuration and not resolved; often none.

    Raises:
        ValueError: listing the valid names, for an unknown preset.
    """
    return {key: value for key, value in _composed(_known(name)).items() if key != "objective"}


def _known(name: str) -> str:
    if name not in preset_names():
        raise ValueError(f"unknown objective preset {name!r}. Valid presets: {', '.join(preset_names())}")
    return name


def _composed(name: str) -> dict[str, Any]:
    """The preset's fields over those of the presets in its `defaults`, as Hydra composes them."""
    # Read as Hydra reads it: plain YAML 1.1 takes 1e-3 for a text.
    values: Any = OmegaConf.to_container(OmegaConf.load(PRESET_DIR / f"{name}.yaml"))
    composed: dict[str, Any] = {}
    for parent in values.pop("defaults", []):
        if parent != "_self_":
            composed = _merged(composed, _composed(parent))
    return _merged(composed, values if "objective" in values else {"objective": values})


def _merged(base: Mapping[str, Any], overrides: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in overrides.items():
        nested = isinstance(value, Mapping) and isinstance(merged.get(key), Mapping)
        merged[key] = _merged(merged[key], value) if nested else value
    return merged
