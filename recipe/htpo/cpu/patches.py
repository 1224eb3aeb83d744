# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""What has to be replaced in verl 0.9.1 and vLLM 0.28 on a CPU: one function each, with place and reason.

`tests/htpo/cpu/test_patches.py` has one test per patch that fails when the original no longer needs it.
"""

import asyncio
import functools
import tempfile
from collections.abc import Callable, Mapping, Sequence
from types import ModuleType, SimpleNamespace
from typing import Any

import torch

from recipe.htpo.import_hooks import after_import


def gloo_process_group(module: ModuleType) -> None:
    """verl/utils/distributed.py:89 builds the backend `cpu:gloo,cpu:gloo`; torch refuses a device named twice."""
    original = module.initialize_global_process_group_ray

    @functools.wraps(original)
    def initialize(timeout_second: float | None = None, backend: str | None = None) -> None:
        original(timeout_second=timeout_second, backend=backend or "gloo")

    module.initialize_global_process_group_ray = initialize  # type: ignore[attr-defined]


def unpinned_offload(module: ModuleType) -> None:
    """verl/workers/engine/fsdp/transformer_impl.py:462 pins the reference policy's memory: needs an accelerator."""
    module.CPUOffloadPolicy = functools.partial(_offload_policy, module.CPUOffloadPolicy)  # type: ignore[attr-defined]


def _offload_policy(policy_class: type, pin_memory: bool = True) -> object:
    return policy_class(pin_memory=False)


def keep_linear_weight(module: ModuleType) -> None:
    """vllm/model_executor/layers/linear.py:202 packs a linear weight for oneDNN and drops the original.

    Every later weight sync then has no parameter to load into. Keep it: verl calls the same method again after each
    sync (verl/workers/rollout/vllm_rollout/utils.py), which packs the new weight.
    """
    from vllm.model_executor.layers.utils import dispatch_cpu_unquantized_gemm

    def process_weights_after_loading(self: object, layer: torch.nn.Module) -> None:
        dispatch_cpu_unquantized_gemm(layer, remove_weight=False)

    module.UnquantizedLinearMethod.process_weights_after_loading = process_weights_after_loading


def reward_as_number(module: ModuleType) -> None:
    """verl/experimental/reward_loop/reward_manager/dapo.py:114 makes the score a tensor (soft overlong punishment).

    Pydantic expects a number and composes a warning for every response: a sixth of the agent loop's time here.
    """
    original = module.DAPORewardManager.run_single

    @functools.wraps(original)
    async def run_single(self: object, data: object) -> dict[str, Any]:
        result = await original(self, data)
        return {**result, "reward_score": float(result["reward_score"])}

    module.DAPORewardManager.run_single = run_single


def agent_loop_by_constructor(module: ModuleType) -> None:
    """verl/experimental/agent_loop/agent_loop.py:683 has Hydra make an agent loop for every response.

    Hydra's checks and copies cost more than all that the loop does with a short response; a class that the
    configuration only names is called here as it is.
    """
    module.hydra = SimpleNamespace(utils=SimpleNamespace(instantiate=_instantiate))  # type: ignore[attr-defined]


def _instantiate(config: Mapping[str, Any], **arguments: Any) -> object:
    import hydra

    if set(config) != {"_target_"}:
        return hydra.utils.instantiate(config=config, **arguments)
    return _named_class(config["_target_"])(**arguments)


@functools.cache
def _named_class(name: str) -> type:
    import hydra

    return hydra.utils.get_class(name)


def reward_beside_agent_loop(module: ModuleType) -> None:
    """verl/experimental/agent_loop/agent_loop.py:1026 sends every response to the process of a reward worker.

    Packing a short response for the way costs more than to grade it. Where there is no such process
    (`reward.num_workers=0`), the same worker grades in the process of the agent loop.
    """
    original = module.AgentLoopWorker.__init__

    @functools.wraps(original)
    def __init__(self: Any, config: Any, *args: Any, **kwargs: Any) -> None:
        original(self, config, *args, **kwargs)
        if self.reward_loop_worker_handles == []:
            self.reward_loop_worker_handles = [_RewardWorkerHere(config)]

    module.AgentLoopWorker.__init__ = __init__


class _RewardWorkerHere:
    """Answers `handle.compute_score.remote(data)` as the Ray handle of a `RewardLoopWorker` does."""

    def __init__(self, config: Any) -> None:
        self._config = config
        self._worker: Any = None
        self.compute_score = SimpleNamespace(remote=self._compute_score)

    async def _compute_score(self, data: object) -> dict[str, Any]:
        if self._worker is None:
            # Made in the running event loop: it is the one that the worker keeps.
            from verl.experimental.reward_loop.reward_loop import RewardLoopWorker

            self._worker = RewardLoopWorker(self._config)
        return await self._worker.compute_score(data)


def outputs_put_together(module: ModuleType) -> None:
    """verl/trainer/ppo/v1/agent_loop_tq.py:222 puts every response into TransferQueue by itself.

    For a short response that is nearly half of the agent loop's time. Those that come while a put is under way go with
    the next one; each still waits until its own is there.
    """
    put = _PutTogether(module.tq.async_kv_batch_put, module.list_of_dict_to_tensordict)
    # The outputs stay a list until they are put.
    module.list_of_dict_to_tensordict = list  # type: ignore[attr-defined]
    module.tq = _With(module.tq, async_kv_batch_put=put)  # type: ignore[attr-defined]


class _With:
    """A module with some names replaced. Ray pickles it with the class whose module it stands in."""

    def __init__(self, module: object, **replaced: object) -> None:
        self.__dict__.update(replaced, _module=module)

    def __getattr__(self, name: str) -> Any:
        # Also asked while a copy is made, before it has its module.
        if "_module" not in self.__dict__:
            raise AttributeError(name)
        return getattr(self._module, name)


class _PutTogether:
    """`async_kv_batch_put` of lists of outputs, of one event loop; one put at a time for each kind of output."""

    def __init__(self, put: Callable[..., Any], to_tensordict: Callable[[list[dict[str, Any]]], Any]) -> None:
        self._put = put
        self._to_tensordict = to_tensordict
        self._waiting: dict[Any, list[tuple[list[str], list[Any], list[Any], asyncio.Future[None]]]] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    async def __call__(
        self, keys: list[str], fields: Sequence[dict[str, Any]], tags: list[Any], partition_id: str
    ) -> None:
        # Only outputs with the same fields make one batch.
        kind = (partition_id, *(tuple(field) for field in fields[:1]))
        done = asyncio.get_running_loop().create_future()
        if (waiting := self._waiting.get(kind)) is not None:
            waiting.append((keys, list(fields), tags, done))
        else:
            self._waiting[kind] = [(keys, list(fields), tags, done)]
            task = asyncio.create_task(self._put_all(kind, partition_id))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        await done

    async def _put_all(self, kind: Any, partition_id: str) -> None:
        while batch := self._waiting[kind]:
            self._waiting[kind] = []
            keys = [key for part in batch for key in part[0]]
            fields = [field for part in batch for field in part[1]]
            tags = [tag for part in batch for tag in part[2]]
            error: Exception | None = None
            try:
                await self._put(keys=keys, fields=self._to_tensordict(fields), tags=tags, partition_id=partition_id)
            except Exception as caught:
                error = caught
            for *_, done in batch:
                if not done.done():
                    done.set_exception(error) if error else done.set_result(None)
        del self._waiting[kind]


def weights_through_own_socket(module: ModuleType) -> None:
    """verl/workers/rollout/vllm_rollout/vllm_rollout.py:141 names the socket of the weights by Ray's job, in /tmp.

    The first job of every Ray has the same number, so two runs on one machine, each with its own Ray, would take each
    other's socket away or read each other's weights. A supervised run has a temporary directory of its own.
    """
    for name in ("BucketedWeightSender", "BucketedWeightReceiver"):
        _with_own_socket(getattr(module, name))


def _with_own_socket(transfer: type) -> None:
    original = transfer.__init__  # type: ignore[misc]

    @functools.wraps(original)
    def __init__(self: object, zmq_handle: str, *args: Any, **kwargs: Any) -> None:
        original(self, _own_socket(zmq_handle), *args, **kwargs)

    transfer.__init__ = __init__  # type: ignore[misc]


def _own_socket(handle: str) -> str:
    own = handle.replace("ipc:///tmp/", f"ipc://{tempfile.gettempdir()}/", 1)
    # The path of a socket has 107 bytes at most.
    return own if len(own.removeprefix("ipc://")) <= 107 else handle


def install_verl_patches() -> None:
    """Arrange for verl's modules to be patched when they are imported."""
    after_import("verl.utils.distributed", gloo_process_group)
    after_import("verl.workers.engine.fsdp.transformer_impl", unpinned_offload)
    after_import("verl.experimental.reward_loop.reward_manager.dapo", reward_as_number)
    after_import("verl.experimental.agent_loop.agent_loop", agent_loop_by_constructor)
    after_import("verl.experimental.agent_loop.agent_loop", reward_beside_agent_loop)
    after_import("verl.trainer.ppo.v1.agent_loop_tq", outputs_put_together)
    after_import("verl.workers.rollout.vllm_rollout.bucketed_weight_transfer", weights_through_own_socket)


def install_vllm_patches() -> None:
    """Arrange for vLLM's modules to be patched when they are imported."""
    after_import("vllm.model_executor.layers.linear", keep_linear_weight)
