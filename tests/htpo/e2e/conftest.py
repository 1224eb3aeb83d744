# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""Data and warm model that the end-to-end runs share."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
TRAIN_ROWS, TEST_ROWS = 400, 16


@pytest.fixture(scope="session")
def cache_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The project's cache, with the warm model, where there is one; otherwise one of the tests' own."""
    project = ROOT / ".cache"
    return project if (project / "demo_model").is_dir() else tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="session")
def demo_inputs(cache_dir: Path) -> list[str]:
    """Overrides that name data and warm model, made as `scripts/run_htpo_cpu.sh` makes them."""
    data, model = cache_dir / f"data_{TRAIN_ROWS}_{TEST_ROWS}", cache_dir / "demo_model"
    build = ["data_prep", "build", "arithmetic", "--out", str(data), "--train-rows", str(TRAIN_ROWS)]
    for command in ([*build, "--test-rows", str(TEST_ROWS)], ["recipe.htpo.lab.warmup", "--out", str(model)]):
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        subprocess.run([sys.executable, "-m", *command], cwd=ROOT, env=environment, check=True, capture_output=True)
    return [
        f"data.train_files={data}/arithmetic/train.parquet",
        f"data.val_files={data}/arithmetic/test.parquet",
        f"actor_rollout_ref.model.path={model}",
    ]


@pytest.fixture(scope="session")
def script_environment(cache_dir: Path) -> dict[str, str]:
    """Knobs of `scripts/run_htpo_cpu.sh` with which it finds the data and the model of `demo_inputs` made."""
    return {"CACHE_DIR": str(cache_dir), "TRAIN_ROWS": str(TRAIN_ROWS), "TEST_ROWS": str(TEST_ROWS)}
