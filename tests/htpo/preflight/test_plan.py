# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""The plan's arithmetic against what can be measured here: real models on the meta device, a real checkpoint; and the
relations that the formulas must keep."""

import io
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from preflight_support import composed
from rich.console import Console
from tensordict import TensorDict
from transformers import AutoModelForCausalLM, Qwen2Config, Qwen3Config, Qwen3MoeConfig
from verl.utils.seqlen_balancing import rearrange_micro_batches

from recipe.htpo.lab.model import make_model, make_tokenizer
from recipe.htpo.preflight.plan.architecture import (
    QWEN3,
    UnknownArchitectureError,
    find_architecture,
    from_model_config,
)
from recipe.htpo.preflight.plan.memory import (
    MemorySettings,
    activation_bytes,
    checkpoint_bytes,
    host_bytes_per_gpu,
    kv_bytes_per_token,
    logits_bytes,
    model_state,
    rollout_weight_bytes,
    training_phases,
)
from recipe.htpo.preflight.plan.plan import GIB, NODES, make_plan
from recipe.htpo.preflight.plan.show import print_plan, print_summary
from recipe.htpo.preflight.plan.step_time import (
    DECODE_SHARE,
    HBM_BYTES,
    Work,
    active_parameters,
    on_nodes,
    step_time,
)
from recipe.htpo.preflight.plan.topology import Topology
from recipe.htpo.preflight.verl_config import LAYOUT_ENGINES

DOCS = Path(__file__).resolve().parents[3] / "docs" / "cluster.md"
SIZES = ["0_6b", "1_7b", "4b", "8b", "14b", "32b", "30b_a3b"]
LAYOUTS = [f"{engine}/qwen3_{size}" for engine in LAYOUT_ENGINES for size in SIZES]

QWEN3_8B = QWEN3["Qwen3-8B"]
MOE = QWEN3["Qwen3-30B-A3B"]
MEGATRON = Topology(engine="megatron", nodes=4, gpus_per_node=8, tensor=4)
FSDP = Topology(engine="fsdp", nodes=4, gpus_per_node=8)
SETTINGS = MemorySettings(tokens_update=22528, tokens_log_prob=22528, sequence_parallel=True)


def model_config(shape):
    """The Transformers configuration of a shape."""
    sizes = {
        "hidden_size": shape.hidden_size,
        "num_hidden_layers": shape.num_layers,
        "num_attention_heads": shape.num_heads,
        "num_key_value_heads": shape.num_kv_heads,
        "intermediate_size": shape.intermediate_size,
        "vocab_size": shape.vocab_size,
        "tie_word_embeddings": shape.tied_embeddings,
    }
    if not shape.qk_norm:
        return Qwen2Config(**sizes)
    if not shape.num_experts:
        return Qwen3Config(**sizes, head_dim=shape.head_dim)
    return Qwen3MoeConfig(
        **sizes,
        head_dim=shape.head_dim,
        num_experts=shape.num_experts,
        num_experts_per_tok=shape.experts_per_token,
        moe_intermediate_size=shape.moe_intermediate_size,
    )


QWEN2 = replace(QWEN3["Qwen3-0.6B"], name="qwen2", head_dim=64, qk_norm=False, qkv_bias=True)


@pytest.mark.parametrize("shape", [*QWEN3.values(), QWEN2], ids=lambda shape: shape.name)
def test_parameters_are_the_real_models(shape):
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(model_config(shape))
    assert sum(parameter.numel() for parameter in model.parameters()) == shape.parameters
    layer = model.model.layers[0]
    assert sum(parameter.numel() for parameter in layer.parameters()) == shape.layer_parameters


@pytest.mark.parametrize("shape", [QWEN3_8B, MOE, QWEN2], ids=lambda shape: shape.name)
def test_shape_from_a_configuration(shape):
    found = from_model_config(shape.name, model_config(shape))
    assert replace(found, max_positions=shape.max_positions) == shape


def test_shape_from_a_directory_or_a_name(tmp_path):
    tokenizer = make_tokenizer()
    model = make_model(tokenizer, seed=0)
    model.save_pretrained(tmp_path / "Qwen3-8B")
    # What is there is looked at, whatever it is called.
    assert find_architecture(str(tmp_path / "Qwen3-8B")).parameters == model.num_parameters()
    base = find_architecture("Qwen/Qwen3-8B-Base")
    assert base.parameters == QWEN3_8B.parameters and base.max_positions == 32768
    # A directory of another machine.
    assert find_architecture("/models/Qwen3-14B") == QWEN3["Qwen3-14B"]
    with pytest.raises(UnknownArchitectureError, match="no model is to be found"):
        find_architecture("/models/no-such-model")


def test_checkpoint_is_what_fsdp_writes(tmp_path):
    """verl's FSDP checkpoint manager saves the model's and the optimiser's state dicts; here on one rank."""
    model = make_model(make_tokenizer(), seed=0)
    optimizer = torch.optim.AdamW(model.parameters())
    model(input_ids=torch.zeros(1, 4, dtype=torch.long), labels=torch.zeros(1, 4, dtype=torch.long)).loss.backward()
    optimizer.step()
    torch.save(model.state_dict(), tmp_path / "model.pt")
    torch.save(optimizer.state_dict(), tmp_path / "optim.pt")
    real = sum(path.stat().st_size for path in tmp_path.iterdir())
    shape = from_model_config("demo", model.config)
    assert checkpoint_bytes(shape, "fsdp", ["model", "optimizer", "extra"], fp32_weights=True) == pytest.approx(
        real, rel=0.02
    )


def test_checkpoint_contents():
    parameters = QWEN3_8B.parameters

    def size(engine, *contents, **options):
        return checkpoint_bytes(QWEN3_8B, engine, contents, fp32_weights=engine == "fsdp", **options)

    assert size("fsdp", "model", "optimizer", "extra") == 12 * parameters
    assert size("megatron", "model", "optimizer", "extra") == 14 * parameters
    # Megatron's model already is a Hugging Face model.
    assert size("megatron", "model", "optimizer", "hf_model") == 14 * parameters
    assert size("megatron", "model", "hf_model", dist_checkpointing=True) == 4 * parameters
    assert size("fsdp", "model", "hf_model") == 8 * parameters


def test_every_replica_of_fsdp_writes_a_checkpoint_of_its_own():
    """verl names the files by rank, and a rank of a second replica has the shards of the first's."""
    one, four = (
        make_plan(composed(["layout=fsdp/qwen3_8b", f"actor_rollout_ref.actor.fsdp_config.fsdp_size={size}"]))
        for size in (-1, 8)
    )
    assert one.checkpoint == 12 * QWEN3_8B.parameters and four.checkpoint == 4 * one.checkpoint


def test_state_adds_up_to_the_whole_model():
    """What the ranks hold together: Megatron's weights once per data-parallel rank, its optimiser once."""
    state = model_state(QWEN3_8B, MEGATRON, fp32_weights=False)
    assert state.weights * MEGATRON.tensor == pytest.approx(2 * QWEN3_8B.parameters, rel=1e-3)
    assert state.gradients == 2 * state.weights
    assert state.optimizer * MEGATRON.world == pytest.approx(12 * QWEN3_8B.parameters, rel=1e-3)
    sharded = model_state(QWEN3_8B, FSDP, fp32_weights=True)
    assert (sharded.weights + sharded.gradients + sharded.optimizer) * FSDP.world == 16 * QWEN3_8B.parameters


def test_experts_are_divided_by_expert_parallelism():
    plain = replace(MEGATRON, expert=1, expert_tensor=1)
    divided = replace(plain, expert=8)
    experts = MOE.num_layers * MOE.expert_parameters
    difference = model_state(MOE, plain, False).weights - model_state(MOE, divided, False).weights
    assert difference == pytest.approx(2 * experts * (1 - 1 / 8))
    # The optimiser of the experts is divided over all ranks either way.
    assert model_state(MOE, plain, False).optimizer == pytest.approx(model_state(MOE, divided, False).optimizer)


def test_recomputation_keeps_layer_inputs_only():
    kept = 22528 * 36 * 2 * 4096 / 4
    full = activation_bytes(QWEN3_8B, MEGATRON, SETTINGS)
    assert kept < full < 2 * kept
    without = activation_bytes(QWEN3_8B, MEGATRON, replace(SETTINGS, recomputed=0.0))
    assert without > 10 * full
    # A block of half the layers.
    half = activation_bytes(QWEN3_8B, MEGATRON, replace(SETTINGS, recomputed=0.5))
    assert half == pytest.approx((full + without) / 2, rel=0.05)
    # Korthikanti et al. 2205.05198, equation 2 without its attention scores, for comparison: 34 h per token and layer.
    assert without / (22528 * 36 / 4) == pytest.approx(34 * 4096, rel=0.4)


def test_logits_are_divided_by_tensor_parallelism_and_grow_with_the_entropy():
    one = logits_bytes(QWEN3_8B, replace(MEGATRON, tensor=1), SETTINGS, "log_prob")
    assert one == 12 * 22528 * 151936
    assert logits_bytes(QWEN3_8B, MEGATRON, SETTINGS, "log_prob") == one / 4
    update = logits_bytes(QWEN3_8B, MEGATRON, SETTINGS, "update")
    with_entropy = logits_bytes(QWEN3_8B, MEGATRON, replace(SETTINGS, update_computes_entropy=True), "update")
    assert update < with_entropy
    whole = logits_bytes(QWEN3_8B, FSDP, SETTINGS, "log_prob")
    chunks = logits_bytes(QWEN3_8B, FSDP, replace(SETTINGS, entropy_chunk_size=1024), "log_prob")
    assert chunks < whole


def test_what_is_offloaded_is_not_there():
    resident = replace(SETTINGS, param_offload=False, optimizer_offload=False)
    offloaded, kept = (training_phases(QWEN3_8B, MEGATRON, settings)[0] for settings in (SETTINGS, resident))
    assert offloaded.optimizer == offloaded.gradients == 0 < kept.optimizer < kept.gradients
    # In the update everything is there.
    assert training_phases(QWEN3_8B, MEGATRON, SETTINGS)[1] == training_phases(QWEN3_8B, MEGATRON, resident)[1]


def test_fsdp_keeps_whole_gradients_where_it_is_told_to():
    settings = replace(SETTINGS, fp32_weights=True)
    sharded, whole = (
        training_phases(QWEN3_8B, FSDP, replace(settings, whole_gradients=kept))[1] for kept in (False, True)
    )
    assert whole.gradients == 4 * QWEN3_8B.parameters == FSDP.world * sharded.gradients
    assert replace(whole, gradients=sharded.gradients) == sharded
    deferred = "actor_rollout_ref.actor.fsdp_config.use_no_sync_for_gradient_accumulation=True"
    assert make_plan(composed(["layout=fsdp/qwen3_32b", deferred])).warnings


@pytest.mark.parametrize("engine, waits_on_gpu", [("megatron", True), ("fsdp", False)])
def test_a_reference_policy_is_counted(engine, waits_on_gpu):
    """Its weights wait where the actor's do, with FSDP in host memory; its pass is as long as the old policy's."""
    node = {"megatron": "megatron", "fsdp": "fsdp_config"}[engine]
    layout = [f"layout={engine}/qwen3_4b", f"model_engine={LAYOUT_ENGINES[engine]}"]
    layout += [f"actor_rollout_ref.actor.{node}.param_offload=False"]
    alone, both = (make_plan(composed([*layout, f"actor_rollout_ref.actor.use_kl_loss={kl}"])) for kl in (False, True))
    state = model_state(alone.model, alone.topology, fp32_weights=engine == "fsdp")
    for phase, memory in both.memory.phases.items():
        more = memory.total - alone.memory.phases[phase].total
        assert more == pytest.approx(state.weights if waits_on_gpu else 0)
    host = both.memory.host_bytes_per_node - alone.memory.host_bytes_per_node
    assert host == pytest.approx(0 if waits_on_gpu else 8 * state.weights)
    assert both.time.total - alone.time.total == pytest.approx(both.time.log_prob) == both.time.reference


def test_kv_cache():
    # 36 layers x 8 heads x 128 features x 2 (keys, values) x 2 bytes
    assert kv_bytes_per_token(QWEN3_8B, 1) == 36 * 8 * 128 * 2 * 2
    # Heads are repeated, not divided, beyond their number.
    assert kv_bytes_per_token(QWEN3_8B, 16) == kv_bytes_per_token(QWEN3_8B, 8)


@pytest.fixture(scope="module", params=LAYOUTS)
def layout(request):
    return request.param


@pytest.fixture(scope="module")
def plan(layout):
    engine = LAYOUT_ENGINES[layout.split("/")[0]]
    return make_plan(composed([f"layout={layout}", f"model_engine={engine}"]))


def docs_row(layout, plan):
    """A layout's line in the table of docs/cluster.md."""
    memory = [f"{plan.memory.phases[phase].total / GIB:.0f}" for phase in ("rollout", "log_prob", "update")]
    times = [f"{plan.growth[nodes].total:,.0f}" if nodes in plan.growth else "-" for nodes in NODES]
    cost = f"{plan.time.gpu_hours:.1f}"
    cells = [layout, str(plan.topology.world), *memory, f"{plan.time.total:,.0f}", cost, *times]
    return f"| {' | '.join(cells)} |"


def test_the_table_in_the_docs_is_the_dry_run(layout, plan):
    assert docs_row(layout, plan) in DOCS.read_text().splitlines()


def test_every_layout_fits_its_own_estimate(plan):
    assert plan.warnings == [] and plan.missing is None
    assert max(memory.total for memory in plan.memory.phases.values()) < 80 * GIB
    # A step generates in a few waves, not in dozens.
    in_flight = plan.memory.full_sequences_per_replica * plan.topology.rollout_replicas
    assert 1 <= plan.work.responses / in_flight < 16


def test_work_of_a_step(plan):
    topology, work = plan.topology, plan.work
    assert work.responses == 2048 and work.updates == 4 and work.tokens == 2048 * 22528
    assert topology.data * topology.model_parallel == topology.world
    assert work.responses_per_rank_and_update * topology.data == 512
    assert topology.rollout_replicas * topology.rollout_replica == topology.world


def test_micro_batches_are_those_that_verl_makes():
    """16 sequences of full length where the budget holds one and a half."""
    budget = "actor_rollout_ref.actor.ppo_max_token_len_per_gpu"
    plan = make_plan(composed(["layout=fsdp/qwen3_8b", f"{budget}=33792"]))
    count, tokens = plan.work.responses_per_rank_and_update, plan.work.sequence_tokens
    whole = torch.ones(count, tokens, dtype=torch.bool)
    made, _ = rearrange_micro_batches(TensorDict(input_ids=whole, attention_mask=whole, batch_size=count), 33792)
    assert plan.work.micro_batches_per_update == len(made) == 16


def test_updates_of_a_step_are_those_of_all_its_epochs(capsys):
    config = composed(["layout=fsdp/qwen3_8b", "actor_rollout_ref.actor.ppo_epochs=3"])
    assert make_plan(config).work.updates == 12
    print_summary(config)
    shown = capsys.readouterr().out
    (row,) = [line for line in shown.splitlines() if "updates per step" in line]
    assert row.split()[-2:-1] == ["12"] and "; 12 updates" in shown


WORK = Work(128, 2048, prompt_tokens=2048, response_tokens=20480, ppo_epochs=1, updates=4,
            responses_per_rank_and_update=64, micro_batches_per_update=64, concurrent=14)  # fmt: skip


def test_active_parameters_are_those_of_the_name():
    """Qwen3-30B-A3B: about 3 G of 30 G."""
    assert active_parameters(MOE) == pytest.approx(3.0e9, rel=0.1)
    assert active_parameters(QWEN3_8B) == pytest.approx(QWEN3_8B.parameters - QWEN3_8B.embedding_parameters, rel=1e-3)


def test_time_of_training_is_operations_over_speed():
    time = step_time(QWEN3_8B, MEGATRON, WORK)
    assert time.update == 4 * time.log_prob
    assert step_time(QWEN3_8B, MEGATRON, replace(WORK, ppo_epochs=2)).update == 2 * time.update
    assert step_time(QWEN3_8B, MEGATRON, replace(WORK, recomputed=0.0)).update == 3 * time.log_prob
    # By hand: 46.1 M tokens, 3 x (2 x 7.57 G + 2 x 36 x 4096 x 22528) operations each, 32 GPUs of 989 T at 0.44.
    by_hand = 3 * 2048 * 22528 * (2 * 7.57e9 + 2 * 36 * 4096 * 22528) / (32 * 989e12 * 0.44)
    assert time.update == pytest.approx(by_hand, rel=0.01)
    assert time.gpu_hours == pytest.approx(time.total * 32 / 3600)


def test_more_nodes_are_faster_and_64_cost_more_than_one():
    """Reading the weights does not divide, so the last tokens of the longest responses end the gain."""
    steps = [on_nodes(QWEN3_8B, MEGATRON, WORK, nodes) for nodes in (1, 2, 4, 8, 16, 32, 64)]
    totals, costs = [step.total for step in steps], [step.gpu_hours for step in steps]
    assert totals == sorted(totals, reverse=True) and costs[-1] > 1.2 * costs[0]
    floor = 20480 * 2 * QWEN3_8B.parameters / (HBM_BYTES * DECODE_SHARE)
    assert steps[-1].generation > floor
    assert on_nodes(QWEN3_8B, replace(MEGATRON, tensor=16), WORK, 1) is None
    # 16 GPUs share the experts; 512 responses of an update are for 16 replicas of 4 GPUs, and not for 3.
    assert on_nodes(MOE, replace(MEGATRON, expert=16), WORK, 1) is None
    assert on_nodes(QWEN3_8B, MEGATRON, WORK, 8) is not None and on_nodes(QWEN3_8B, MEGATRON, WORK, 6) is None


def test_waves_of_sequences():
    one = step_time(QWEN3_8B, MEGATRON, replace(WORK, concurrent=64)).generation
    # Half as many at once: the weights are read twice as often, the cache is read as often.
    two = step_time(QWEN3_8B, MEGATRON, replace(WORK, concurrent=32)).generation
    weights = 20480 * 2 * QWEN3_8B.parameters / (HBM_BYTES * DECODE_SHARE)
    assert two - one == pytest.approx(weights)


def test_quantized_generation():
    """fp8 halves the projections of vLLM's layers; embeddings, norms and the KV cache stay in bf16."""
    layers = QWEN3_8B.num_layers * (QWEN3_8B.layer_parameters - 2 * QWEN3_8B.hidden_size)
    assert rollout_weight_bytes(QWEN3_8B, 2) == 2 * QWEN3_8B.parameters
    assert rollout_weight_bytes(QWEN3_8B, 2) - rollout_weight_bytes(QWEN3_8B, 1) == layers
    plain, fp8 = (
        make_plan(composed(["layout=fsdp/qwen3_8b", f"actor_rollout_ref.rollout.quantization={name}"]))
        for name in ("null", "fp8")
    )
    assert fp8.memory.kv_cache_tokens > plain.memory.kv_cache_tokens and fp8.time.generation < plain.time.generation


def test_host_memory_holds_what_is_offloaded():
    """Over all ranks: Megatron's weights once per data-parallel rank, its optimiser once."""
    per_gpu = host_bytes_per_gpu(QWEN3_8B, MEGATRON, SETTINGS)
    state = model_state(QWEN3_8B, MEGATRON, fp32_weights=False)
    assert per_gpu == state.weights + state.optimizer
    assert host_bytes_per_gpu(QWEN3_8B, MEGATRON, replace(SETTINGS, param_offload=False)) == state.optimizer
    kept = replace(SETTINGS, param_offload=False, optimizer_offload=False)
    assert host_bytes_per_gpu(QWEN3_8B, MEGATRON, kept) == 0


def test_warns_where_it_does_not_fit():
    tight = make_plan(composed(["layout=megatron/qwen3_32b", "model_engine=megatron", "htpo.gpu_memory_gib=24"]))
    assert any("update: about" in warning and "htpo.gpu_memory_gib" in warning for warning in tight.warnings)
    # Without recomputation.
    engine = "actor_rollout_ref.actor.megatron"
    kept = [
        f"{engine}.override_transformer_config.recompute_granularity=null",
        f"{engine}.tensor_model_parallel_size=2",
    ]
    assert make_plan(composed(["layout=megatron/qwen3_8b", "model_engine=megatron", *kept])).warnings
    small = ["layout=fsdp/qwen3_32b", "actor_rollout_ref.rollout.gpu_memory_utilization=0.25"]
    assert any("KV cache" in warning for warning in make_plan(composed(small)).warnings)


def test_printed(plan):
    console = Console(width=120, record=True, file=io.StringIO())
    print_plan(plan, console)
    text = console.export_text()
    for words in (
        plan.model.name,
        f"{plan.topology.world} GPUs",
        "2,048 responses",
        "KV cache",
        "GB each",
        "update",
        "GPU hours",
        "on N nodes",
    ):
        assert words in text
    assert "warning" not in text


def test_printed_without_a_model():
    console = Console(width=120, record=True, file=io.StringIO())
    print_plan(make_plan(composed(["actor_rollout_ref.model.path=/no/such/model"])), console)
    text = console.export_text()
    assert "no model is to be found at /no/such/model" in text and "8 GPUs" in text and "GiB" not in text
