# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""Runs a layout: one process per rank over gloo, all cases in one process group."""

import importlib
import multiprocessing
import os
import time
from dataclasses import dataclass
from functools import cache
from multiprocessing import forkserver
from multiprocessing.context import ForkServerContext
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from engines_cases import LAYOUTS
from torch import Tensor

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


def run_layout(name: str, inputs: Path, outputs: Path) -> dict[str, CaseResult]:
    """Run all cases of a layout and gather what every rank saved, by case."""
    run_ranks("engines_worker", LAYOUTS[name].processes, name, inputs, outputs)
    ranks = [torch.load(outputs / f"rank{rank}.pt") for rank in range(LAYOUTS[name].processes)]
    return {case: CaseResult([rank[case] for rank in ranks]) for case in ranks[0]}


def run_ranks(module: str, processes: int, layout: str, inputs: Path, outputs: Path) -> None:
    """Run `main(layout, inputs, outputs)` of a module as so many ranks; AssertionError with the logs if one fails."""
    logs = [outputs / f"rank{rank}.log" for rank in range(processes)]
    ranks = [
        _context().Process(target=_rank, args=(module, rank, processes, log, layout, inputs, outputs))
        for rank, log in enumerate(logs)
    ]
    for process in ranks:
        process.start()
    try:
        deadline = time.monotonic() + TIMEOUT_S
        while time.monotonic() < deadline:
            codes = [process.exitcode for process in ranks]
            # A rank that ended with an error leaves the others waiting for it.
            if any(codes) or None not in codes:
                break
            time.sleep(0.2)
    finally:
        for process in ranks:
            process.kill()
            process.join()
    assert not any(process.exitcode for process in ranks), "\n".join(
        f"{log}:\n{log.read_text()[-4000:]}" for log in logs
    )


@cache
def _context() -> ForkServerContext:
    """Ranks are forked from one process that has imported what they need, which takes most of a layout's time."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["engines_worker"])
    path = os.pathsep.join([str(ROOT), str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")])
    with mock.patch.dict(os.environ, {"VERL_PLATFORM": "cpu", "OMP_NUM_THREADS": "1", "PYTHONPATH": path}):
        forkserver.ensure_running()
    return context


def _rank(module: str, rank: int, processes: int, log: Path, *arguments: str | Path) -> None:
    with log.open("w") as stream:
        for output in (1, 2):
            os.dup2(stream.fileno(), output)
    os.environ |= {
        "RANK": str(rank),
        "LOCAL_RANK": str(rank),
        "WORLD_SIZE": str(processes),
        # verl's workers meet through a file here: no port can be taken by somebody else.
        "DIST_INIT_METHOD": f"file://{log.parent}/rendezvous",
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": "0",
    }
    importlib.import_module(module).main(*arguments)
