# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""Each patch is needed (the original still does the harmful thing), works, and stands where its docstring says."""

import asyncio
import importlib.util
import inspect
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf

from recipe.htpo.cpu import distribution, patches

PATCHES = [
    patches.gloo_process_group,
    patches.unpinned_offload,
    patches.keep_linear_weight,
    patches.reward_as_number,
    patches.agent_loop_by_constructor,
    patches.reward_beside_agent_loop,
    patches.outputs_put_together,
    patches.weights_through_own_socket,
]

OVERLONG = {"enable": True, "len": 4, "penalty_factor": 1.0, "log": False}

# What stands in the line that a docstring names.
LINES = {
    "verl/utils/distributed.py:89": 'f"cpu:gloo,{get_device_name()}:{get_nccl_backend()}"',
    "verl/workers/engine/fsdp/transformer_impl.py:462": "CPUOffloadPolicy(pin_memory=True)",
    "verl/experimental/reward_loop/reward_manager/dapo.py:114": "reward += overlong_reward",
    "verl/experimental/agent_loop/agent_loop.py:683": "agent_loop = hydra.utils.instantiate(",
    "verl/experimental/agent_loop/agent_loop.py:1026": "_reward_loop_worker_handle.compute_score.remote(data)",
    "verl/trainer/ppo/v1/agent_loop_tq.py:222": "await tq.async_kv_batch_put(",
    "verl/workers/rollout/vllm_rollout/vllm_rollout.py:141": '"ipc:///tmp/rl-colocate-zmq-{job_id}-',
    "vllm/model_executor/layers/linear.py:202": "dispatch_cpu_unquantized_gemm(layer, remove_weight=True)",
}


@pytest.mark.parametrize("patch", PATCHES, ids=lambda patch: patch.__name__)
def test_docstrings_name_the_right_lines(patch):
    (place,) = re.findall(r"\S+\.py:\d+", inspect.getdoc(patch))
    file, _, number = place.partition(":")
    spec = importlib.util.find_spec(file.partition("/")[0])
    line = (Path(spec.origin).parents[1] / file).read_text().splitlines()[int(number) - 1]
    assert LINES[place] in line


@pytest.mark.parametrize(
    "file",
    ["third_party/vllm/__init__.py", "workers/rollout/vllm_rollout/__init__.py", "utils/vllm/vllm_quant_utils.py"],
)
def test_verl_asks_for_the_distribution_where_we_say(file):
    text = (Path(importlib.util.find_spec("verl").origin).parent / file).read_text()
    assert "importlib.metadata" in text and '"vllm"' in text
    # The docstring breaks lines inside paths.
    assert file in re.sub(r"\s+", "", inspect.getdoc(distribution))


def test_every_patch_is_tested_here():
    public = [
        value
        for name, value in vars(patches).items()
        if inspect.isfunction(value) and value.__module__ == patches.__name__ and not name.startswith(("_", "install_"))
    ]
    assert public == PATCHES


def run(code, **environment):
    """What `code` leaves in `report`, in a new process on the CPU platform."""
    result = subprocess.run(
        [sys.executable, "-c", code + "\nimport json; print('REPORT' + json.dumps(report))"],
        env=os.environ | {"VERL_PLATFORM": "cpu"} | environment,
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout.rpartition("REPORT")[2])


@pytest.fixture(scope="module")
def verl_report(tmp_path_factory):
    """verl's modules with the plugin's patches, and the originals taken out of them."""
    store = tmp_path_factory.mktemp("store") / "rendezvous"
    return run(
        """
import torch, torch.distributed
import verl
import verl.utils.distributed as distributed
import verl.workers.engine.fsdp.transformer_impl as engine

report = {}
initialize = distributed.initialize_global_process_group_ray
try:
    initialize.__wrapped__()
    report["original_group"] = "works"
except Exception as error:
    report["original_group"] = f"{type(error).__name__}: {error}"
initialize(timeout_second=60)
report["backend"] = torch.distributed.get_backend()
total = torch.full((3,), 2.0)
torch.distributed.all_reduce(total)
report["sum"] = total.tolist()
torch.distributed.destroy_process_group()
# A backend that the caller names is his.
initialize(backend="cpu:gloo")
report["named"] = str(torch.distributed.get_backend_config())
report["policy"] = [engine.CPUOffloadPolicy().pin_memory, engine.CPUOffloadPolicy(pin_memory=True).pin_memory]
report["policy_type"] = type(engine.CPUOffloadPolicy()).__name__

from torch.distributed.fsdp import CPUOffloadPolicy, fully_shard
from torch.distributed.device_mesh import init_device_mesh

mesh = init_device_mesh("cpu", (1,))
for name, policy in (("original", CPUOffloadPolicy(pin_memory=True)), ("patched", engine.CPUOffloadPolicy())):
    try:
        model = fully_shard(torch.nn.Linear(4, 4), mesh=mesh, offload_policy=policy)
        report[name] = list(model(torch.ones(2, 4)).shape)
    except Exception as error:
        report[name] = f"{type(error).__name__}: {error}"
""",
        DIST_INIT_METHOD=f"file://{store}",
        RANK="0",
        WORLD_SIZE="1",
    )


@pytest.mark.long
def test_process_group_original_is_refused(verl_report):
    assert "cpu:gloo,cpu:gloo" in verl_report["original_group"] or "Duplicate" in verl_report["original_group"]


@pytest.mark.long
def test_process_group_works_over_gloo(verl_report):
    assert verl_report["backend"] == "gloo" and verl_report["sum"] == [2.0] * 3
    assert "cuda" not in verl_report["named"]


@pytest.mark.long
def test_pinned_offload_original_needs_an_accelerator(verl_report):
    assert isinstance(verl_report["original"], str), "FSDP2 now pins memory on a CPU: the patch is no longer needed"


@pytest.mark.long
def test_offload_without_pinning_works(verl_report):
    assert verl_report["policy"] == [False, False] and verl_report["policy_type"] == "CPUOffloadPolicy"
    assert verl_report["patched"] == [2, 4]


@pytest.fixture(scope="module")
def vllm_report(tmp_path_factory):
    """A linear layer of vLLM with its own method and with the patched one: loaded, used, loaded again."""
    return run(
        """
import torch
import vllm.model_executor.layers.linear as linear
from vllm.config import VllmConfig, set_current_vllm_config
from vllm.distributed import init_distributed_environment, initialize_model_parallel
from recipe.htpo.cpu.patches import keep_linear_weight

report = {}
# Kept, or its end would end the context.
context = set_current_vllm_config(VllmConfig())
context.__enter__()
init_distributed_environment(1, 0, "file://%s", 0, "gloo")
initialize_model_parallel(1)
method = linear.UnquantizedLinearMethod()
x, first, second = torch.randn(3, 64), torch.randn(32, 64), torch.randn(32, 64)

def layer_with(weight):
    layer = torch.nn.Module()
    method.create_weights(layer, 64, [32], 64, 32, torch.float32, weight_loader=None)
    layer.weight.data.copy_(weight)
    return layer

def error(layer, weight):
    return (method.apply(layer, x) - x @ weight.T).abs().max().item()

layer = layer_with(first)
method.process_weights_after_loading(layer)
report["original"] = {"error": error(layer, first), "elements": layer.weight.numel()}
keep_linear_weight(linear)
layer = layer_with(first)
method.process_weights_after_loading(layer)
report["patched"] = {"error": error(layer, first), "elements": layer.weight.numel()}
layer.weight.data.copy_(second)
method.process_weights_after_loading(layer)
report["synchronised"] = {"error": error(layer, second)}
"""
        % (tmp_path_factory.mktemp("vllm") / "rendezvous")
    )


@pytest.mark.long
def test_linear_weight_original_is_removed(vllm_report):
    assert vllm_report["original"]["elements"] == 0 and vllm_report["original"]["error"] < 1e-4


@pytest.mark.long
def test_linear_weight_is_kept_and_can_be_loaded_again(vllm_report):
    assert vllm_report["patched"]["elements"] == 32 * 64 and vllm_report["patched"]["error"] < 1e-4
    assert vllm_report["synchronised"]["error"] < 1e-4


def reward_of(tokens):
    """What DAPO's manager makes of a correct response that fills the overlong buffer."""
    from verl import DataProto
    from verl.experimental.reward_loop.reward_manager import dapo

    from recipe.htpo.lab.model import make_tokenizer

    config = {"reward": {"reward_kwargs": {"max_resp_len": tokens, "overlong_buffer_cfg": OVERLONG}}}
    ids = torch.ones(1, tokens, dtype=torch.int64)
    data = DataProto.from_dict(
        tensors={"responses": ids, "attention_mask": torch.ones_like(ids)},
        non_tensors={
            "data_source": np.array(["arithmetic"], dtype=object),
            "reward_model": np.array([{"ground_truth": "1"}], dtype=object),
        },
    )

    async def graded():
        manager = dapo.DAPORewardManager(OmegaConf.create(config), make_tokenizer(), lambda **_: {"score": 1.0})
        return await manager.run_single(data)

    return asyncio.run(graded())["reward_score"]


def test_a_reward_is_a_number(monkeypatch):
    from verl.experimental.reward_loop.reward_manager import dapo

    original = inspect.unwrap(dapo.DAPORewardManager.run_single)
    monkeypatch.setattr(dapo.DAPORewardManager, "run_single", original)
    assert isinstance(reward_of(8), torch.Tensor), "verl's reward is a number: the patch is no longer needed"
    patches.reward_as_number(dapo)
    reward = reward_of(8)
    # 1 for the answer, and the whole punishment of 1.
    assert type(reward) is float and reward == 0.0


class Loop:
    """Stands where a configuration names an agent loop."""

    def __init__(self, **arguments):
        self.arguments = arguments


def test_an_agent_loop_is_made_without_hydra(monkeypatch):
    from verl.experimental.agent_loop import agent_loop

    monkeypatch.setattr(agent_loop, "hydra", agent_loop.hydra)
    patches.agent_loop_by_constructor(agent_loop)
    name, config = f"{__name__}.Loop", object()
    monkeypatch.setitem(sys.modules, __name__, sys.modules[Loop.__module__])
    made = agent_loop.hydra.utils.instantiate(config={"_target_": name}, trainer_config=config)
    assert type(made) is Loop and made.arguments == {"trainer_config": config}
    # What else Hydra can do is left to it.
    more = agent_loop.hydra.utils.instantiate(config={"_target_": name, "size": 3}, trainer_config=None)
    assert more.arguments == {"size": 3, "trainer_config": None}


@pytest.mark.parametrize(("handles", "replaced"), [([], True), (["a worker"], False), (None, False)])
def test_rewards_are_graded_here_where_no_worker_is(monkeypatch, handles, replaced):
    from verl.experimental.agent_loop import agent_loop
    from verl.experimental.reward_loop import reward_loop

    class Worker:
        """Stands for verl's worker, whose constructor loads a tokenizer."""

        made = []

        def __init__(self, config):
            self.made.append(config)

        async def compute_score(self, data):
            return {"reward_score": data}

    async def graded(handle):
        return [await handle.compute_score.remote(data) for data in (1.0, 2.0)]

    def takes_handles(self, config, reward_loop_worker_handles=None):
        self.reward_loop_worker_handles = reward_loop_worker_handles

    monkeypatch.setattr(agent_loop.AgentLoopWorker, "__init__", takes_handles)
    monkeypatch.setattr(reward_loop, "RewardLoopWorker", Worker)
    patches.reward_beside_agent_loop(agent_loop)
    worker = agent_loop.AgentLoopWorker("config", reward_loop_worker_handles=handles)
    if not replaced:
        assert worker.reward_loop_worker_handles == handles
        return
    (handle,) = worker.reward_loop_worker_handles
    assert asyncio.run(graded(handle)) == [{"reward_score": 1.0}, {"reward_score": 2.0}]
    assert Worker.made == ["config"]


class Queue:
    """Stands for TransferQueue: each put takes until the loop has been round some times."""

    def __init__(self):
        self.puts, self.statuses, self.fails = [], [], False

    async def async_kv_put(self, key, partition_id, tag):
        self.statuses.append((key, tag))

    async def async_kv_batch_put(self, keys, fields, tags, partition_id):
        for _ in range(5):
            await asyncio.sleep(0)
        if self.fails:
            raise RuntimeError("no place")
        self.puts.append((partition_id, keys, fields, tags))


def _agent_loop_tq(queue):
    module = SimpleNamespace(tq=queue, list_of_dict_to_tensordict=tuple)
    patches.outputs_put_together(module)

    async def put(name, partition="train", **more):
        fields = [{"response": name, **more}]
        batch = module.list_of_dict_to_tensordict(fields)
        await module.tq.async_kv_batch_put(keys=[name], fields=batch, tags=[{"of": name}], partition_id=partition)
        return any(name in keys for _, keys, _, _ in queue.puts)

    return module, put


def test_outputs_that_come_during_a_put_go_with_the_next_one():
    queue = Queue()
    module, put = _agent_loop_tq(queue)

    async def run():
        return await asyncio.gather(*(put(name) for name in "abcd"), put("v", "val"), put("x", extra=1))

    # Each came back when its own output was there.
    assert all(asyncio.run(run()))
    train = [keys for partition, keys, fields, _ in queue.puts if partition == "train" and "extra" not in fields[0]]
    assert sorted(sum(train, [])) == list("abcd") and len(train) < 4
    assert sorted(keys for _, keys, _, _ in queue.puts if len(keys) == 1) == [["v"], ["x"]]
    for _, keys, fields, tags in queue.puts:
        assert [field["response"] for field in fields] == keys == [tag["of"] for tag in tags]
    # Nothing is kept, and what else the queue can do is left to it.
    assert asyncio.run(put("e"))
    asyncio.run(module.tq.async_kv_put("uid", "train", tag="finished"))
    assert queue.statuses == [("uid", "finished")]


def test_the_queue_travels_to_a_worker():
    """Ray pickles the class of the agent loop with what its module names."""
    import transfer_queue
    from ray import cloudpickle

    module = SimpleNamespace(tq=transfer_queue, list_of_dict_to_tensordict=tuple)
    patches.outputs_put_together(module)
    copy = cloudpickle.loads(cloudpickle.dumps(module.tq))
    assert copy.async_kv_put is transfer_queue.async_kv_put and copy.init is transfer_queue.init
    assert type(copy.async_kv_batch_put) is type(module.tq.async_kv_batch_put)


def test_an_output_that_finds_no_place_is_an_error_of_its_response():
    queue = Queue()
    _, put = _agent_loop_tq(queue)
    queue.fails = True

    async def run():
        return await asyncio.gather(put("a"), put("b"), return_exceptions=True)

    assert [str(error) for error in asyncio.run(run())] == ["no place", "no place"]
    queue.fails = False
    assert asyncio.run(put("c"))


def test_every_registered_agent_loop_is_only_named():
    import verl.experimental.agent_loop  # noqa: F401
    from verl.experimental.agent_loop.agent_loop import _agent_loop_registry

    assert all(set(config) == {"_target_"} for config in _agent_loop_registry.values())


def test_weights_go_through_a_socket_of_the_runs_own(tmp_path, monkeypatch):
    """A sender and the receiver of its run meet in the run's temporary directory; a path too long stays verl's."""
    file = (
        Path(importlib.util.find_spec("verl").origin).parent
        / "workers/rollout/vllm_rollout/bucketed_weight_transfer.py"
    )
    # By its file: the package around it looks for vLLM's distribution.
    spec = importlib.util.spec_from_file_location("bucketed_weight_transfer", file)
    transfer = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(transfer)
    patches.weights_through_own_socket(transfer)
    verls = "ipc:///tmp/rl-colocate-zmq-01000000-replica-0-rank-0.sock"

    def handles():
        sender = transfer.BucketedWeightSender(zmq_handle=verls)
        return {sender.zmq_handle, transfer.BucketedWeightReceiver(zmq_handle=verls, device=None).zmq_handle}

    monkeypatch.setattr("tempfile.tempdir", "/tmp/htpo_run")
    assert handles() == {"ipc:///tmp/htpo_run/rl-colocate-zmq-01000000-replica-0-rank-0.sock"}
    monkeypatch.setattr("tempfile.tempdir", "/tmp/" + 60 * "x")
    assert handles() == {verls}


def test_vllm_plugin_acts_only_on_the_cpu_platform(monkeypatch):
    from recipe.htpo.cpu import vllm_plugin

    installed = []
    monkeypatch.setattr(patches, "install_vllm_patches", lambda: installed.append(True))
    for value, expected in ((None, 0), ("nvidia", 0), ("cpu", 1), (" CPU ", 2)):
        monkeypatch.delenv("VERL_PLATFORM", raising=False)
        if value is not None:
            monkeypatch.setenv("VERL_PLATFORM", value)
        vllm_plugin.register()
        assert len(installed) == expected
