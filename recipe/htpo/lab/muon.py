# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""Muon in fp32 (Jordan 2024, https://kellerjordan.github.io/posts/muon/): momentum with orthogonalised updates.

``torch.optim.Muon`` orthogonalises in bf16, which CPUs without bf16 instructions run about twenty times slower than
fp32, and one matrix at a time. Here matrices of one shape are stacked, so that a step is a few batched products.
"""

from collections.abc import Iterable
from itertools import groupby

import torch

# Quintic Newton-Schulz coefficients of the reference: steep at zero, singular values end up within about 0.7..1.2.
COEFFICIENTS = (3.4445, -4.7750, 2.0315)


class Muon(torch.optim.Optimizer):
    """Muon for weight matrices; give biases, norms and embeddings to AdamW.

    The update is scaled by ``0.2 * sqrt(max(rows, columns))`` so that its root mean square is that of an AdamW update
    (Liu et al. 2025, arXiv 2502.16982): learning rates carry over between the two.

    Raises ValueError when a parameter is not a matrix.
    """

    def __init__(self, params: Iterable[torch.nn.Parameter], lr: float, momentum: float = 0.95):
        super().__init__(params, {"lr": lr, "momentum": momentum})
        for parameter in self.param_groups[0]["params"]:
            if parameter.ndim != 2:
                raise ValueError(f"Muon takes matrices only, got a parameter of shape {tuple(parameter.shape)}")

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        for group in self.param_groups:
            live = sorted((p for p in group["params"] if p.grad is not None), key=lambda p: p.shape)
            for shape, same_shape in groupby(live, key=lambda p: p.shape):
                matrices = list(same_shape)
                directions = torch.stack([self._direction(p, p.grad, group["momentum"]) for p in matrices])
                scale = -group["lr"] * 0.2 * max(shape) ** 0.5
                for parameter, update in zip(matrices, orthogonalise(directions), strict=True):
                    parameter.add_(update, alpha=scale)

    def _direction(self, parameter: torch.nn.Parameter, gradient: torch.Tensor, momentum: float) -> torch.Tensor:
        """Nesterov momentum of the gradient."""
        state = self.state[parameter]
        if not state:
            state["momentum_buffer"] = torch.zeros_like(parameter)
        buffer = state["momentum_buffer"].lerp_(gradient, 1 - momentum)
        return gradient.lerp(buffer, momentum)


def orthogonalise(matrices: torch.Tensor, steps: int = 5) -> torch.Tensor:
    """Nearest semi-orthogonal matrices, approximately: ``[N, R, C]`` fp32 in and out, by Newton-Schulz iterations."""
    a, b, c = COEFFICIENTS
    tall = matrices.size(-2) > matrices.size(-1)
    x = matrices.mT if tall else matrices
    x = x / x.norm(dim=(-2, -1), keepdim=True).clamp(min=1e-7)
    for _ in range(steps):
        gram = x @ x.mT
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x.mT if tall else x
