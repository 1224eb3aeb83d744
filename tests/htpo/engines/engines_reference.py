# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""What the engines are compared with: Hugging Face in fp32, the objective on the whole batch at once, autograd, AdamW.

Nothing of verl is used here.
"""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch
from engines_batch import CLIP, OBJECTIVE, PROMPTS, Batch, make_batch, padded, with_old_policy
from engines_cases import ADAM, TEMPERATURE
from torch import Tensor
from transformers import AutoModelForCausalLM

from recipe.htpo.objective import TokenGroups, group_sums, load_preset, partition, token_loss

Weights = dict[str, Tensor]


@dataclass
class Update:
    """One evaluation of the loss on the whole batch."""

    loss: float
    sums: dict[str, float]
    groups: TokenGroups
    gradients: Weights

    @cached_property
    def grad_norm(self) -> float:
        return torch.cat([gradient.flatten() for gradient in self.gradients.values()]).double().norm().item()


class Reference:
    """The model at `path`, and the batch whose old policy is this model."""

    def __init__(self, path: Path) -> None:
        self.model = AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32, attn_implementation="eager")
        batch = make_batch()
        with torch.no_grad():
            log_probs, entropy = self.forward(batch)
        self.log_probs = _unpadded(log_probs, batch)
        self.entropy = _unpadded(entropy, batch)
        self.batch = with_old_policy(batch, self.log_probs, self.entropy)

    def _logits(self, batch: Batch) -> Tensor:
        return self.model(
            input_ids=padded(batch["input_ids"]),
            attention_mask=padded([torch.ones_like(row) for row in batch["input_ids"]]),
            position_ids=padded(batch["position_ids"]),
        ).logits

    def forward(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Log-probability and entropy of the response tokens, `[B, T]`."""
        distribution = torch.log_softmax(self._logits(batch) / TEMPERATURE, dim=-1)
        rows = []
        for row, (prompt, response) in enumerate(zip(batch["prompts"], batch["responses"], strict=True)):
            # Position p predicts token p + 1.
            rows.append(distribution[row, len(prompt) - 1 : len(prompt) - 1 + len(response)])
        distribution = padded(rows)
        log_probs = distribution.gather(-1, padded(batch["responses"])[..., None])[..., 0]
        entropy = -(distribution.exp() * distribution).sum(-1)
        return log_probs, entropy

    @torch.no_grad()
    def scores(
        self, length_normalised: bool, vocab: str, anchor_exclude_self: bool
    ) -> tuple[list[Tensor], list[float]]:
        """Scores of all responses and their anchors (-1 where there is none), by the double sum over pairs of tokens in
        fp64; the arguments are those of `influence_scores`."""
        hidden = self.model.model(
            input_ids=padded(self.batch["input_ids"]),
            attention_mask=padded([torch.ones_like(row) for row in self.batch["input_ids"]]),
            position_ids=padded(self.batch["position_ids"]),
        ).last_hidden_state.double()
        scores = [torch.zeros(len(response), dtype=torch.float64) for response in self.batch["responses"]]
        anchors = [-1.0] * len(scores)
        for prompt in sorted(set(PROMPTS) - {-1}):
            rows = [row for row, number in enumerate(PROMPTS) if number == prompt]
            if len({bool(self.batch["correct"][row]) for row in rows}) < 2:
                continue
            valid = {row: self.batch["response_mask"][row].nonzero()[:, 0] for row in rows}
            start = {row: len(self.batch["prompts"][row]) - 1 for row in rows}
            h = torch.cat([hidden[row, start[row] + valid[row]] for row in rows])
            token = torch.cat([self.batch["responses"][row][valid[row]] for row in rows])
            owner = torch.cat([torch.full((len(valid[row]),), row) for row in rows])
            error = -(h @ self.model.lm_head.weight.double().T / TEMPERATURE).softmax(-1)
            error[torch.arange(len(token)), token] += 1
            if vocab == "vstar":
                error = error[:, token.unique()]
            pairs = (error @ error.T) * (h @ h.T)
            size = torch.tensor([len(valid[row]) for row in owner.tolist()])
            weight = 1 / size.double() if length_normalised else torch.ones(len(token), dtype=torch.float64)
            correct = torch.stack(self.batch["correct"])[owner]
            contribution = pairs * (weight * correct)[:, None]
            total = contribution.sum(0)
            for row in rows:
                scores[row][valid[row]] = total[owner == row]
                if self.batch["correct"][row]:
                    own = contribution[owner == row].sum(0) if anchor_exclude_self else 0
                    anchors[row] = float((total - own)[owner == row].mean())
        return scores, anchors

    @torch.no_grad()
    def certainty(self) -> list[Tensor]:
        """logsumexp(z) - mean(z) of the logits at every response token."""
        logits = self._logits(self.batch) / TEMPERATURE
        certainty = logits.logsumexp(-1) - logits.mean(-1)
        return [
            certainty[row, len(prompt) - 1 : len(prompt) - 1 + len(response)]
            for row, (prompt, response) in enumerate(zip(self.batch["prompts"], self.batch["responses"], strict=True))
        ]

    def update(self, entropy_source: str) -> Update:
        """Loss, group sums, groups and gradients of the current weights."""
        objective = load_preset("htpo_paper", OBJECTIVE | {"entropy_source": entropy_source})
        mask = padded(self.batch["response_mask"])
        log_probs, entropy = self.forward(self.batch)
        split_by = padded(self.batch["entropy"]) if entropy_source == "old" else entropy.detach()
        groups = partition(
            split_by, mask, torch.stack(self.batch["hard"]), torch.stack(self.batch["correct"]), objective
        )
        advantages = padded(self.batch["advantages"])
        output = token_loss(log_probs, padded(self.batch["old_log_probs"]), advantages, mask, groups, objective, **CLIP)
        loss = (output.loss * mask).sum() / mask.sum()
        self.model.zero_grad()
        loss.backward()
        sums = group_sums(output, entropy=split_by if entropy_source == "current" else None)
        gradients = {name: parameter.grad.clone() for name, parameter in self.model.named_parameters()}
        return Update(loss.item(), sums, groups, gradients)

    def adam_step(self, decay_vectors: bool) -> Weights:
        """Weights after the first step of AdamW from the model's own weights, which are kept.

        Args:
            decay_vectors: whether weight decay applies to norms and biases too.
        """
        before = {name: parameter.detach().clone() for name, parameter in self.model.named_parameters()}
        self.update("old")
        parameters = list(self.model.parameters())
        torch.nn.utils.clip_grad_norm_(parameters, ADAM["clip_grad"])
        matrices = [parameter for parameter in parameters if parameter.dim() > 1]
        vectors = [parameter for parameter in parameters if parameter.dim() == 1]
        decay = ADAM["weight_decay"]
        torch.optim.AdamW(
            [
                {"params": matrices, "weight_decay": decay},
                {"params": vectors, "weight_decay": decay if decay_vectors else 0.0},
            ],
            lr=ADAM["lr"],
        ).step()
        after = {name: parameter.detach().clone() for name, parameter in self.model.named_parameters()}
        with torch.no_grad():
            for name, parameter in self.model.named_parameters():
                parameter.copy_(before[name])
        return after


def _unpadded(values: Tensor, batch: Batch) -> list[Tensor]:
    return [row[: len(response)] for row, response in zip(values, batch["responses"], strict=True)]
