# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""Configuration, presets, rules: what reads back, what composes under Hydra, and what the errors say."""

import pickle

import pytest
import torch
import yaml
from hydra import compose, initialize_config_dir
from objective_batches import CLIP, one_token
from omegaconf import OmegaConf

from recipe.htpo.objective import (
    CELL_NAMES,
    ObjectiveConfig,
    RuleOutput,
    TokenGroups,
    load_preset,
    preset_names,
    presets,
    register_rule,
    rule_names,
    token_loss,
)
from recipe.htpo.objective.presets import PRESET_DIR
from recipe.htpo.objective.rules import _RULES

PRESETS = (
    "archer",
    "aspo",
    "ce_gppo",
    "cispo",
    "clip_cov",
    "dapo",
    "dppo_tv",
    "dr_grpo",
    "entropy_80_20",
    "grpo",
    "gspo",
    "htpo",
    "htpo_paper",
    "htpo_paper_literal",
    "htpo_released",
    "htpo_released_signfix",
    "kl_cov",
    "nthr",
    "sapo",
    "thr_exploit",
    "thr_explore",
    "thr_gspo",
    "thr_htpo",
)


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


def test_every_field_of_a_preset_has_a_comment_above():
    for path in PRESET_DIR.glob("*.yaml"):
        lines = path.read_text(encoding="utf-8").splitlines()
        section = {"defaults:", "objective:", "algorithm:", "actor_rollout_ref:", "actor:", "policy_loss:"}
        fields = [
            i
            for i, line in enumerate(lines)
            if line and not line.lstrip().startswith("#") and line.strip() not in section
        ]
        assert all(lines[i - 1].lstrip().startswith("#") for i in fields), path.name


def test_the_base_lists_every_field_and_presets_only_what_differs():
    base = yaml.safe_load((PRESET_DIR / "base.yaml").read_text(encoding="utf-8"))
    assert base == {**load_preset("dapo").to_mapping(), "preset": "base"}
    for name in preset_names():
        values = yaml.safe_load((PRESET_DIR / f"{name}.yaml").read_text(encoding="utf-8"))
        assert values.pop("defaults")[-1] == "_self_"
        values = values.get("objective", values)
        for cell, row in values.pop("cells", {}).items():
            assert all(base["cells"][cell][key] != value for key, value in row.items()), (name, cell)
        assert all(base[key] != value for key, value in values.items()), name


@pytest.mark.parametrize(
    "weights, message",
    [
        ({"name": "thr", "parameters": {}}, "objective.weights: .*'thr'.*missing \\['p'\\]. Valid keys: p, beta"),
        ({"name": "thr", "parameters": {"p": 1.0}}, "objective.weights: .*p must be strictly between"),
        ({"name": "ar", "parameters": {"beta": 1}}, "unknown \\['beta'\\].*Valid keys: alpha"),
        ({"name": "tr"}, "unknown weight 'tr'. Valid weights: none, ar,"),
        ({"name": ["thr", "ar"]}, r"unknown weight \['thr', 'ar'\]. Valid weights: none, ar,"),
        ({"names": "ar"}, "objective.weights has unknown keys: names. Valid keys: name, parameters"),
        ({"parameters": {"p": 0.1}}, "parameters are {'p': 0.1}, but name is none"),
        ({"name": "ar", "parameters": 0.2}, "parameters must be a mapping, got 0.2"),
    ],
)
def test_weights_that_cannot_be_are_refused(weights, message):
    with pytest.raises(ValueError, match=message):
        load_preset("dapo", {"weights": weights})


def test_weights_are_read_and_written():
    config = load_preset("htpo", {"weights": {"name": "thr", "parameters": {"p": -0.1}}})
    assert config.weights.name == "thr" and config.weights.parameters.p == -0.1
    assert config.weights.score_options == {
        "length_normalised": True,
        "vocab": "vstar",
        "anchor_exclude_self": False,
    }
    assert ObjectiveConfig.from_mapping(config.to_mapping()) == config
    assert load_preset("htpo").weights is None
    assert load_preset("thr_explore").weights.parameters.p == -load_preset("thr_exploit").weights.parameters.p == -0.1


def test_htpo_paper_is_the_figure():
    config = load_preset("htpo_paper")
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
        overrides = [
            f"objective={name}",
            "objective.cells.hard_correct_high.rule=ppo",
            "objective.high_entropy_ratio=0.3",
        ]
        node = compose("main", overrides=overrides).objective
    config = ObjectiveConfig.from_mapping(OmegaConf.to_container(node, resolve=True))
    expected = {"cells": {"hard_correct_high": {"rule": "ppo"}}, "high_entropy_ratio": 0.3}
    assert config == load_preset(name, expected)


def test_a_preset_of_ones_own_is_read_as_hydra_reads_it(tmp_path, monkeypatch):
    (tmp_path / "base.yaml").write_text((PRESET_DIR / "base.yaml").read_text())
    (tmp_path / "own.yaml").write_text(
        "defaults: [base, _self_]\npreset: own\ncells:\n  hard_wrong_high: {detach_lowest: 5e-3}\n"
    )
    monkeypatch.setattr(presets, "PRESET_DIR", tmp_path)
    assert load_preset("own").cells.hard_wrong_high.detach_lowest == 0.005


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
        ({"cells": {"hard_correct_high": {"gate": "sign"}}}, "gate is 'sign'. Valid values: ratio, ratio_and_sign"),
        ({"cells": {"hard_correct_high": {"scale": -1}}}, "scale must be a finite number of at least 0, got -1"),
        ({"cells": {"hard_correct_high": {"floor": None}}}, "floor must be a finite number of at least 0, got None"),
        ({"cells": {"hard_correct_high": {"ceiling": float("inf")}}}, "ceiling must be a finite number"),
        ({"cells": {"hard_correct_high": {"floor": 2.0, "ceiling": 2.0}}}, "floor must be below ceiling, got 2.0"),
        ({"cells": {"hard_correct_low": {"clip_ratio_low": 1.0}}}, r"clip_ratio_low must be in \[0, 1\), got 1.0"),
        ({"cells": {"hard_correct_low": {"clip_ratio_high": -0.1}}}, "clip_ratio_high must be a finite number"),
        ({"cells": {"hard_correct_low": {"kl_scale": None}}}, "kl_scale must be a finite number"),
        (
            {"cells": {"easy_wrong_low": {"rule": "keep_gradient"}}},
            "easy_wrong_low: region is all, but rule keep_gradient has no term inside .* set region to outside",
        ),
        (
            {"cells": {"hard_wrong_high": {"gate": "ratio_and_sign", "region": "inside"}}},
            "hard_wrong_high: gate is ratio_and_sign, which lets no token inside .* set gate to ratio",
        ),
        (
            {"cells": {"hard_wrong_high": {"scale_above": 0.5}}},
            "scale_above is 0.5, which rule penalize does not read; leave it out",
        ),
        (
            {"cells": {"hard_wrong_high": {"rule": "invert_ratio", "scale": 0.5}}},
            "scale is 0.5, which rule invert_ratio does not read; leave it out",
        ),
        (
            {"cells": {"hard_wrong_low": {"rule": "keep_gradient", "region": "below", "scale_above": 0.5}}},
            "hard_wrong_low: scale_above is 0.5, but region is below; set it to null",
        ),
        (
            {"cells": {"hard_wrong_low": {"rule": "keep_gradient", "region": "above", "scale": 2, "scale_above": 1}}},
            "hard_wrong_low: scale is 2, but above the clip range scale_above is read; set scale to 1",
        ),
        (
            {"cells": {"hard_correct_high": {"floor": 0.5}}},
            "hard_correct_high: floor is 0.5, but region is above, where no ratio is as low; set it to 0",
        ),
        (
            {"cells": {"hard_wrong_high": {"ceiling": 2.0}}},
            "hard_wrong_high: ceiling is 2.0, but region is below, where no ratio is as high; set it to null",
        ),
        ({"preset": ""}, "preset must be a non-empty string"),
    ],
)
def test_errors_name_the_field_and_the_valid_values(overrides, message):
    with pytest.raises(ValueError, match=message):
        load_preset("htpo_paper", overrides)


def test_ppo_takes_whatever_a_row_had():
    row = {"rule": "ppo", "region": "inside", "gate": "ratio_and_sign", "scale": 0.5, "scale_above": 0.5}
    assert load_preset("htpo_paper", {"cells": {"hard_wrong_high": row}}).cells[4].rule == "ppo"


def test_a_gate_by_sign_keeps_keep_gradient_outside():
    row = {"rule": "keep_gradient", "gate": "ratio_and_sign"}
    config = load_preset("dapo", {"cells": {"hard_wrong_high": row}})
    assert one_token(4, 1.0, -1.0, config) == pytest.approx((1.0, 1.0))


@pytest.mark.parametrize(
    "row, ratios",
    [
        ({"region": "below", "floor": 0.79}, [0.795]),
        ({"region": "below", "floor": 0.8}, []),
        ({"region": "below", "floor": 0.8, "clip_ratio_low": 0.1}, [0.85]),
        ({"region": "above", "ceiling": 1.29}, [1.285]),
        ({"region": "above", "ceiling": 1.28}, []),
        ({"region": "above", "ceiling": 1.28, "clip_ratio_high": 0.2}, [1.25]),
        ({"region": "inside", "floor": 1.28}, [1.28]),
        ({"region": "inside", "floor": 1.29}, []),
        ({"region": "inside", "ceiling": 0.79}, []),
        ({"region": "outside", "floor": 0.9}, [1.5]),
        ({"region": "outside", "ceiling": 1.2}, [0.5]),
        ({"region": "outside", "floor": 0.9, "ceiling": 1.2}, []),
        ({"region": "all", "floor": 0.9, "ceiling": 1.2}, [1.0]),
        ({"region": "all", "floor": 0.9, "ceiling": 1.2, "gate": "ratio_and_sign"}, []),
    ],
)
def test_a_rule_that_can_apply_does_so_somewhere(row, ratios):
    """Of many ratios, and at those of the list in any case."""
    config = load_preset("dapo", {"cells": {"hard_correct_high": {"rule": "encourage", **row}}})
    ratio = torch.cat([torch.linspace(0.01, 3.0, 300, dtype=torch.float64), torch.tensor(ratios, dtype=torch.float64)])
    ratio = ratio.repeat(2)
    advantages = torch.where(torch.arange(len(ratio)) < len(ratio) // 2, 1.0, -1.0).double()
    groups = TokenGroups(torch.full(ratio.shape, 2, dtype=torch.int8))
    output = token_loss(ratio.log(), 0 * ratio, advantages, ratio > 0, groups, config, *CLIP)
    assert config.cells[2].can_apply(*CLIP[:2]) == bool(ratios) == bool(output.replaced.any())


def test_missing_keys_and_unknown_preset():
    values = load_preset("dapo").to_mapping()
    del values["cells"]["easy_wrong_high"]
    with pytest.raises(ValueError, match="objective.cells lacks the keys: easy_wrong_high"):
        ObjectiveConfig.from_mapping(values)
    with pytest.raises(ValueError, match="unknown objective preset 'htop'. Valid presets: archer, .*, htpo"):
        load_preset("htop")


def test_a_new_objective_is_one_function():
    @register_rule("half_ppo")
    def half_ppo(terms, selected, row):
        return RuleOutput(terms.ratio / 2, terms.bounded, 1.0)

    try:
        assert "half_ppo" in rule_names()
        config = load_preset("dapo", {"cells": {"easy_wrong_low": {"rule": "half_ppo"}}})
        assert one_token(7, 1.1, -1.0, config) == pytest.approx((0.55, 0.55))
        assert one_token(5, 1.1, -1.0, config) == pytest.approx((1.1, 1.1))
        with pytest.raises(ValueError, match="already registered"):
            register_rule("half_ppo")(half_ppo)
    finally:
        del _RULES["half_ppo"]
