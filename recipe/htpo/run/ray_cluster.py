# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""Which Ray cluster a run uses, one of its own on this machine or one that is there already; and what of it."""

import os
from typing import Any

from omegaconf import DictConfig, open_dict

# They describe a Ray that is to be started; Ray refuses them beside the address of one that runs.
LOCAL_ONLY = ("num_cpus", "num_gpus", "resources", "labels", "object_store_memory")


def choose(config: DictConfig) -> str | None:
    """Make `ray_kwargs.ray_init` fit the cluster that `ray.init` will find.

    The cluster is that of `ray_kwargs.ray_init.address`, else of the environment's `RAY_ADDRESS`, else (Ray's own
    rule) one that `ray start` started on this machine. A run on the CPU platform joins only one that it was told of,
    because its GPUs are logical and an arbitrary cluster has none.

    Returns:
        The address of the cluster that is there already, or None when a local one will be started.

    Raises:
        ConnectionError: the address is `auto` and no Ray runs here.
        ValueError: the address cannot be read.
    """
    from ray._private.services import canonicalize_bootstrap_address

    ray_init = config.ray_kwargs.ray_init
    address = ray_init.get("address")
    with open_dict(config):
        if address is None and not os.environ.get("RAY_ADDRESS") and config.trainer.device == "cpu":
            ray_init.address = address = "local"
        found = canonicalize_bootstrap_address(address, ray_init.get("_temp_dir"))
        if found is None:
            return None
        unused = [name for name in LOCAL_ONLY if ray_init.pop(name, None) is not None]
    print(
        f"using the Ray cluster at {found}" + (f"; not used there: {', '.join(unused)}" if unused else ""), flush=True
    )
    return found


# Of the actors that verl and TransferQueue make, those that may be waited for for ever when they are gone. A reward's
# own actors may come and go.
NEEDED = (
    "AgentLoopWorker",
    "GlobalRequestLoadBalancer",
    "SimpleStorageUnit",
    "TransferQueueController",
    "WorkerDict",
    "vLLMHttpServer",
)


class PartsInUse:
    """The nodes on which this job's actors live, and the actors that it needs. verl does not look whether they are
    still there."""

    def __init__(self) -> None:
        self._addresses: dict[str, str] = {}
        self._seen_dead: set[str] = set()

    def lost(self) -> str | None:
        """What is gone; None while all is there.

        Ray calls a node dead after half a minute of silence. An actor that crashed is told at the second look: before
        it verl's own error, where there is one, ends the run.
        """
        import ray
        from ray._private.state import actors

        job = ray.JobID.from_hex(ray.get_runtime_context().get_job_id())
        for actor in actors(job_id=job, actor_state_name="ALIVE").values():
            self._addresses[actor["Address"]["NodeID"]] = actor["Address"]["IPAddress"]
        dead = {node["NodeID"] for node in ray.nodes() if not node["Alive"]}
        gone = [f"{ip} (id {node[:12]})" for node, ip in self._addresses.items() if node in dead]
        if gone:
            return f"lost node {', '.join(gone)}"
        crashed = {
            actor_id: f"{_class_name(actor)} (pid {actor['Pid']} on {actor['Address']['IPAddress']})"
            for actor_id, actor in actors(job_id=job, actor_state_name="DEAD").items()
            if _class_name(actor).startswith(NEEDED) and _crashed(actor["DeathCause"])
        }
        known = [crashed[actor_id] for actor_id in crashed.keys() & self._seen_dead]
        self._seen_dead = set(crashed)
        return f"lost {', '.join(sorted(known))}, whose process ended" if known else None


def _class_name(actor: dict[str, Any]) -> str:
    """Without the function that made the class."""
    return str(actor["ActorClassName"]).rpartition(".")[2]


def _crashed(cause: Any) -> bool:
    """Whether an actor's process ended unasked (ray's common.proto, `ActorDeathCause`)."""
    context = cause.actor_died_error_context
    died = context.reason == type(context).Reason.Value("WORKER_DIED")
    return died and "Worker exit type: INTENDED" not in context.error_message
