# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""Every node of the connected Ray cluster can run the workers: checked there, in a worker process.

A node that differs fails late and obscurely, or silently trains something else (verl swallows a plugin's errors); too
few GPUs make verl wait for ever for its placement groups.
"""

import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from recipe.htpo.preflight import node_probe
from recipe.htpo.preflight.machine import file_list, installed_version, required
from recipe.htpo.preflight.plan.plan import make_plan
from recipe.htpo.problem import Problem

# verl reserves so many CPUs with every GPU (verl/single_controller/ray/base.py, ResourcePoolManager.max_colocate_count)
CPUS_PER_GPU = 3
# A worker process has to start and import verl, on a busy file system.
PROBE_TIMEOUT_S = 240.0
# Nodes of a cluster that is just starting may still join.
JOIN_TIMEOUT_S = 120.0
POLL_S = 2.0
GIB = 2**30
# NCCL's rings and the weights on their way to vLLM; verl's documentation starts its containers with 10 GB for 8 GPUs.
SHM_BYTES_PER_GPU = GIB

# Beside those that `machine` wants.
DISTRIBUTIONS = ("ray", "verl-htpo", "transformers", "TransferQueue")
# What a worker on a GPU imports, with and without Megatron.
GPU_MODULES = ("flash_attn",)
MEGATRON_GPU_MODULES = ("megatron.bridge", "transformer_engine.pytorch", "modelopt")


@dataclass(frozen=True)
class Node:
    """An alive node and its free resources."""

    id: str
    ip: str
    gpus: float
    cpus: float

    @property
    def name(self) -> str:
        return f"node {self.ip} (id {self.id[:12]})"


def node_problems(config: DictConfig, *, own: bool = False, join_timeout_s: float = 0.0) -> list[Problem]:
    """What the nodes of the connected cluster lack for the run.

    Args:
        config: composed configuration.
        own: the cluster is one that this process started for itself. Its workers run this very Python on this very
            machine, so this process is looked at in their place, which takes no time.
        join_timeout_s: seconds to wait for nodes that may still join, where the GPUs do not suffice yet.

    Returns:
        One problem per cause and node; the field names the node by IP address and Ray's node id.
    """
    problems = list(_resource_problems(config, join_timeout_s))
    distributions, modules = _distributions(config), _modules(config)
    with _marker(Path(config.htpo.output_dir)) as marker:
        paths = [*_input_paths(config), str(marker)]
        # The driver's own view is what the nodes are compared with.
        here = node_probe.probe(distributions, paths, modules if own else ())
        nodes = _alive_nodes()
        reports = [(node, here) for node in nodes] if own else _probe_nodes(nodes, distributions, paths, modules)
    for node, report in reports:
        if isinstance(report, dict) and config.trainer.device == "cuda":
            problems.extend(_memory_problems(config, node, report))
        problems.extend(_report_problems(node, report, here, str(marker), str(config.htpo.output_dir)))
    return problems


def _alive_nodes() -> list[Node]:
    import ray
    from ray._private.state import available_resources_per_node

    free = available_resources_per_node()
    nodes = [(node, free.get(node["NodeID"], {})) for node in ray.nodes() if node["Alive"]]
    return [
        Node(node["NodeID"], node["NodeManagerAddress"], room.get("GPU", 0.0), room.get("CPU", 0.0))
        for node, room in nodes
    ]


def _resource_problems(config: DictConfig, join_timeout_s: float) -> Iterator[Problem]:
    """verl asks for `nnodes` placement groups of `n_gpus_per_node` GPUs, each on one node."""
    wanted, queue = _placement_groups(config), _queue_cpus(config)
    deadline = time.monotonic() + join_timeout_s
    nodes = _alive_nodes()
    unplaced, cpus_left = _place(wanted, nodes)
    if (unplaced or cpus_left < queue) and join_timeout_s:
        print(f"waiting up to {join_timeout_s:.0f} s for more nodes: {_offer(nodes)}", flush=True)
    while (unplaced or cpus_left < queue) and time.monotonic() < deadline:
        time.sleep(POLL_S)
        nodes = _alive_nodes()
        unplaced, cpus_left = _place(wanted, nodes)
    if unplaced:
        pool, gpus = unplaced[0]
        yield Problem(
            f"{pool}.nnodes",
            f"{len(wanted)} groups of GPUs are wanted ({', '.join(f'{size} for {name}' for name, size in wanted)}), "
            f"{len(unplaced)} of them find no place; a group needs {gpus} free GPUs and {CPUS_PER_GPU * gpus} free "
            f"CPUs on one node, and the nodes have {_offer(nodes)}",
            f"add nodes, end other jobs, or lower {pool}.nnodes or {pool}.n_gpus_per_node; verl would wait for ever",
            transient=join_timeout_s > 0,
        )
    elif cpus_left < queue:
        yield Problem(
            "transfer_queue.backend.SimpleStorage.num_data_storage_units",
            f"TransferQueue takes {queue} CPUs, one for each unit and one for its controller, and beside the "
            f"{CPUS_PER_GPU} per GPU of the workers the nodes have {cpus_left} free",
            "lower it, or offer Ray more CPUs (RAY_START_ARGS=--num-cpus=N); verl would wait for ever",
        )


def _queue_cpus(config: DictConfig) -> int:
    """CPUs that TransferQueue's actors ask for (transfer_queue/controller.py, storage/simple_storage.py)."""
    backend = config.transfer_queue.backend
    return int(backend.SimpleStorage.num_data_storage_units) + 1 if backend.storage_backend == "SimpleStorage" else 1


def _placement_groups(config: DictConfig) -> list[tuple[str, int]]:
    """`(section of the configuration, GPUs)` of each group."""
    groups = [("trainer", int(config.trainer.n_gpus_per_node))] * int(config.trainer.nnodes)
    reward_model = config.reward.reward_model
    if reward_model.enable_resource_pool:
        groups += [("reward.reward_model", int(reward_model.n_gpus_per_node))] * int(reward_model.nnodes)
    return groups


def _place(groups: list[tuple[str, int]], nodes: list[Node]) -> tuple[list[tuple[str, int]], int]:
    """The groups that find no node, and the whole CPUs that are left over on all nodes.

    Largest first, each on the fullest node that still holds it.
    """
    free = [[node.gpus, node.cpus] for node in nodes]
    unplaced = []
    for group in sorted(groups, key=lambda group: -group[1]):
        gpus = group[1]
        fitting = [room for room in free if room[0] >= gpus and room[1] >= CPUS_PER_GPU * gpus]
        if fitting:
            room = min(fitting)
            room[0] -= gpus
            room[1] -= CPUS_PER_GPU * gpus
        else:
            unplaced.append(group)
    return unplaced, sum(int(cpus) for _, cpus in free)


def _offer(nodes: list[Node]) -> str:
    return "; ".join(f"{node.name}: {node.gpus:g} GPUs, {node.cpus:g} CPUs free" for node in nodes)


def _distributions(config: DictConfig) -> list[str]:
    return [name for name in (*DISTRIBUTIONS, *required(config)) if installed_version(name) is not None]


def _modules(config: DictConfig) -> tuple[str, ...]:
    """Modules to import on every node; none on the CPU platform, or where versions are not to be checked."""
    if config.trainer.device != "cuda" or not config.htpo.check_versions:
        return ()
    return GPU_MODULES + (MEGATRON_GPU_MODULES if config.actor_rollout_ref.actor.strategy == "megatron" else ())


def _input_paths(config: DictConfig) -> list[str]:
    """The paths among model and data; a Hugging Face name or a remote file is not one."""
    paths = [str(config.actor_rollout_ref.model.path)]
    paths += file_list(config.data.train_files) + file_list(config.data.val_files)
    return [path for path in dict.fromkeys(paths) if Path(path).expanduser().exists()]


@contextmanager
def _marker(output_dir: Path) -> Iterator[Path]:
    """A file in the output directory for the time of the check: a node that sees it shares the directory."""
    output_dir.mkdir(parents=True, exist_ok=True)
    marker = output_dir / f".preflight-{uuid.uuid4().hex}"
    marker.touch()
    try:
        yield marker
    finally:
        marker.unlink(missing_ok=True)


def _probe_nodes(
    nodes: list[Node], distributions: list[str], paths: list[str], modules: tuple[str, ...]
) -> list[tuple[Node, Any]]:
    """Each node's report, or the exception or None (no answer) that came instead."""
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    # By value: a node without this package could not import the function.
    ray.cloudpickle.register_pickle_by_value(node_probe)
    try:
        task = ray.remote(num_cpus=0, max_retries=0)(node_probe.probe)
        futures = {
            task.options(scheduling_strategy=NodeAffinitySchedulingStrategy(node.id, soft=False)).remote(
                distributions, paths, modules
            ): node
            for node in nodes
        }
    finally:
        ray.cloudpickle.unregister_pickle_by_value(node_probe)
    ready, late = ray.wait(list(futures), num_returns=len(futures), timeout=PROBE_TIMEOUT_S)
    reports: list[tuple[Node, Any]] = [(futures[future], None) for future in late]
    for future in ready:
        try:
            reports.append((futures[future], ray.get(future)))
        except ray.exceptions.RayError as error:
            reports.append((futures[future], error))
    return reports


def _memory_problems(config: DictConfig, node: Node, report: dict[str, Any]) -> Iterator[Problem]:
    """Host memory for what is offloaded, shared memory, and ports that vLLM's engines would all begin with."""
    plan = make_plan(config)
    wanted = plan.memory.host_bytes_per_node if plan.memory is not None else 0
    if report["host_bytes"] is not None and report["host_bytes"] < wanted:
        yield Problem(
            node.name,
            f"has {report['host_bytes'] / GIB:,.0f} GiB of memory; the weights and optimiser states that its ranks "
            f"keep there while they are not used (param_offload, optimizer_offload) take {wanted / GIB:,.0f}",
            "use more nodes or more memory, or set one of them to False if the GPU has room",
        )
    shm = config.trainer.n_gpus_per_node * SHM_BYTES_PER_GPU
    if report["shm_bytes"] is not None and report["shm_bytes"] < shm:
        yield Problem(
            node.name,
            f"/dev/shm has {report['shm_bytes'] / GIB:,.2g} GiB; NCCL and the weights on their way to vLLM need "
            f"about {shm / GIB:,.0f}",
            "start the container with --shm-size=400g or --ipc=host (Kubernetes: an emptyDir of medium Memory)",
        )
    engines = plan.topology.gpus_per_node // plan.topology.rollout_replica
    if report["vllm_port"] is not None and engines > 1:
        yield Problem(
            node.name,
            f"VLLM_PORT is {report['vllm_port']} there: {engines} vLLM engines would look for free ports from the same "
            "number at the same time, and one that loses the race ends the start (verl#7859)",
            "unset it where Ray is started; a Kubernetes service named vllm sets it, too (enableServiceLinks: false)",
        )


def _report_problems(node: Node, report: Any, here: dict[str, Any], marker: str, output_dir: str) -> Iterator[Problem]:
    if not isinstance(report, dict):
        reason = (
            f"did not answer within {PROBE_TIMEOUT_S:.0f} s"
            if report is None
            else f"cannot run a Python function: {str(report).strip().splitlines()[-1]}"
        )
        remedy = "look at the node's raylet and worker logs; take it out or restart Ray on it"
        yield Problem(node.name, reason, remedy, transient=True)
        return
    python = f"Python {report['versions']['Python']}, {report['executable']}"
    if report["package_error"] is not None:
        yield Problem(
            node.name,
            f"verl-htpo is not installed ({report['package_error']}; {python})",
            "pip install verl-htpo there, into the environment that Ray was started from",
        )
    elif report["plugin_error"] is not None:
        yield Problem(
            node.name,
            f"verl's workers do not load the plugin of verl-htpo ({report['plugin_error']}; {python})",
            "reinstall verl-htpo there, into the environment that Ray was started from",
        )
    for name, reason in report["import_errors"].items():
        yield Problem(
            node.name,
            f"{name} cannot be imported ({reason}; {python})",
            "install it there (docs/cluster.md, section 1); if the run does not need it, set htpo.check_versions=False",
        )
    differing = [
        f"{name} is {report['versions'].get(name) or 'not installed'}, the driver has {wanted}"
        for name, wanted in here["versions"].items()
        if report["versions"].get(name) != wanted and not (report["package_error"] and name in ("verl-htpo", "source"))
    ]
    if differing:
        yield Problem(
            node.name,
            "; ".join(differing).replace("source is", "the source of verl-htpo is"),
            "use the same image or environment on every node",
        )
    for path in report["missing"]:
        where = "" if Path(path).is_absolute() else f" from {report['directory']}, where its workers run"
        if path == marker:
            yield Problem(
                "htpo.output_dir",
                f"{node.name} does not see {output_dir}{where}",
                "give an absolute path on a file system that all nodes share",
            )
        else:
            yield Problem(node.name, f"{path} is not there{where}", "put it on a file system that all nodes share")
