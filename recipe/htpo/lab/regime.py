# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""How a lab run trains: everything but the objective. Named regimes are the YAML files in `regimes/`."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_type_hints

import yaml

REGIME_DIR = Path(__file__).resolve().parent / "regimes"


@dataclass(frozen=True, kw_only=True)
class Regime:
    """Batch sizes, optimiser and clip of a run. The YAML files say what each field is."""

    prompts: int
    responses: int
    updates: int
    lr: float
    lr_schedule: Literal["constant", "cosine"]
    lr_warmup_steps: int
    weight_decay: float
    max_grad_norm: float
    clip_ratio_low: float
    clip_ratio_high: float
    clip_ratio_c: float
    max_generation_factor: int

    def __post_init__(self) -> None:
        for name in ("prompts", "updates", "lr", "max_grad_norm", "max_generation_factor"):
            if not getattr(self, name) > 0:
                raise ValueError(f"regime.{name} must be positive, got {getattr(self, name)}")
        if self.prompts % self.updates:
            raise ValueError(f"regime.updates must divide regime.prompts, {self.prompts}, got {self.updates}")
        if not self.weight_decay >= 0:
            raise ValueError(f"regime.weight_decay must not be negative, got {self.weight_decay}")
        if self.responses < 2:
            raise ValueError(f"regime.responses must be at least 2, got {self.responses}")
        if self.lr_schedule not in ("constant", "cosine"):
            raise ValueError(f"regime.lr_schedule must be constant or cosine, got {self.lr_schedule!r}")

    def lr_at(self, step: int, steps: int) -> float:
        """Learning rate of step 0..steps-1."""
        warmup = min((step + 1) / max(self.lr_warmup_steps, 1), 1.0)
        decay = 0.5 * (1 + math.cos(math.pi * step / steps)) if self.lr_schedule == "cosine" else 1.0
        return self.lr * warmup * decay


def regime_names() -> tuple[str, ...]:
    """Names of the shipped regimes, sorted."""
    return tuple(sorted(path.stem for path in REGIME_DIR.glob("*.yaml")))


def load_regime(name: str, overrides: Mapping[str, Any] | None = None) -> Regime:
    """Raises ValueError, naming the valid ones, on an unknown regime or field."""
    if name not in regime_names():
        raise ValueError(f"unknown regime {name!r}. Valid regimes: {', '.join(regime_names())}")
    values = {**yaml.safe_load((REGIME_DIR / f"{name}.yaml").read_text(encoding="utf-8")), **(overrides or {})}
    known = get_type_hints(Regime)
    if unknown := sorted(values.keys() - known.keys()):
        raise ValueError(f"regime has no field {', '.join(unknown)}. Valid fields: {', '.join(known)}")
    return Regime(**{key: _typed(key, value, known[key]) for key, value in values.items()})


def _typed(key: str, value: Any, kind: Any) -> Any:
    """YAML 1.1 reads 1e-4 as a text. Raises ValueError where the number is of another kind, as 2.5 prompts."""
    if kind not in (int, float):
        return value
    try:
        typed = kind(value)
        if isinstance(value, bool) or typed != float(value):
            raise ValueError
    except (TypeError, ValueError, OverflowError):
        raise ValueError(f"regime.{key} must be {kind.__name__}, got {value!r}") from None
    return typed
