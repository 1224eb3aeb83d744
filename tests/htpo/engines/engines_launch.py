# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""Runs a layout: one process per rank over gloo, all cases in one process group: imports take most of the time."""

import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from engines_cases import LAYOUTS
from torch import Tensor

WORKER = Path(__file__).with_name("engines_worker.py")
ROOT = Path(__file__).parents[3]
TIMEOUT_S = 900


@dataclass
class CaseResult:
    """What all ranks of a layout saw in one case."""

    ranks: list[dict[str, Any]]

    def checked(self) -> "CaseResult":
        """Itself, once it is known that no rank failed."""
        errors = [rank["error"] for rank in self.ranks if "error" in rank]
        assert not errors, "\n".join(errors)
        return self

    def by_row(self, name: str) -> dict[int, Tensor]:
        """`log_probs`, `entropy` or `groups` of every response; ranks that have the same response must agree on it."""
        rows: dict[int, Tensor] = {}
        for rank in self.ranks:
            for row, values in rank.get(name, {}).items():
                assert row not in rows or torch.equal(rows[row], values), f"ranks differ in {name} of response {row}"
                rows[row] = values
        return dict(sorted(rows.items()))

    def tensors(self, name: str) -> dict[str, Tensor]:
        """`weights` or `gradients` in Hugging Face's names; the same on all ranks."""
        first, *others = [rank[name] for rank in self.ranks]
        for other in others:
            assert other.keys() == first.keys()
            assert all(torch.equal(other[key], first[key]) for key in first), f"ranks differ in {name}"
        return first

    @property
    def metrics(self) -> dict[str, float]:
        """Metrics of the update, as the trainer gets them from the collecting ranks."""
        collected = [rank["metrics"] for rank in self.ranks if rank["metrics"]]
        return collected[0]


def run_layout(name: str, inputs: Path, outputs: Path, only: str = "") -> dict[str, CaseResult]:
    """Run all cases of a layout and gather what every rank saved, by case."""
    layout = LAYOUTS[name]
    environment = os.environ | {
        "VERL_PLATFORM": "cpu",
        "OMP_NUM_THREADS": "1",
        "WORLD_SIZE": str(layout.processes),
        # verl's workers meet through a file here: no port can be taken by somebody else.
        "DIST_INIT_METHOD": f"file://{outputs}/rendezvous",
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": "0",
        "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]),
    }
    command = [sys.executable, str(WORKER), name, str(inputs), str(outputs), "--only", only]
    processes, logs = [], [outputs / f"rank{rank}.log" for rank in range(layout.processes)]
    for rank, log in enumerate(logs):
        with log.open("w") as stream:
            ranks = {"RANK": str(rank), "LOCAL_RANK": str(rank)}
            processes.append(
                subprocess.Popen(command, env=environment | ranks, stdout=stream, stderr=subprocess.STDOUT)
            )
    try:
        deadline = time.monotonic() + TIMEOUT_S
        while time.monotonic() < deadline:
            codes = [process.poll() for process in processes]
            # A rank that ended with an error leaves the others waiting for it.
            if any(codes) or None not in codes:
                break
            time.sleep(0.2)
    finally:
        for process in processes:
            process.kill()
    codes = [process.wait() for process in processes]
    assert not any(codes), "\n".join(f"{log}:\n{log.read_text()[-4000:]}" for log in logs)
    ranks = [torch.load(outputs / f"rank{rank}.pt") for rank in range(layout.processes)]
    return {case: CaseResult([rank[case] for rank in ranks]) for case in ranks[0]}
