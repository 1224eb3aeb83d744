# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""Configuration of a token-level objective: how tokens are grouped, and one table row per group.

A row (`CellConfig`) reads like a sector of the figure in arXiv 2605.08283: the named rule is the objective of the
tokens that `region`, `gate`, `floor` and `ceiling` let through; every other token of the group keeps the full PPO
loss. `rule: ppo` makes the other parameters but the detach rules irrelevant; with any other rule, one that could never
apply or never be read is refused.

The actor's clip widths and dual-clip constant are passed to `token_loss`; a row may have clip widths of its own.
"""

import math
from collections.abc import Mapping
from dataclasses import MISSING, asdict, dataclass, fields
from typing import Any, Literal, get_args, get_origin, get_type_hints

from recipe.htpo.objective.rules import check_rule, is_outside_only, rule_reads
from recipe.htpo.objective.weights.registry import NO_WEIGHT, WeightConfig

Region = Literal["all", "inside", "above", "below", "outside"]
Gate = Literal["ratio", "ratio_and_sign"]
DetachMode = Literal["threshold", "rank"]
EntropySource = Literal["old", "current"]
NonfiniteEntropy = Literal["error", "low"]


@dataclass(frozen=True, kw_only=True)
class CellConfig:
    """The objective of one group of tokens: one row of the table."""

    rule: str
    """Name of a registered rule (`rule_names()`)."""

    region: Region = "all"
    """Importance ratios for which the rule applies: `above` (> 1 + clip_ratio_high), `below` (< 1 - clip_ratio_low),
    `outside` (either), `inside` (neither) or `all`. Elsewhere the group has the PPO loss."""

    gate: Gate = "ratio"
    """`ratio`: the region alone decides. `ratio_and_sign`: besides, only tokens whose gradient PPO's clip ends, A > 0
    above the clip range or A < 0 below it (CE-GPPO's gate)."""

    scale: float = 1.0
    """Factor on the terms that replace PPO's (beta of CE-GPPO)."""

    scale_above: float | None = None
    """`scale` of the term above the clip range, for rules that have one on either side (`keep_gradient`); null is
    `scale`."""

    floor: float = 0.0
    """Importance ratio below which the rule does not apply: a token that has fallen so far has PPO's term again, whose
    clip ends the gradient. 0 is no floor."""

    ceiling: float | None = None
    """Importance ratio above which the rule does not apply; null is no ceiling."""

    clip_ratio_low: float | None = None
    """Lower clip width of this group's tokens; null is the actor's. It bounds the group's PPO loss and its `region`."""

    clip_ratio_high: float | None = None
    """Upper clip width of this group's tokens; null is the actor's."""

    kl_scale: float = 1.0
    """Factor on the actor's KL term (`use_kl_loss`) of this group's tokens."""

    detach_lowest: float = 0.0
    """Share, of the group's tokens in one response, of lowest-entropy tokens that get zero loss. 0 switches it off."""

    detach_highest: float = 0.0
    """Share, of the group's tokens in one response, of highest-entropy tokens that get zero loss. 0 switches it off."""

    detach_mode: DetachMode = "threshold"
    """With k = max(int(share * count), 1): `rank` detaches exactly k tokens (ties by position); `threshold`, as
    published, detaches entropies strictly below the k-th lowest, or at or above the k-th highest."""

    def __post_init__(self) -> None:
        check_rule(self.rule)
        _check_choices(self)
        for name in ("scale", "scale_above", "floor", "ceiling", "clip_ratio_low", "clip_ratio_high", "kl_scale"):
            _check_factor(self, name)
        if self.clip_ratio_low is not None and self.clip_ratio_low >= 1:
            raise ValueError(f"clip_ratio_low must be in [0, 1), got {self.clip_ratio_low}")
        if self.ceiling is not None and self.floor >= self.ceiling:
            raise ValueError(f"floor must be below ceiling, got {self.floor} and {self.ceiling}")
        _check_share(self, "detach_lowest", zero_allowed=True)
        _check_share(self, "detach_highest", zero_allowed=True)
        if self.rule != "ppo":
            _check_effect(self)

    def can_apply(self, clip_ratio_low: float, clip_ratio_high: float) -> bool:
        """Whether the rule has a ratio to apply to, with these clip widths where the row has none of its own."""
        lower = 1 - (clip_ratio_low if self.clip_ratio_low is None else self.clip_ratio_low)
        upper = 1 + (clip_ratio_high if self.clip_ratio_high is None else self.clip_ratio_high)
        ceiling = math.inf if self.ceiling is None else self.ceiling
        below, above = self.floor < lower, ceiling > upper
        if self.region == "inside":
            return self.floor <= upper and ceiling >= lower
        if self.region == "all" and self.gate == "ratio":
            return True
        return (below and self.region != "above") or (above and self.region != "below")


@dataclass(frozen=True, kw_only=True)
class CellTable:
    """The eight rows, in the order of the group ids 1..8: prompt difficulty x correctness x token entropy."""

    hard_correct_low: CellConfig
    hard_correct_high: CellConfig
    hard_wrong_low: CellConfig
    hard_wrong_high: CellConfig
    easy_correct_low: CellConfig
    easy_correct_high: CellConfig
    easy_wrong_low: CellConfig
    easy_wrong_high: CellConfig

    def __getitem__(self, group: int) -> CellConfig:
        """Row of group id 1..8."""
        return getattr(self, CELL_NAMES[group - 1])


CELL_NAMES: tuple[str, ...] = tuple(field.name for field in fields(CellTable))
GROUP_IDS: tuple[int, ...] = tuple(range(1, len(CELL_NAMES) + 1))


@dataclass(frozen=True, kw_only=True)
class ObjectiveConfig:
    """A complete token-level objective. Build it with `from_mapping` or `load_preset`."""

    preset: str
    """Name of the preset the values started from; logged, and otherwise without effect."""

    cells: CellTable
    """One row per group."""

    difficulty_threshold: float = 0.6
    """A prompt is hard if its pass rate is strictly below this value."""

    high_entropy_ratio: float = 0.2
    """Share of a response's tokens that are high-entropy (at least one; ties at the cut are all high)."""

    entropy_source: EntropySource = "old"
    """Policy whose entropy splits the tokens: `old` (one split per training batch) or `current` (as published:
    from the forward pass of every update). Equal in the first update of a batch."""

    nonfinite_entropy: NonfiniteEntropy = "error"
    """What a NaN or infinite entropy of a response token does: `error`, or `low` (ranked below every other token)."""

    weights: WeightConfig | None = None
    """Advantage transform: how much a token counts; None leaves the estimator's advantages as they are."""

    def __post_init__(self) -> None:
        if not isinstance(self.preset, str) or not self.preset:
            raise ValueError(f"preset must be a non-empty string, got {self.preset!r}")
        _check_choices(self)
        _check_share(self, "difficulty_threshold", zero_allowed=True)
        _check_share(self, "high_entropy_ratio", zero_allowed=False)

    @classmethod
    def from_mapping(cls, mapping: Mapping[str, Any]) -> "ObjectiveConfig":
        """Build from a nested mapping such as a parsed preset file or a resolved Hydra node.

        Raises:
            ValueError: naming the field, the bad value and the valid ones, for unknown or missing keys, unknown
                rules, cells, regions or modes, and values out of range.
        """
        values = dict(_checked(mapping, cls, "objective"))
        rows = _checked(values["cells"], CellTable, "objective.cells")
        values["cells"] = CellTable(**{name: _cell(row, f"objective.cells.{name}") for name, row in rows.items()})
        values["weights"] = _weights(values.get("weights"))
        return cls(**values)

    def to_mapping(self) -> dict[str, Any]:
        """Plain nested dictionary; `from_mapping` reads it back to an equal configuration."""
        none = {"name": NO_WEIGHT, "parameters": {}}
        return asdict(self) | ({"weights": none} if self.weights is None else {})


def _weights(node: Any) -> WeightConfig | None:
    if node is None:
        return None
    values = _checked(node, WeightConfig, "objective.weights")
    parameters = values["parameters"]
    if parameters is not None and not isinstance(parameters, Mapping):
        raise ValueError(f"objective.weights.parameters must be a mapping, got {parameters!r}")
    if values["name"] == NO_WEIGHT:
        if parameters:
            raise ValueError(f"objective.weights.parameters are {dict(parameters)}, but name is {NO_WEIGHT}: name one")
        return None
    try:
        return WeightConfig.from_mapping(values["name"], parameters)
    except ValueError as error:
        raise ValueError(f"objective.weights: {error}") from error


def _cell(row: Any, path: str) -> CellConfig:
    values = _checked(row, CellConfig, path)
    try:
        return CellConfig(**values)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def _checked(mapping: Any, cls: type, path: str) -> Mapping[str, Any]:
    """`mapping`, once it is known to have all required keys of dataclass `cls` and no others."""
    valid = [field.name for field in fields(cls)]
    if not isinstance(mapping, Mapping):
        raise ValueError(f"{path} must be a mapping with the keys {', '.join(valid)}; got {mapping!r}")
    unknown = [str(key) for key in mapping if key not in valid]
    if unknown:
        raise ValueError(f"{path} has unknown keys: {', '.join(unknown)}. Valid keys: {', '.join(valid)}")
    missing = [field.name for field in fields(cls) if field.default is MISSING and field.name not in mapping]
    if missing:
        raise ValueError(f"{path} lacks the keys: {', '.join(missing)}. Valid keys: {', '.join(valid)}")
    return mapping


def _check_choices(config: Any) -> None:
    for name, annotation in get_type_hints(type(config)).items():
        choices, value = get_args(annotation), getattr(config, name)
        if get_origin(annotation) is Literal and value not in choices:
            raise ValueError(f"{name} is {value!r}. Valid values: {', '.join(choices)}")


def _check_factor(config: Any, name: str) -> None:
    value = getattr(config, name)
    if value is None and name in ("scale_above", "ceiling", "clip_ratio_low", "clip_ratio_high"):
        return
    if not isinstance(value, int | float) or isinstance(value, bool) or not 0 <= value < math.inf:
        raise ValueError(f"{name} must be a finite number of at least 0, got {value!r}")


def _check_effect(cell: CellConfig) -> None:
    """No parameter is without effect, whatever the clip widths."""
    for name in ("scale", "scale_above"):
        if getattr(cell, name) != getattr(CellConfig, name) and not rule_reads(cell.rule, name):
            raise ValueError(f"{name} is {getattr(cell, name)}, which rule {cell.rule} does not read; leave it out")
    # Of terms on either side of the clip range, and of bounds, those that the region leaves out.
    if cell.region == "below" and cell.scale_above is not None:
        raise ValueError(f"scale_above is {cell.scale_above}, but region is below; set it to null")
    if cell.region == "above" and cell.scale_above is not None and cell.scale != CellConfig.scale:
        raise ValueError(f"scale is {cell.scale}, but above the clip range scale_above is read; set scale to 1")
    if cell.region == "above" and 0 < cell.floor <= 1:
        raise ValueError(f"floor is {cell.floor}, but region is above, where no ratio is as low; set it to 0")
    if cell.region == "below" and cell.ceiling is not None and cell.ceiling >= 1:
        raise ValueError(f"ceiling is {cell.ceiling}, but region is below, where no ratio is as high; set it to null")
    if cell.region == "inside" and cell.gate == "ratio_and_sign":
        raise ValueError(
            "gate is ratio_and_sign, which lets no token inside the clip range through; set gate to ratio, or region "
            "to outside"
        )
    if cell.region in ("all", "inside") and cell.gate == "ratio" and is_outside_only(cell.rule):
        raise ValueError(
            f"region is {cell.region}, but rule {cell.rule} has no term inside the clip range, so that such tokens "
            "would get no loss; set region to outside"
        )


def _check_share(config: Any, name: str, *, zero_allowed: bool) -> None:
    value = getattr(config, name)
    is_number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    if not is_number or not 0 <= value <= 1 or (value == 0 and not zero_allowed):
        raise ValueError(f"{name} must be a number in {'[' if zero_allowed else '('}0, 1], got {value!r}")
