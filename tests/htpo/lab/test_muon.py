# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
import pytest
import torch

from recipe.htpo.lab.muon import Muon, orthogonalise


@pytest.mark.parametrize("shape", [(16, 16), (16, 48), (48, 16)])
def test_orthogonalised_matrices_keep_their_singular_vectors_and_lose_their_scale(shape):
    generator = torch.Generator().manual_seed(0)
    matrices = torch.randn(3, *shape, generator=generator)
    result = orthogonalise(matrices)
    assert result.shape == matrices.shape
    singular = torch.linalg.svdvals(result)
    assert singular.min() > 0.5 and singular.max() < 1.3
    left, _, right = torch.linalg.svd(matrices, full_matrices=False)
    rotated = left.mT @ result @ right.mT
    assert torch.allclose(rotated, torch.diag_embed(rotated.diagonal(dim1=-2, dim2=-1)), atol=1e-4)


def test_follows_torch_muon_up_to_its_bf16():
    generator = torch.Generator().manual_seed(0)
    start = [torch.randn(shape, generator=generator) for shape in ((8, 24), (24, 8), (8, 24))]
    ours = [torch.nn.Parameter(matrix.clone()) for matrix in start]
    theirs = [torch.nn.Parameter(matrix.clone()) for matrix in start]
    settings = dict(weight_decay=0.0, adjust_lr_fn="match_rms_adamw")
    optimizers = [Muon(ours, lr=0.1), torch.optim.Muon(theirs, lr=0.1, **settings)]
    for _ in range(3):
        for parameters, optimizer in zip((ours, theirs), optimizers, strict=True):
            optimizer.zero_grad()
            sum((parameter**3).sum() for parameter in parameters).backward()
            optimizer.step()
    for mine, reference, before in zip(ours, theirs, start, strict=True):
        moved = (reference - before).norm()
        assert moved > 0.5
        assert (mine - reference).norm() < 0.05 * moved


def test_parameters_without_gradient_stay_and_zero_gradients_are_legal():
    idle, zero = torch.nn.Parameter(torch.ones(2, 3)), torch.nn.Parameter(torch.ones(2, 3))
    zero.grad = torch.zeros(2, 3)
    Muon([idle, zero], lr=1.0).step()
    assert torch.equal(idle, torch.ones(2, 3)) and torch.equal(zero, torch.ones(2, 3))


def test_takes_matrices_only():
    with pytest.raises(ValueError, match="matrices only"):
        Muon([torch.nn.Parameter(torch.zeros(3))], lr=1.0)
