# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""What a configuration amounts to, for people: a dry run and `python -m recipe.htpo.preflight` print it."""

from omegaconf import DictConfig, OmegaConf
from rich.console import Console
from rich.table import Table

from recipe.htpo.config import objective_config
from recipe.htpo.objective import CELL_NAMES, CellConfig
from recipe.htpo.preflight.plan.plan import GIB, Plan, make_plan

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
FIELDS = (
    "htpo.layout",
    "actor_rollout_ref.model.path",
    "data.train_files",
    "data.val_files",
    "trainer.nnodes",
    "trainer.n_gpus_per_node",
    "actor_rollout_ref.actor.strategy",
    "data.train_batch_size",
    "actor_rollout_ref.rollout.n",
    "actor_rollout_ref.actor.ppo_mini_batch_size",
    "data.max_prompt_length",
    "data.max_response_length",
    "actor_rollout_ref.actor.optim.lr",
    "actor_rollout_ref.actor.policy_loss.loss_mode",
    "actor_rollout_ref.actor.clip_ratio_low",
    "actor_rollout_ref.actor.clip_ratio_high",
    "actor_rollout_ref.actor.clip_ratio_c",
    "actor_rollout_ref.actor.loss_agg_mode",
    "algorithm.filter_groups.enable",
    "actor_rollout_ref.rollout.val_kwargs.n",
    "trainer.total_training_steps",
    "htpo.output_dir",
)


def print_summary(config: DictConfig) -> None:
    """The settings that decide a run, its table of objectives row by row, and the plan; `config` has no problems."""
    settings = _pairs("settings")
    for field in FIELDS:
        value = OmegaConf.select(config, field)
        settings.add_row(field, "(not set)" if value is None else str(value))
    actor = config.actor_rollout_ref.actor
    updates = config.data.train_batch_size // actor.ppo_mini_batch_size * actor.ppo_epochs
    settings.add_row("updates per step", str(updates))
    console = Console(width=120)
    console.print(settings)
    console.print(_objectives(config))
    print_plan(make_plan(config), console)


def print_plan(plan: Plan, console: Console) -> None:
    """Numbers of the run, memory by part and phase, and warnings."""
    console.print(_numbers(plan))
    if plan.memory is not None:
        console.print(_memory(plan))
    if plan.missing is not None:
        console.print(f"no estimate of memory: {plan.missing}")
    for warning in plan.warnings:
        console.print(f"warning: {warning}")


def _pairs(title: str) -> Table:
    table = Table(title=title, show_header=False)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    return table


def _objectives(config: DictConfig) -> Table:
    objective = objective_config(config)
    table = Table(title=f"objectives: {objective.preset}")
    for name in ("group", "rule", "where", "detach lowest", "detach highest"):
        table.add_column(name)
    for group, name in enumerate(CELL_NAMES, start=1):
        cell = objective.cells[group]
        where = _where(cell)
        table.add_row(f"{group} {name}", cell.rule, where, f"{cell.detach_lowest:g}", f"{cell.detach_highest:g}")
    return table


def _where(cell: CellConfig) -> str:
    """Where and how strongly a rule applies, and what is the row's own, in a few words."""
    words: list[str] = [] if cell.rule == "ppo" else [cell.region]
    words += ["where clipped"] if cell.gate == "ratio_and_sign" else []
    words += [f"x {cell.scale:g}"] if cell.scale != 1 else []
    words += [f"r >= {cell.floor:g}"] if cell.floor else []
    words += [f"r <= {cell.ceiling:g}"] if cell.ceiling is not None else []
    words += [f"clip - {cell.clip_ratio_low:g}"] if cell.clip_ratio_low is not None else []
    words += [f"clip + {cell.clip_ratio_high:g}"] if cell.clip_ratio_high is not None else []
    words += [f"KL x {cell.kl_scale:g}"] if cell.kl_scale != 1 else []
    return ", ".join(words)


def _numbers(plan: Plan) -> Table:
    topology, work, table = plan.topology, plan.work, _pairs("plan")
    if plan.model is not None:
        table.add_row("model", f"{plan.model.name}, {plan.model.parameters / 1e9:,.4g} G parameters")
    table.add_row("training", f"{_count(topology.world, 'GPU')} on {_count(topology.nodes, 'node')}: {_groups(plan)}")
    replicas = f"{_count(topology.rollout_replicas, 'vLLM replica')} of {_count(topology.rollout_replica, 'GPU')}"
    table.add_row("generation", f"{replicas}, on the same GPUs, in turn")
    step = f"{work.prompts} prompts, {work.responses:,} responses, at most {work.tokens:,} tokens"
    table.add_row("step", f"{step}; {_count(work.updates, 'update')}")
    rank = f"{work.responses_per_rank_and_update} responses per data-parallel rank"
    table.add_row("update", f"{rank}, in at most {_count(work.micro_batches_per_update, 'micro-batch')}")
    if plan.memory is not None:
        sequences = plan.memory.full_sequences_per_replica
        table.add_row(
            "KV cache",
            f"{plan.memory.kv_cache_tokens:,} tokens per replica: {sequences} sequences of full length, "
            f"{sequences * topology.rollout_replicas:,} in all of {work.responses:,}",
        )
        table.add_row("host memory", f"{plan.memory.host_bytes_per_node / GIB:,.0f} GiB per node for what is offloaded")
    if plan.time is not None:
        time = plan.time
        reference = f"reference {time.reference:,.0f}, " if time.reference else ""
        table.add_row(
            "step time",
            f"about {time.total:,.0f} s, {time.gpu_hours:,.3g} GPU hours: generation {time.generation:,.0f}, old "
            f"log-probs {time.log_prob:,.0f}, {reference}update {time.update:,.0f}, weights to vLLM {time.sync:,.1f} "
            "(H100, all at full length; a model, never compared with a run)",
        )
        steps = [f"{nodes}: {step.total:,.0f} s, {step.gpu_hours:,.3g} GPU h" for nodes, step in plan.growth.items()]
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
    groups = {"DP": topology.data}
    if topology.engine == "fsdp":
        groups |= {"Ulysses": topology.context, "weights over": topology.shards}
    else:
        groups |= {"TP": topology.tensor, "PP": topology.pipeline, "CP": topology.context, "EP": topology.expert}
    return ", ".join(f"{name} {size}" for name, size in groups.items())


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
    table.caption = (
        f"of {plan.gpu_bytes / GIB:.0f} (htpo.gpu_memory_gib); compared with published runs (docs/cluster.md), never "
        "with one of this recipe"
    )
    return table
