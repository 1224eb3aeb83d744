# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""The plan for people."""

from rich.console import Console
from rich.table import Table

from recipe.htpo.preflight.plan.plan import GIB, Plan

GB = 10**9
PHASES = {"rollout": "vLLM generates", "log_prob": "old log-probs", "update": "update"}
PARTS = {
    "weights": "weights",
    "gradients": "gradients",
    "optimizer": "optimiser",
    "gathered": "gathered by FSDP",
    "activations": "activations",
    "logits": "logits",
    "kv_cache": "KV cache",
    "other": "other (assumed)",
}


def print_plan(plan: Plan, console: Console) -> None:
    """Numbers of the run, memory by part and phase, and warnings."""
    console.print(_numbers(plan))
    if plan.memory is not None:
        console.print(_memory(plan))
    if plan.missing is not None:
        console.print(f"no estimate of memory: {plan.missing}")
    for warning in plan.warnings:
        console.print(f"warning: {warning}")


def _numbers(plan: Plan) -> Table:
    topology, work = plan.topology, plan.work
    table = Table(title="plan", show_header=False)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    if plan.model is not None:
        table.add_row("model", f"{plan.model.name}, {plan.model.parameters / 1e9:,.4g} G parameters")
    table.add_row("training", f"{_count(topology.world, 'GPU')} on {_count(topology.nodes, 'node')}: {_groups(plan)}")
    table.add_row(
        "generation",
        f"{_count(topology.rollout_replicas, 'vLLM replica')} of {_count(topology.rollout_replica, 'GPU')}, on "
        + ("the same GPUs, in turn" if topology.colocated else f"{_count(topology.rollout_gpus, 'GPU')} of their own"),
    )
    table.add_row(
        "step",
        f"{work.prompts} prompts, {work.responses:,} responses, at most {work.tokens:,} tokens; "
        f"{_count(work.updates, 'update')}",
    )
    table.add_row(
        "update",
        f"{work.responses_per_rank_and_update} responses per data-parallel rank, "
        f"in at most {_count(work.micro_batches_per_update, 'micro-batch')}",
    )
    if plan.memory is not None:
        sequences = plan.memory.full_sequences_per_replica
        table.add_row(
            "KV cache",
            f"{plan.memory.kv_cache_tokens:,} tokens per replica: {sequences} sequences of full length, "
            f"{sequences * topology.rollout_replicas:,} in all of {work.responses:,}",
        )
    if plan.time is not None:
        time = plan.time
        table.add_row(
            "step time",
            f"about {time.total:,.0f} s, {time.gpu_hours:,.3g} GPU hours: generation {time.generation:,.0f}, old "
            f"log-probs {time.log_prob:,.0f}, update {time.update:,.0f}, weights to vLLM {time.sync:,.1f} (H100, all "
            "at full length; a model, never compared with a run)",
        )
        steps = [f"{nodes}: {step.total:,.0f} s, {step.gpu_hours:,.3g} GPU h" for nodes, step in plan.growth.items()]
        if steps:
            table.add_row("on N nodes", "; ".join(steps))
    if plan.checkpoint is not None:
        kept = "all" if plan.checkpoints_kept is None else f"{plan.checkpoints_kept}"
        size = f"{plan.checkpoint / GB:,.4g} GB each, {kept} kept"
        if plan.checkpoints_kept is not None:
            size += f": {plan.checkpoint * (plan.checkpoints_kept + 1) / GB:,.4g} GB while the next is written"
        table.add_row("checkpoints", size)
    return table


def _count(number: int, noun: str) -> str:
    plural = noun if number == 1 else f"{noun}{'es' if noun.endswith('ch') else 's'}"
    return f"{number} {plural}"


def _groups(plan: Plan) -> str:
    topology = plan.topology
    if topology.engine == "fsdp":
        parts = [f"DP {topology.data}", f"Ulysses {topology.context}", f"weights over {topology.shards}"]
    else:
        parts = [
            f"DP {topology.data}",
            f"TP {topology.tensor}",
            f"PP {topology.pipeline}",
            f"CP {topology.context}",
            f"EP {topology.expert}",
        ]
    return ", ".join(parts)


def _memory(plan: Plan) -> Table:
    assert plan.memory is not None
    table = Table(title="estimated GiB per GPU")
    table.add_column("part")
    for phase in PHASES.values():
        table.add_column(phase, justify="right")
    for part, title in PARTS.items():
        amounts = [getattr(plan.memory.phases[phase], part) for phase in PHASES]
        if any(amounts):
            table.add_row(title, *(f"{amount / GIB:.1f}" if amount else "" for amount in amounts))
    table.add_section()
    table.add_row("total", *(f"{plan.memory.phases[phase].total / GIB:.1f}" for phase in PHASES))
    table.caption = f"of {plan.gpu_bytes / GIB:.0f} (htpo.gpu_memory_gib); never compared with a GPU run"
    return table
