# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""Every layout with its engine: composes, is sound, keeps the published settings, and has only fields that verl has."""

import dataclasses
from pathlib import Path

import pytest
import yaml
from megatron.core.transformer.transformer_config import TransformerConfig
from omegaconf import OmegaConf
from published_settings import GENERATION, PUBLISHED
from verl.utils.config import omega_conf_to_dataclass

import recipe.htpo.config as package
from recipe.htpo.config import compose
from recipe.htpo.main_htpo import dry_run
from recipe.htpo.preflight import config_problems
from recipe.htpo.preflight.keys import check_warnings
from recipe.htpo.preflight.verl_config import LAYOUT_ENGINES

ROOT = Path(package.__file__).parent / "layout"
SIZES = ["0_6b", "1_7b", "4b", "8b", "14b", "32b", "30b_a3b"]
LAYOUTS = [f"{engine}/qwen3_{size}" for engine in LAYOUT_ENGINES for size in SIZES]
OVERRIDES = "actor_rollout_ref.actor.megatron.override_transformer_config"
SEQUENCE = 2048 + 20480


def overrides(layout):
    engine = LAYOUT_ENGINES[layout.split("/")[0]]
    return [
        f"layout={layout}",
        f"model_engine={engine}",
        "data.train_files=train.parquet",
        "data.val_files=val.parquet",
    ]


@pytest.fixture(scope="module", params=LAYOUTS)
def layout(request):
    return request.param


@pytest.fixture(scope="module")
def config(layout):
    return compose(overrides(layout))


def leaves(node, prefix=""):
    for key, value in node.items():
        if isinstance(value, dict):
            yield from leaves(value, f"{prefix}{key}.")
        elif key != "defaults":
            yield f"{prefix}{key}"


def test_these_are_all_layouts():
    files = {str(path.relative_to(ROOT).with_suffix("")) for path in ROOT.rglob("qwen3*.yaml")}
    assert files == set(LAYOUTS)


def test_it_names_itself(layout, config):
    assert config.htpo.layout == layout


def test_it_is_sound(config):
    assert config_problems(config) == []


def test_a_dry_run_shows_it_with_its_plan(layout, config, capsys):
    dry_run(OmegaConf.merge(config, {"htpo": {"dry_run": True}}))
    shown = capsys.readouterr().out
    assert layout in shown and "the configuration is sound; nothing was started" in shown
    assert "checkpoints" in shown and "estimated GiB per GPU" in shown


def test_it_keeps_the_published_settings(config):
    values = {**PUBLISHED, **GENERATION}
    assert {field: OmegaConf.select(config, field, throw_on_missing=True) for field in values} == values


def test_verls_dataclasses_are_made_of_it(layout, config):
    kind = {"fsdp": "FSDP", "megatron": "Mcore"}[layout.split("/")[0]]
    actor = omega_conf_to_dataclass(config.actor_rollout_ref.actor)
    assert type(actor).__name__ == f"{kind}ActorConfig" and type(actor.engine).__name__ == f"{kind}EngineConfig"
    assert type(actor.optim).__name__ == f"{kind}OptimizerConfig" and actor.optim.lr == 1e-6
    assert actor.rollout_n == 16
    rollout = omega_conf_to_dataclass(config.actor_rollout_ref.rollout)
    assert rollout.prompt_length + rollout.response_length == rollout.max_model_len == SEQUENCE
    if kind == "FSDP":
        assert actor.engine.strategy == "fsdp2" and actor.engine.entropy_from_logits_with_chunking
        assert actor.engine.ulysses_sequence_parallel_size == actor.ulysses_sequence_parallel_size
    else:
        assert actor.engine.use_distributed_optimizer
        # verl turns it off where no GPUs share a layer.
        assert actor.engine.sequence_parallel is (actor.engine.tensor_model_parallel_size > 1)
        assert actor.engine.entropy_from_logits_with_chunking
        recompute = actor.engine.override_transformer_config
        layers = recompute.get("recompute_num_layers")
        assert (layers is None) == (recompute["recompute_granularity"] is None)


def test_megatron_layouts_use_the_fused_kernels(layout, config):
    if layout.startswith("megatron"):
        transformer = config.actor_rollout_ref.actor.megatron.override_transformer_config
        fused = ("apply_rope_fusion", "bias_activation_fusion", "bias_dropout_fusion", "persist_layer_norm")
        assert all(transformer[name] is True for name in fused)


def test_experts_are_replayed_where_megatron_trains_them(layout, config):
    """R3 in both places for the model with experts, nowhere else."""
    replays = layout == "megatron/qwen3_30b_a3b"
    assert config.actor_rollout_ref.rollout.enable_rollout_routing_replay is replays
    if layout.startswith("megatron"):
        assert config.actor_rollout_ref.actor.megatron.router_replay.mode == ("R3" if replays else "disabled")


def test_two_storage_processes_for_each_node_and_samples_of_the_validation(config):
    assert list(check_warnings(config)) == []
    assert config.trainer.log_val_generations > 0 and config.trainer.validation_data_dir
    wider = OmegaConf.merge(config, {"trainer": {"nnodes": 16}})
    (warning,) = check_warnings(wider)
    assert warning.field.endswith("num_data_storage_units") and "at least 32" in warning.remedy


def test_reference_policy_follows_the_actor(layout, config):
    actor, reference = config.actor_rollout_ref.actor, config.actor_rollout_ref.ref
    engine = "megatron" if layout.startswith("megatron") else "fsdp_config"
    shared = [name for name in actor[engine] if name.endswith("_parallel_size") and name in reference[engine]]
    if engine == "fsdp_config":
        actor, reference = ([role.ulysses_sequence_parallel_size] for role in (actor, reference))
        assert actor == reference
    else:
        assert len(shared) >= 6
        assert {name: reference.megatron[name] for name in shared} == {name: actor.megatron[name] for name in shared}


@pytest.mark.parametrize("path", sorted(ROOT.rglob("*.yaml")), ids=lambda path: str(path.relative_to(ROOT)))
def test_every_field_is_one_that_exists_without_the_layout(path):
    """A file among the defaults may add keys unnoticed, so each is looked up in what verl composes."""
    engine = LAYOUT_ENGINES.get(path.parent.name, "dp")
    plain = compose([f"model_engine={engine}"])
    transformer = {field.name for field in dataclasses.fields(TransformerConfig)}
    for field in leaves(yaml.safe_load(path.read_text()) or {}):
        if field.startswith(OVERRIDES):
            assert field.removeprefix(f"{OVERRIDES}.") in transformer, field
        else:
            assert OmegaConf.select(plain, field, default="nowhere") != "nowhere", field


def test_the_command_line_wins():
    config = compose([*overrides("megatron/qwen3_8b"), "trainer.nnodes=2", f"{OVERRIDES}.recompute_num_layers=2"])
    assert config.trainer.nnodes == 2 and OmegaConf.select(config, OVERRIDES).recompute_num_layers == 2


def test_the_current_entropy_is_not_computed_in_chunks_under_megatron():
    """verl cannot differentiate them."""
    config = compose([*overrides("megatron/qwen3_8b"), "objective.entropy_source=current"])
    assert not config.actor_rollout_ref.actor.megatron.entropy_from_logits_with_chunking
    assert config_problems(config) == []


def test_without_a_layout_nothing_changes():
    assert compose().htpo.layout is None
    assert compose(["layout=none"]) == compose()
