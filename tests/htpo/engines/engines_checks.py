# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""How near two computations of the same update have to be, in fp32."""

from collections.abc import Mapping

import pytest
import torch
from engines_batch import PROMPTS
from engines_cases import LAYOUTS, SCORE_OPTIONS, Case
from engines_launch import CaseResult
from engines_reference import Reference, Weights
from torch import Tensor

from recipe.htpo.seams.loss import SUMS_PREFIX

TOKEN_TOLERANCE = 1e-5  # log-probabilities and entropies, absolute
RELATIVE_TOLERANCE = 1e-5  # loss, group sums, gradient norm, gradients
SCORE_TOLERANCE = 1e-5  # THR and NTHR scores, of the batch's largest
WEIGHT_TOLERANCE = 2e-4  # weights after one step of AdamW at a learning rate of 1e-2


def check_gradient_case(layout: str, case: Case, result: CaseResult, reference: Reference) -> None:
    """Forward pass, groups, loss, sums and gradient of an engine are the reference's; its passes are progress."""
    assert all(rank["beats"] > 0 for rank in result.ranks)
    check_tokens(result.by_row("log_probs"), reference.log_probs)
    check_tokens(result.by_row("entropy"), reference.entropy)
    update = reference.update(case.entropy_source)
    groups = result.by_row("groups")
    assert len(groups) == len(reference.entropy)
    for row, code in groups.items():
        assert torch.equal(code, update.groups.encode()[row, : len(code)]), f"groups of response {row}"
    assert result.metrics["loss"] == pytest.approx(update.loss, rel=RELATIVE_TOLERANCE)
    assert result.metrics["grad_norm"] == pytest.approx(update.grad_norm, rel=RELATIVE_TOLERANCE)
    check_sums(group_sums(layout, result), update.sums)
    check_gradients(in_parameters(result.tensors("gradients"), reference), update.gradients)


def check_adam_case(layout: str, case: Case, result: CaseResult, reference: Reference) -> None:
    """The weights that the rollout gets after a step of AdamW are the reference's."""
    # torch's AdamW, under FSDP2, decays all weights; megatron-core leaves out norms and biases.
    expected = reference.adam_step(decay_vectors=LAYOUTS[layout].engine == "fsdp2")
    weights = in_parameters(result.tensors("weights"), reference)
    for name, tensor in expected.items():
        assert (weights[name] - tensor).abs().max() < WEIGHT_TOLERANCE, name


def check_resume_case(layout: str, case: Case, result: CaseResult, reference: Reference) -> None:
    """A second engine goes on from the checkpoint as the first one did, bit for bit."""
    for rank in result.ranks:
        expected, resumed = rank["uninterrupted"], rank["resumed"]
        assert torch.equal(expected["random"], resumed["random"])
        for step, (metrics, other) in enumerate(zip(expected["metrics"], resumed["metrics"], strict=True)):
            for name in metrics:
                if not name.startswith("perf/"):
                    assert metrics[name] == other[name], f"{name} in step {step}"
        for name, tensor in expected["weights"].items():
            assert torch.equal(tensor, resumed["weights"][name]), name
    first, second = [metrics for rank in result.ranks for metrics in rank["uninterrupted"]["metrics"] if metrics][:2]
    assert first["lr"] > second["lr"] > 0 and first["loss"] != second["loss"]


def check_scores_case(layout: str, case: Case, result: CaseResult, reference: Reference) -> None:
    """Scores and anchors are the double sum over pairs of tokens, and so is every choice that THR and NTHR make."""
    for name, options in SCORE_OPTIONS.items():
        scores, anchors = reference.scores(**options)
        scale = max(float(row.abs().max()) for row in scores)
        actual, actual_anchors = result.by_row(name), result.by_row(f"{name}_anchors")
        assert list(actual) == list(actual_anchors) == list(range(len(scores)))
        for row, expected in enumerate(scores):
            assert actual[row].dtype == torch.float32 and actual[row].shape == expected.shape
            assert (actual[row] - expected).abs().max() < SCORE_TOLERANCE * scale, f"{name} of response {row}"
            assert float(actual_anchors[row]) == pytest.approx(anchors[row], abs=SCORE_TOLERANCE * scale)
            assert torch.equal(actual[row].sign(), expected.sign())
        for prompt in (0, 1):
            rows = [row for row, number in enumerate(PROMPTS) if number == prompt]
            tau, expected_tau = (
                min(float(values[row]) for row in rows if row % 2 == 0) for values in (actual_anchors, anchors)
            )
            for row in rows:
                assert torch.equal(actual[row].abs() > tau, scores[row].abs() > expected_tau), f"tokens of {row} kept"
    check_margins(result.by_row("margins"), reference)


def check_margins(margins: Mapping[int, Tensor], reference: Reference) -> None:
    """Less the log-probability, a token's margin is its certainty, in every response that counts."""
    for row, (certainty, log_prob) in enumerate(zip(reference.certainty(), reference.log_probs, strict=True)):
        valid = (reference.batch["response_mask"][row] > 0) & (PROMPTS[row] >= 0)
        expected = torch.where(valid, certainty + log_prob, 0.0)
        assert (margins[row] - expected).abs().max() < TOKEN_TOLERANCE, f"margins of response {row}"


CHECKS = {
    "gradient": check_gradient_case,
    "adam": check_adam_case,
    "resume": check_resume_case,
    "scores": check_scores_case,
}


def check_tokens(actual: Mapping[int, Tensor], expected: list[Tensor]) -> None:
    assert list(actual) == list(range(len(expected)))
    for row, values in enumerate(expected):
        assert actual[row].shape == values.shape
        assert (actual[row] - values).abs().max() < TOKEN_TOLERANCE, f"response {row}"


def group_sums(layout: str, result: CaseResult) -> dict[str, float]:
    """Sums over all tokens of the batch: verl averages what data-parallel ranks report."""
    return {
        name.removeprefix(SUMS_PREFIX): value * LAYOUTS[layout].data_parallel
        for name, value in result.metrics.items()
        if name.startswith(SUMS_PREFIX)
    }


def check_sums(actual: Mapping[str, float], expected: Mapping[str, float]) -> None:
    """Equal to the tolerance times the sum, or, where terms cancel, times the number of tokens summed."""
    assert actual.keys() == expected.keys()
    for name, value in expected.items():
        tokens = expected[f"tokens/{name[-1]}"]
        assert actual[name] == pytest.approx(value, abs=RELATIVE_TOLERANCE * max(abs(value), tokens)), name


def check_gradients(actual: Weights, expected: Weights) -> None:
    """Equal within the tolerance as vectors: all of them together, and every tensor."""
    assert actual.keys() == expected.keys()
    for name, tensor in expected.items():
        difference = (actual[name] - tensor).double().norm() / tensor.double().norm()
        assert difference < RELATIVE_TOLERANCE, f"{name}: {difference:.1e}"


def in_parameters(exported: Weights, reference: Reference) -> Weights:
    """The exported tensors without the second name of a tied output layer."""
    parameters = {name for name, _ in reference.model.named_parameters()}
    extra = exported.keys() - parameters
    if extra:
        assert extra == {"lm_head.weight"} and reference.model.config.tie_word_embeddings
        assert torch.equal(exported["lm_head.weight"], exported["model.embed_tokens.weight"])
    return {name: exported[name] for name in exported.keys() & parameters}
