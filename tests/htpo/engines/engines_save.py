# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""One process of one layout: trains a step, saves a checkpoint as a run does, and the weights that the rollout gets."""

import os
from pathlib import Path

import torch
from engines_cases import CASES, LAYOUTS
from engines_worker import Actor


def main(layout: str, inputs: Path, outputs: Path) -> None:
    case = next(case for case in CASES if case.run == "adam" and case.model == "qwen2")
    actor = Actor(LAYOUTS[layout], case, inputs / case.model, torch.load(inputs / case.model / "batch.pt"))
    actor.train()
    actor.worker.save_checkpoint(str(outputs / "checkpoints" / "global_step_1" / "actor"), global_step=1)
    weights = actor.weights()
    if os.environ["RANK"] == "0":
        torch.save(weights, outputs / "weights.pt")
    torch.distributed.barrier()
    torch.distributed.destroy_process_group()
