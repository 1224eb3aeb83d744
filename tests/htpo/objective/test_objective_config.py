# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""Configuration, presets, rules: what reads back, what composes under Hydra, and what the errors say."""

import pickle

import pytest
import torch
import yaml
from hydra import compose, initialize_config_dir
from objective_batches import one_token
from omegaconf import OmegaConf

from recipe.htpo.objective import (
    CELL_NAMES,
    ObjectiveConfig,
    RuleOutput,
    load_preset,
    preset_names,
    register_rule,
    rule_names,
)
from recipe.htpo.objective.presets import PRESET_DIR
from recipe.htpo.objective.rules import _RULES

PRESETS = ("dapo", "entropy_80_20", "htpo", "htpo_paper_literal", "htpo_released", "htpo_released_signfix")


def test_names():
    assert set(PRESETS) <= set(preset_names())
    assert CELL_NAMES == (
        "hard_correct_low",
        "hard_correct_high",
        "hard_wrong_low",
        "hard_wrong_high",
        "easy_correct_low",
        "easy_correct_high",
        "easy_wrong_low",
        "easy_wrong_high",
    )


@pytest.mark.parametrize("name", preset_names())
def test_preset_reads_back_equal(name):
    config = load_preset(name)
    assert config.preset == name
    assert ObjectiveConfig.from_mapping(config.to_mapping()) == config
    assert pickle.loads(pickle.dumps(config)) == config


@pytest.mark.parametrize("name", preset_names())
def test_preset_lists_every_field_with_a_comment_above(name):
    text = (PRESET_DIR / f"{name}.yaml").read_text(encoding="utf-8")
    assert yaml.safe_load(text) == load_preset(name).to_mapping()
    lines = text.splitlines()
    fields = [i for i, line in enumerate(lines) if line and not line.lstrip().startswith("#")]
    assert all(lines[i - 1].lstrip().startswith("#") for i in fields)


def test_htpo_defaults():
    config = load_preset("htpo")
    assert (config.difficulty_threshold, config.high_entropy_ratio, config.entropy_source) == (0.6, 0.2, "old")
    cells = config.cells
    assert (cells.hard_correct_low.detach_lowest, cells.easy_correct_high.detach_highest) == (0.006, 0.02)
    assert (cells[2].rule, cells[2].region) == ("encourage", "above")
    assert cells[4] == cells[8] and (cells[4].rule, cells[4].region) == ("penalize", "below")


@pytest.mark.parametrize("name", preset_names())
def test_hydra_composes_a_preset_and_one_overridden_cell(name, tmp_path):
    (tmp_path / "main.yaml").write_text(
        f"hydra:\n  searchpath: ['file://{PRESET_DIR.parent}']\ndefaults:\n  - objective: htpo\n  - _self_\n"
    )
    with initialize_config_dir(str(tmp_path), version_base=None):
        overrides = [f"objective={name}", "objective.cells.hard_correct_high.rule=ppo", "objective.entropy_source=old"]
        node = compose("main", overrides=overrides).objective
    config = ObjectiveConfig.from_mapping(OmegaConf.to_container(node, resolve=True))
    assert config == load_preset(name, {"cells": {"hard_correct_high": {"rule": "ppo"}}})


@pytest.mark.parametrize(
    "overrides,message",
    [
        ({"thresold": 1}, "objective has unknown keys: thresold. Valid keys: .*difficulty_threshold"),
        ({"cells": {"hard_low": {}}}, "objective.cells has unknown keys: hard_low. Valid keys: hard_correct_low, .*"),
        (
            {"cells": {"easy_wrong_low": {"above": "ppo"}}},
            "objective.cells.easy_wrong_low has unknown keys: above. Valid keys: rule, region, .*",
        ),
        (
            {"cells": {"easy_wrong_low": {"rule": "pppo"}}},
            "objective.cells.easy_wrong_low: unknown rule 'pppo'. Valid rules: ppo, encourage, penalize, .*",
        ),
        (
            {"cells": {"hard_correct_high": {"region": "up"}}},
            "objective.cells.hard_correct_high: region is 'up'. Valid values: all, inside, above, below, outside",
        ),
        ({"cells": {"hard_correct_low": {"detach_mode": "topk"}}}, "detach_mode is 'topk'. Valid values: threshold"),
        ({"cells": {"hard_correct_low": {"detach_lowest": 1.5}}}, r"detach_lowest must be a number in \[0, 1\]"),
        ({"cells": {"hard_correct_low": "ppo"}}, "objective.cells.hard_correct_low must be a mapping"),
        ({"cells": None}, "objective.cells must be a mapping"),
        ({"entropy_source": "new"}, "entropy_source is 'new'. Valid values: old, current"),
        ({"nonfinite_entropy": "high"}, "nonfinite_entropy is 'high'. Valid values: error, low"),
        ({"high_entropy_ratio": 0.0}, r"high_entropy_ratio must be a number in \(0, 1\]"),
        ({"difficulty_threshold": "0.6"}, "difficulty_threshold must be a number"),
        ({"difficulty_threshold": float("nan")}, "difficulty_threshold must be a number"),
        ({"clamp_reciprocal_ratio": 1}, "clamp_reciprocal_ratio must be true or false"),
        ({"preset": ""}, "preset must be a non-empty string"),
    ],
)
def test_errors_name_the_field_and_the_valid_values(overrides, message):
    with pytest.raises(ValueError, match=message):
        load_preset("htpo", overrides)


def test_missing_keys_and_unknown_preset():
    values = load_preset("dapo").to_mapping()
    del values["cells"]["easy_wrong_high"]
    with pytest.raises(ValueError, match="objective.cells lacks the keys: easy_wrong_high"):
        ObjectiveConfig.from_mapping(values)
    with pytest.raises(ValueError, match="unknown objective preset 'htop'. Valid presets: dapo, entropy_80_20, htpo"):
        load_preset("htop")


def test_a_new_objective_is_one_function():
    @register_rule("half_ppo")
    def half_ppo(terms, selected):
        return RuleOutput(terms.ppo_loss / 2, torch.ones_like(selected))

    try:
        assert "half_ppo" in rule_names()
        config = load_preset("dapo", {"cells": {"easy_wrong_low": {"rule": "half_ppo"}}})
        assert one_token(7, 1.1, -1.0, config) == pytest.approx((0.55, 0.55))
        assert one_token(5, 1.1, -1.0, config) == pytest.approx((1.1, 1.1))
        with pytest.raises(ValueError, match="already registered"):
            register_rule("half_ppo")(half_ppo)
    finally:
        del _RULES["half_ppo"]
