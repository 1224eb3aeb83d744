# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""Every golden number of the HTPO variants: groups, detach sets, losses and gradients, in float64 and float32."""

import json

import pytest
import torch
from objective_batches import loss_of, one_token
from objective_golden import PRESET_OF_VARIANT, golden, golden_cases, golden_config, golden_dir, golden_scalars
from objective_reference import VARIANTS, random_inputs
from objective_reference import batch as reference_batch
from verl.trainer.ppo.core_algos import agg_loss

from recipe.htpo.objective import group_sums, load_preset, metrics_from_sums, token_loss


def _case(case):
    arrays, description = golden()
    params = description[case]["params"]
    prefix = f"{case}/in/"
    inputs = {name.removeprefix(prefix): value for name, value in arrays.items() if name.startswith(prefix)}
    return inputs, params, (params["eps_low"], params["eps_high"], params["c"])


@pytest.mark.parametrize("case,variant", golden_cases())
def test_groups_losses_and_gradients(case, variant):
    arrays, _ = golden()
    inputs, params, clip = _case(case)
    groups, output, gradient = loss_of(inputs, golden_config(variant, params), clip)
    marks = {
        "group": groups.group.long(),
        "low": groups.low,
        "high": groups.high,
        "detach": groups.detached,
        "replaced": output.replaced,
    }
    for name, value in marks.items():
        if f"{case}/{variant}/{name}" in arrays:
            assert torch.equal(value, arrays[f"{case}/{variant}/{name}"]), name
    for name, value in (("loss_mat", output.loss), ("grad_mat", gradient)):
        torch.testing.assert_close(value.detach(), arrays[f"{case}/{variant}/{name}"], rtol=1e-12, atol=0.0)


@pytest.mark.parametrize("case,variant", golden_cases())
def test_float32(case, variant):
    arrays, _ = golden()
    inputs, params, (low, high, c) = _case(case)
    config = golden_config(variant, params)
    groups, exact, _ = loss_of(inputs, config, (low, high, c))
    single = {name: value.float() for name, value in inputs.items() if value.is_floating_point()}
    log_prob = single["logp"].clone().requires_grad_()
    tensors = (log_prob, single["old"], single["adv"], single["mask"])
    output = token_loss(*tensors, groups, config, low, high, c, single.get("is_w"))
    (gradient,) = torch.autograd.grad(output.loss.sum(), log_prob)

    edges = exact.ratio.new_tensor([1 - low, 1 + high, c, 1 / c])
    away = ((exact.ratio[..., None] - edges).abs() > 1e-5).all(-1) & (exact.log_ratio.abs() < 20)
    for name, value in (("loss_mat", output.loss), ("grad_mat", gradient)):
        expected = arrays[f"{case}/{variant}/{name}"]
        torch.testing.assert_close(value.detach().double()[away], expected[away], rtol=1e-5, atol=0.0)


@pytest.mark.parametrize("case,variant,expected", golden_scalars())
def test_aggregated_loss_and_gradient(case, variant, expected):
    arrays, _ = golden()
    inputs, params, clip = _case(case)
    config = golden_config(variant, params)
    groups, _, _ = loss_of(inputs, config, clip)
    for mode, value in expected["loss"].items():
        log_prob = inputs["logp"].clone().requires_grad_()
        tensors = (log_prob, inputs["old"], inputs["adv"], inputs["mask"])
        output = token_loss(*tensors, groups, config, *clip, inputs.get("is_w"))
        mode, _, extra = mode.partition("|")
        scale = {key: int(number) for key, _, number in (item.partition("=") for item in extra.split(",") if item)}
        loss = agg_loss(output.loss, inputs["mask"], mode, **scale)
        assert loss.item() == pytest.approx(value, rel=1e-12)
        if not extra and f"{case}/{variant}/grad_{mode}" in arrays:
            (gradient,) = torch.autograd.grad(loss, log_prob)
            torch.testing.assert_close(gradient, arrays[f"{case}/{variant}/grad_{mode}"], rtol=1e-12, atol=0.0)


@pytest.mark.parametrize("case,variant,expected", golden_scalars())
def test_clip_fractions_and_counts(case, variant, expected):
    inputs, params, clip = _case(case)
    _, output, _ = loss_of(inputs, golden_config(variant, params), clip)
    sums = group_sums(output)
    for group_id, count in expected["counts"].items():
        assert sums[f"tokens/{group_id}"] == count
    assert sum(sums[f"replaced/{g}"] for g in range(1, 9)) == expected["n_replaced"]
    assert sum(sums[f"detach_low/{g}"] + sums[f"detach_high/{g}"] for g in range(1, 9)) == expected["n_detach"]
    metrics = metrics_from_sums(sums)
    # The public code counts other tokens as clipped; the clip fractions follow verl for every variant.
    names = ("pg_clipfrac", "pg_clipfrac_lower", "ppo_kl") if variant.startswith("paper") else ("ppo_kl",)
    for name in names:
        assert metrics[f"actor/{name}"] == pytest.approx(expected[name], rel=1e-9)


def test_table_of_single_tokens():
    path = golden_dir() / "htpo_table.json"
    if not path.exists():
        pytest.skip("this set of golden numbers has no table; test_objective_gradients.py has a shorter one")
    for entry in json.loads(path.read_text(encoding="utf-8")):
        for variant in VARIANTS:
            config = load_preset(PRESET_OF_VARIANT[variant])
            got = one_token(entry["group"], entry["ratio"], entry["A"], config, detach_high=entry["detached_in_group6"])
            assert got == pytest.approx(tuple(entry[variant]), rel=1e-12), (entry, variant)


@pytest.mark.parametrize("variant", [*VARIANTS, "paper_rank"])
@pytest.mark.parametrize("seed", range(12))
def test_against_the_token_by_token_reference(seed, variant):
    params = {"eps_low": 0.2, "eps_high": 0.28, "c": 3.0, "high_entropy_ratio": 0.2, "rho_low": 0.2, "rho_high": 0.4}
    params |= {"c": 1.1} if seed % 3 == 0 else {}
    inputs = random_inputs(100 + seed, 16, 40, 23.0 if seed % 4 == 0 else 1.5, entropy_step=0.3 if seed % 2 else 0.0)
    rank = variant == "paper_rank"
    expected = reference_batch(inputs, params, "paper" if rank else variant, rank=rank)
    tensors = {name: torch.from_numpy(value) for name, value in inputs.items()}
    config = golden_config(variant, params)
    groups, output, gradient = loss_of(tensors, config, (0.2, 0.28, params["c"]))
    assert torch.equal(groups.group.long(), torch.from_numpy(expected["group"]))
    assert torch.equal(groups.detached, torch.from_numpy(expected["detach"]))
    assert torch.equal(output.replaced, torch.from_numpy(expected["replaced"]))
    torch.testing.assert_close(output.loss.detach(), torch.from_numpy(expected["loss_mat"]), rtol=1e-12, atol=0.0)
    torch.testing.assert_close(gradient, torch.from_numpy(expected["grad_mat"]), rtol=1e-12, atol=0.0)
