# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""Data, warm model and results of the fault campaign; collected only when it is asked for (`-m faults`)."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import fault_table
import private_mounts
import pytest

ROOT = Path(__file__).resolve().parents[2]
# The end-to-end runs' small settings and data order.
sys.path.append(str(ROOT / "tests" / "htpo" / "e2e"))
TRAIN_ROWS, TEST_ROWS = 400, 16


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """A campaign takes an hour: `-m "not slow"`, `-m slow` and no `-m` at all leave it out."""
    return True if fault_table.left_out(collection_path.name, config.getoption("-m")) else None


@pytest.fixture(scope="session")
def out() -> Path:
    """Where the runs work and the results are written: `FAULTS_OUT`."""
    directory = Path(os.environ.get("FAULTS_OUT", ROOT / "outputs" / "faults")).resolve()
    directory.mkdir(parents=True, exist_ok=True)
    return directory


@pytest.fixture(scope="session")
def fault_inputs(out: Path) -> list[str]:
    """Overrides that name data and warm model, from `CACHE_DIR`, as `scripts/run_htpo_cpu.sh` makes them."""
    cache = Path(os.environ.get("CACHE_DIR", ROOT / ".cache")).resolve()
    data, model = cache / f"data_{TRAIN_ROWS}_{TEST_ROWS}", cache / "demo_model"
    build = ["data_prep", "build", "arithmetic", "--out", str(data), "--train-rows", str(TRAIN_ROWS)]
    warmup = ["recipe.htpo.lab.warmup", "--out", str(model), "--evaluation-prompts", "0"]
    for command in ([*build, "--test-rows", str(TEST_ROWS)], warmup):
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        subprocess.run([sys.executable, "-m", *command], cwd=ROOT, env=environment, check=True, capture_output=True)
    return [
        f"data.train_files={data}/arithmetic/train.parquet",
        f"data.val_files={data}/arithmetic/test.parquet",
        f"actor_rollout_ref.model.path={model}",
    ]


@pytest.fixture(scope="session")
def private(fault_inputs: list[str], out: Path) -> None:
    """Mounts of our own, made once the inputs are there."""
    try:
        private_mounts.enter()
    except private_mounts.NoPrivateMounts as error:
        pytest.skip(f"no private mounts ({error}); be root, or use unshare --user --map-root-user --mount")


@pytest.fixture
def report(out: Path) -> Callable[[object], None]:
    """Appends a result to `results.jsonl`."""

    def append(result: object) -> None:
        line = {"date": time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime()), "commit": _commit(), **asdict(result)}  # type: ignore[call-overload]
        with (out / "results.jsonl").open("a", encoding="utf-8") as stream:
            stream.write(json.dumps(line) + "\n")

    return append


def _commit() -> str:
    command = ["git", "-C", str(ROOT), "describe", "--always", "--dirty", "--abbrev=7"]
    return subprocess.run(command, capture_output=True, text=True).stdout.strip() or "unknown"
