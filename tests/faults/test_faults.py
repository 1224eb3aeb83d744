# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""The fault campaign: `bash scripts/fault_campaign.sh`, or `pytest -m faults tests/faults -k NAME` for one scenario."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import fault_points
import fault_scenarios
import private_mounts
import pytest
from fault_scenarios import Result
from faulty_run import FaultyRun

pytestmark = [pytest.mark.faults, pytest.mark.usefixtures("private")]

Report = Callable[[Result], None]
HERE = Path(__file__).resolve().parent


@pytest.fixture
def make_run(out: Path, fault_inputs: list[str], request: pytest.FixtureRequest) -> Callable[..., FaultyRun]:
    """A run with a fresh directory named after the test."""

    def make(backend: str, steps: int, *overrides: str, **environment: str) -> FaultyRun:
        # Hydra would read the brackets as a list.
        directory = out / request.node.name.removeprefix("test_").replace("[", "_").rstrip("]")
        shutil.rmtree(directory, ignore_errors=True)
        run = directory / "run"
        run.mkdir(parents=True)
        return FaultyRun(run, directory, backend, [*fault_inputs, *overrides], steps, environment)

    return make


@pytest.mark.parametrize(("backend", "seed"), [("fsdp", 1), ("megatron", 2), ("fsdp", 3), ("megatron", 4)])
def test_five_kills(make_run: Callable[..., FaultyRun], report: Report, backend: str, seed: int) -> None:
    run = make_run(backend, 16)
    results = fault_scenarios.kills(run, seed, fault_scenarios.one_kill_of_each_kind(seed), report)
    assert [finding for result in results for finding in result.findings] == []


def test_kills_that_found_something(make_run: Callable[..., FaultyRun], report: Report) -> None:
    results = fault_scenarios.kills(make_run("megatron", 12), 5, fault_scenarios.KILLS_THAT_FOUND, report)
    assert [finding for result in results for finding in result.findings] == []


@pytest.mark.parametrize(
    "fault",
    [fault_points.RAISES, fault_points.RAISES_AT_TIMES, fault_points.HANGS, fault_points.NAN_LOGITS],
)
def test_inside(make_run: Callable[..., FaultyRun], report: Report, out: Path, fault: str) -> None:
    """A reward that raises or hangs, logits that are NaN."""
    run = make_run(
        "fsdp",
        6,
        f"reward.custom_reward_function.path={HERE / 'fault_points.py'}",
        "actor_rollout_ref.model.external_lib=fault_points",
        PYTHONPATH=os.pathsep.join(filter(None, [str(HERE), os.environ.get("PYTHONPATH")])),
        **{fault_points.SWITCHES: str(out / "switches")},
    )
    steps = 1 if fault == fault_points.NAN_LOGITS else 0
    result = fault_scenarios.one_fault(run, fault, fault_scenarios.switched(run, fault), steps)
    report(result)
    assert result.findings == []


@pytest.mark.parametrize("backend", ["fsdp", "megatron"])
def test_disk_full(make_run: Callable[..., FaultyRun], report: Report, backend: str) -> None:
    run = make_run(backend, 5)
    with private_mounts.small_disk(run.output_dir, mebibytes=400):
        result = fault_scenarios.one_fault(run, "disk full in a save", fault_scenarios.full_disk(run))
        report(result)
        shutil.copy(run.output_dir / "log.txt", run.logs / "log.txt")
    assert result.findings == []


def test_shared_memory_full(make_run: Callable[..., FaultyRun], report: Report) -> None:
    run = make_run("fsdp", 6)
    result = fault_scenarios.one_fault(run, "/dev/shm full", fault_scenarios.full_shared_memory)
    report(result)
    assert result.findings == []


@pytest.mark.parametrize("seconds", [7200, -7200])
def test_clock_jump(make_run: Callable[..., FaultyRun], report: Report, out: Path, seconds: int) -> None:
    library = os.environ.get("FAKETIME_LIB")
    if not library:
        pytest.skip("FAKETIME_LIB names no libfaketimeMT.so.1")
    clock = out / "clock"
    clock.write_text("+0\n")
    run = make_run(
        "fsdp",
        6,
        LD_PRELOAD=library,
        FAKETIME_TIMESTAMP_FILE=str(clock),
        FAKETIME_CACHE_DURATION="1",
        FAKETIME_DONT_FAKE_MONOTONIC="1",
        FAKETIME_DONT_RESET="1",
    )
    result = fault_scenarios.one_fault(
        run, f"the clock jumps by {seconds:+d} s", fault_scenarios.clock_jump(clock, seconds)
    )
    report(result)
    assert result.findings == []
