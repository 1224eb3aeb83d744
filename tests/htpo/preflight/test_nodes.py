# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""The nodes of a real Ray cluster: two raylets on this machine, the second one from another environment."""

import contextlib
import os
import re
import subprocess
import sys
import sysconfig
import time
import venv
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest
import ray
from preflight_support import composed
from ray_cluster import start_cluster

from recipe.htpo.preflight import EXIT_CODE, UNAVAILABLE, exit_code, node_probe, nodes
from recipe.htpo.preflight.nodes import CPUS_PER_GPU, Node, node_problems
from recipe.htpo.problem import Problem

RESOURCES = {"num_cpus": 6, "num_gpus": 1, "object_store_memory": 100_000_000}


def groups(count: int, gpus: int) -> list[tuple[str, int]]:
    return [("trainer", gpus)] * count


def node(gpus: float, cpus: float = 1000.0) -> Node:
    return Node(id="a" * 28, ip="10.0.0.1", gpus=gpus, cpus=cpus)


@pytest.mark.parametrize(
    "wanted, free, unplaced",
    [
        (groups(2, 8), [node(8), node(8)], 0),
        # Enough in sum, and verl's own check passes; but a group has to fit on one node.
        (groups(2, 8), [node(8), node(4), node(4)], 1),
        # A large node holds two groups.
        (groups(2, 4), [node(8)], 0),
        (groups(4, 8), [node(8)] * 3, 1),
        (groups(1, 1), [], 1),
        # CPUs go with the GPUs.
        (groups(1, 8), [node(8, cpus=8 * CPUS_PER_GPU - 1)], 1),
        # The large group first, on the node that has room for nothing more.
        ([("trainer", 4), ("reward.reward_model", 8)], [node(8), node(4)], 0),
    ],
)
def test_groups_of_gpus(wanted: list[tuple[str, int]], free: list[Node], unplaced: int) -> None:
    assert len(nodes._place(wanted, free)[0]) == unplaced


@pytest.mark.parametrize("cpus, lacks", [(8 * CPUS_PER_GPU + 8, True), (8 * CPUS_PER_GPU + 9, False)])
def test_the_queue_needs_cpus_beside_the_workers(monkeypatch, cpus: int, lacks: bool) -> None:
    """verl's default of 8 storage units and a controller."""
    monkeypatch.setattr(nodes, "_alive_nodes", lambda: [node(8, cpus=cpus)])
    config = composed(["layout=fsdp/qwen3_0_6b", "transfer_queue.backend.SimpleStorage.num_data_storage_units=8"])
    problems = list(nodes._resource_problems(config, 0.0))
    assert len(problems) == lacks
    if lacks:
        assert problems[0].field.endswith("num_data_storage_units") and "9 CPUs" in problems[0].message


@pytest.mark.parametrize("waits_s, code", [(0.0, EXIT_CODE), (0.001, UNAVAILABLE)])
def test_nodes_that_may_still_come_are_no_wrong_setting(monkeypatch, waits_s: float, code: int) -> None:
    """Unlike those of a Ray that the run has started itself, which has what it has."""
    monkeypatch.setattr(nodes, "_alive_nodes", lambda: [])
    monkeypatch.setattr(nodes, "POLL_S", 0.0)
    problems = list(nodes._resource_problems(composed(["layout=fsdp/qwen3_0_6b"]), waits_s))
    assert exit_code(problems) == code
    assert exit_code([*problems, Problem("field", "is wrong", "mend it")]) == EXIT_CODE


@pytest.mark.parametrize(
    "overrides, modules",
    [
        (["layout=fsdp/qwen3_0_6b"], {"flash_attn"}),
        (
            ["layout=megatron/qwen3_0_6b", "model_engine=megatron"],
            {"flash_attn", "megatron.bridge", "transformer_engine.pytorch", "modelopt"},
        ),
        (["layout=fsdp/qwen3_0_6b", "htpo.check_versions=False"], set()),
        (["platform=cpu"], set()),
    ],
)
def test_a_node_imports_what_its_workers_will(overrides: list[str], modules: set[str]) -> None:
    assert set(nodes._modules(composed(overrides))) == modules


def test_a_module_that_does_not_load_is_told() -> None:
    report = node_probe.probe([], [], ["json", "no_such_module"])
    assert set(report["import_errors"]) == {"no_such_module"}
    (problem,) = nodes._report_problems(node(1), report, report, "marker", "run")
    assert "no_such_module cannot be imported (ModuleNotFoundError" in problem.message


SOUND_NODE = {"host_bytes": 2**41, "shm_bytes": 2**40, "vllm_port": None}


@pytest.mark.parametrize(
    "found, words",
    [
        ({}, None),
        ({"host_bytes": None, "shm_bytes": None}, None),
        ({"host_bytes": 16 * 2**30}, "has 16 GiB of memory; .*param_offload, optimizer_offload"),
        # Docker's own
        ({"shm_bytes": 64 * 2**20}, "/dev/shm has 0.06.* need about 8"),
        ({"vllm_port": "8000"}, "VLLM_PORT is 8000 there: 8 vLLM engines"),
        ({"vllm_port": "tcp://10.0.0.1:8000"}, "VLLM_PORT"),
    ],
)
def test_a_node_has_memory_and_no_port_for_all(found: dict, words: str | None) -> None:
    config = composed(["layout=fsdp/qwen3_8b"])
    problems = list(nodes._memory_problems(config, node(8), SOUND_NODE | found))
    assert len(problems) == (words is not None)
    assert words is None or re.search(words, problems[0].message)


def test_the_probe_sees_memory() -> None:
    report = node_probe.probe([], [])
    assert report["host_bytes"] > 2**28 and report["shm_bytes"] > 0 and "vllm_port" in report


@dataclass
class TwoNodes:
    address: str
    first_id: str
    second_id: str


@pytest.fixture
def wide(sound: list[str], tmp_path: Path) -> list[str]:
    """Overrides of a run over two nodes."""
    return [*sound, f"htpo.output_dir={tmp_path}/run", "trainer.nnodes=2"]


@pytest.fixture(scope="module")
def two_nodes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TwoNodes]:
    """The second node's Python has every package of this one's but ours: it was not installed there."""
    place = tmp_path_factory.mktemp("node")
    venv.create(place / "venv", with_pip=False)
    python = place / "venv" / "bin" / "python"
    site = subprocess.check_output([python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"], text=True)
    # The directory only: the .pth file of an editable install in it is not followed.
    (Path(site.strip()) / "others.pth").write_text(sysconfig.get_path("purelib") + "\n")
    # A busy machine takes longer than Ray's 30 s.
    os.environ["RAY_raylet_start_wait_time_s"] = "240"
    cluster = start_cluster(**RESOURCES)
    first_id = cluster.head_node.node_id
    flags = [f"--{name.replace('_', '-')}={value}" for name, value in RESOURCES.items()]
    raylet = psutil.Popen(
        [python, "-m", "ray.scripts.scripts", "start", f"--address={cluster.address}", "--block", *flags],
        cwd=place,
        env={name: value for name, value in os.environ.items() if name != "PYTHONPATH"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    # Not from the clone: Ray lets workers import from the directory that the driver started in.
    with contextlib.chdir(place):
        ray.init(address=cluster.address, log_to_driver=False)
    try:
        deadline = time.monotonic() + 240
        while len(alive := [entry["NodeID"] for entry in ray.nodes() if entry["Alive"]]) < 2:
            assert time.monotonic() < deadline and raylet.poll() is None
            time.sleep(0.5)
        yield TwoNodes(cluster.address, first_id, next(found for found in alive if found != first_id))
    finally:
        ray.shutdown()
        for process in [*raylet.children(recursive=True), raylet]:
            process.kill()
        cluster.shutdown()
        del os.environ["RAY_raylet_start_wait_time_s"]


@pytest.mark.slow
@pytest.mark.xdist_group("two_nodes")
def test_the_command_names_the_node_that_lacks_the_package(two_nodes: TwoNodes, wide: list[str], tmp_path: Path):
    """Exit code 2, before anything of verl runs anywhere."""
    command = [sys.executable, "-m", "recipe.htpo.main_htpo", *wide]
    environment = {**os.environ, "RAY_ADDRESS": two_nodes.address}
    result = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=600)
    assert result.returncode == 2, result.stdout + result.stderr
    assert "1 problem; nothing was started" in result.stderr
    assert f"(id {two_nodes.second_id[:12]}): verl-htpo is not installed (No module named" in result.stderr
    assert two_nodes.first_id[:12] not in result.stderr
    assert "pip install verl-htpo there" in result.stderr
    from ray._private.state import actors

    assert actors() == {} and ray.util.placement_group_table() == {}


@pytest.mark.slow
@pytest.mark.xdist_group("two_nodes")
def test_every_cause_is_told(two_nodes: TwoNodes, wide: list[str], tmp_path: Path, monkeypatch):
    """Too few GPUs, an output directory that is relative, and the package missing on one node: all at once."""
    monkeypatch.chdir(tmp_path)
    config = composed([*wide, "trainer.nnodes=3", "htpo.output_dir=only/here"])
    found = {problem.field: problem for problem in node_problems(config)}
    gpus = found.pop("trainer.nnodes")
    assert "3 groups" in gpus.message and "1 of them find no place" in gpus.message and "for ever" in gpus.remedy
    assert two_nodes.first_id[:12] in gpus.message and "1 GPUs" in gpus.message
    directory = found.pop("htpo.output_dir")
    assert "does not see only/here from" in directory.message and "absolute path" in directory.remedy
    (lacking,) = found.values()
    assert "not installed" in lacking.message and two_nodes.second_id[:12] in lacking.field
    # Nothing stays of the check.
    assert list((tmp_path / "only" / "here").iterdir()) == []


@pytest.mark.slow
@pytest.mark.xdist_group("two_nodes")
def test_a_plugin_that_did_not_load_is_told(two_nodes: TwoNodes, wide: list[str], monkeypatch):
    """In the place of a worker of its own cluster the driver looks at itself."""
    config = composed(wide)
    assert node_problems(config, own=True) == []
    monkeypatch.setattr("recipe.htpo.seams.plugin._LOADED", False)
    monkeypatch.setitem(sys.modules, "recipe.htpo.seams.plugin", sys.modules["recipe.htpo.seams.plugin"])
    messages = [problem.message for problem in node_problems(config, own=True)]
    assert len(messages) == 2 and all("do not load the plugin" in message for message in messages)


@pytest.mark.slow
@pytest.mark.xdist_group("two_nodes")
def test_nodes_may_still_join(two_nodes: TwoNodes, wide: list[str], capsys):
    config = composed([*wide, "trainer.n_gpus_per_node=2"])
    fields = [problem.field for problem in node_problems(config, join_timeout_s=1.0)]
    assert "trainer.nnodes" in fields
    assert "waiting up to 1 s for more nodes" in capsys.readouterr().out
