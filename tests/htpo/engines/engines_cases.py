# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""What is run: layouts (an engine over some processes) and cases (a model, a way to batch, an optimiser)."""

from dataclasses import dataclass
from typing import Literal

# In this order: mbridge 0.15 keeps its names of weights in a class, and a model with tied embeddings changes them for
# every model without that is built after it in the same process.
MODELS = ("qwen3", "llama", "qwen2")
TEMPERATURE = 0.8

# The gradient is clipped to a norm at which rounding of it stays far below AdamW's epsilon of 1e-8. Where a gradient is
# zero but for rounding, the first step would otherwise be of any size up to the learning rate.
ADAM = dict(lr=1e-2, weight_decay=0.1, clip_grad=0.03)

Split = Literal["one", "several", "dynamic"]
Run = Literal["gradient", "adam", "resume", "scores"]


@dataclass(frozen=True)
class Layout:
    """One process group: `tp * pp * cp * ulysses` processes per data-parallel rank, as many ranks as fit."""

    engine: Literal["fsdp2", "megatron"]
    processes: int
    tp: int = 1
    pp: int = 1
    cp: int = 1
    ulysses: int = 1

    @property
    def data_parallel(self) -> int:
        return self.processes // (self.tp * self.pp * self.cp * self.ulysses)


LAYOUTS = {
    "fsdp-1": Layout("fsdp2", 1),
    "fsdp-dp2": Layout("fsdp2", 2),
    "fsdp-ulysses2": Layout("fsdp2", 2, ulysses=2),
    "megatron-1": Layout("megatron", 1),
    "megatron-tp2": Layout("megatron", 2, tp=2),
    "megatron-pp2": Layout("megatron", 2, pp=2),
    "megatron-cp2": Layout("megatron", 2, cp=2),
    "megatron-dp2": Layout("megatron", 2),
}


@dataclass(frozen=True)
class Case:
    """One fresh engine and what it does.

    `run` says with which optimiser: `gradient` makes one step that changes the weights by the gradient itself,
    `adam` one step of AdamW, and `resume` three steps of AdamW, of which a second engine repeats the last two from
    the checkpoint after the first. `scores` makes the scores of `SCORE_OPTIONS` and trains nothing.
    """

    run: Run
    model: str
    packed: bool
    split: Split = "several"
    entropy_source: Literal["old", "current"] = "old"

    def __str__(self) -> str:
        layout = "packed" if self.packed else "padded"
        return "-".join([self.run, self.model, layout, self.split, self.entropy_source])


# Every pair of Qwen model, packing and split is in a case of each kind.
GRADIENT_CASES = [
    Case("gradient", "qwen3", False, "one"),
    Case("gradient", "qwen3", True, "several"),
    Case("gradient", "qwen3", False, "dynamic"),
    Case("gradient", "qwen2", True, "one"),
    Case("gradient", "qwen2", False, "several"),
    Case("gradient", "qwen2", True, "dynamic"),
    Case("gradient", "llama", True, "several"),
    Case("gradient", "qwen3", True, "several", "current"),
    Case("gradient", "qwen2", False, "several", "current"),
]
ADAM_CASES = [Case("adam", "qwen3", True), Case("adam", "qwen2", False)]
RESUME_CASES = [Case("resume", "qwen3", False), Case("resume", "qwen2", True)]
SCORE_CASES = [
    Case("scores", "qwen3", True, "several"),
    Case("scores", "qwen3", False, "dynamic"),
    Case("scores", "llama", True, "several"),
    Case("scores", "qwen2", False, "several"),
    Case("scores", "qwen2", True, "dynamic"),
]
SCORE_OPTIONS = {
    "thr": dict(length_normalised=True, vocab="vstar", anchor_exclude_self=False),
    "nthr": dict(length_normalised=False, vocab="full", anchor_exclude_self=True),
}
CASES = sorted([*GRADIENT_CASES, *ADAM_CASES, *RESUME_CASES, *SCORE_CASES], key=lambda case: MODELS.index(case.model))


def runs(layout: str, case: Case) -> bool:
    """Whether a layout runs a case: Ulysses slices packed sequences only."""
    return LAYOUTS[layout].ulysses == 1 or case.packed


def layout_cases(engine: str, cases: list[Case]) -> list[tuple[str, Case]]:
    """The layouts whose names begin with `engine`, with the cases that they run."""
    return [(name, case) for name in LAYOUTS if name.startswith(engine) for case in cases if runs(name, case)]
