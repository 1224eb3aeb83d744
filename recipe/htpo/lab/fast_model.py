# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""The demo model's arithmetic without padding and without a framework's overhead: sampling and log-probabilities.

`FastModel` computes with the parameters of a Hugging Face Qwen2 module, so an optimiser of that module trains it.
Every dense layer sees each token once: a prompt is computed once for all of its responses, finished responses leave
the batch, and only attention works on padded rows.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import Qwen2ForCausalLM

COMPACT_BELOW = 0.8
"""Share of unfinished rows under which the finished ones are removed from the batch."""


@dataclass(frozen=True)
class Sample:
    """One sampled response. Lists have one entry per token, the end token included."""

    prompt: list[int]
    response: list[int]
    log_probs: Tensor
    """`[T]` fp32, of the sampled tokens under the sampling policy."""
    entropy: Tensor
    """`[T]` fp32, of the sampling policy, nats."""


class _Packed(NamedTuple):
    """Where the tokens of a group of responses stand, prompts stored once."""

    ids: Tensor
    """`[N]` tokens: every prompt, then its responses without their last tokens."""
    positions: Tensor
    """`[N]`, of each token in its sequence."""
    rows: Tensor
    """`[B, L]` indices into the N tokens: one padded row per response, prompt included. Padding comes last."""
    first: Tensor
    """`[N]` index of each token in the flattened rows, where it stands first."""
    predictors: Tensor
    """`[R]` index of the token that predicts each response token, in the order of responses."""
    targets: Tensor
    """`[R]` response tokens."""


Attend = Callable[[int, Tensor, Tensor], Tensor]
"""`attend(layer, queries_and_keys [N, H + K, D], values [N, K, D])` returns `[N, H * D]`."""


class FastModel:
    """Forward passes of a `Qwen2ForCausalLM` with full attention, in fp32 on the CPU."""

    def __init__(self, model: Qwen2ForCausalLM, end_id: int):
        config = model.config
        self.model = model
        self.heads, self.kv_heads = config.num_attention_heads, config.num_key_value_heads or config.num_attention_heads
        self.head_dim = config.hidden_size // self.heads
        self.eps = config.rms_norm_eps
        self.end = end_id
        positions = torch.arange(config.max_position_embeddings)[None]
        cos, sin = model.model.rotary_emb(model.model.embed_tokens.weight, positions)
        half = self.head_dim // 2
        self.cos, self.sin = cos[0, :, None, :half].contiguous(), sin[0, :, None, :half].contiguous()

    def log_probs(self, samples: Sequence[Sample]) -> tuple[Tensor, Tensor]:
        """Log-probabilities of all response tokens, in order, and entropies: both `[R]` fp32.

        Only the log-probabilities carry the gradient. Responses of one prompt must be neighbours to share it.
        """
        hidden, targets = self._predictors(samples)
        all_log_probs = self._logits(hidden).log_softmax(-1)
        with torch.no_grad():
            entropy = -(all_log_probs.exp() * all_log_probs).sum(-1)
        return -F.nll_loss(all_log_probs, targets, reduction="none"), entropy

    @torch.no_grad()
    def head_inputs(self, samples: Sequence[Sample]) -> tuple[Tensor, Tensor]:
        """What the LM head is given for all response tokens, in order, `[R, hidden]` fp32, and the tokens `[R]`."""
        hidden, targets = self._predictors(samples)
        return self._norm(hidden, self.model.model.norm), targets

    def _predictors(self, samples: Sequence[Sample]) -> tuple[Tensor, Tensor]:
        """Hidden states that predict the response tokens, before the last norm, and these tokens."""
        packed = _pack(samples)
        rows = packed.rows.shape

        def attend(_: int, heads: Tensor, values: Tensor) -> Tensor:
            padded = F.embedding(packed.rows, torch.cat([heads, values], 1).flatten(1))
            padded = padded.view(*rows, -1, self.head_dim).transpose(1, 2)
            query, key, value = padded.split([self.heads, self.kv_heads, self.kv_heads], 1)
            out = F.scaled_dot_product_attention(query, key, value, is_causal=True, enable_gqa=True)
            return F.embedding(packed.first, out.transpose(1, 2).reshape(rows.numel(), -1))

        hidden = self._body(packed.ids, packed.positions, attend)
        return F.embedding(packed.predictors, hidden), packed.targets

    @torch.no_grad()
    def generate(
        self, prompts: Sequence[list[int]], n: int, max_tokens: int, generator: torch.Generator, batch: int = 512
    ) -> list[list[Sample]]:
        """`n` responses per prompt at temperature 1, of at most `max_tokens` tokens; about `batch` rows at a time."""
        order = sorted(range(len(prompts)), key=lambda i: len(prompts[i]))
        per_batch = max(1, batch // n)
        samples: list[list[Sample]] = [[] for _ in prompts]
        for start in range(0, len(order), per_batch):
            chosen = order[start : start + per_batch]
            part = self._generate([prompts[i] for i in chosen], n, max_tokens, generator)
            for i, prompt_samples in zip(chosen, part, strict=True):
                samples[i] = prompt_samples
        return samples

    def _generate(
        self, prompts: list[list[int]], n: int, max_tokens: int, generator: torch.Generator
    ) -> list[list[Sample]]:
        width = max(map(len, prompts))
        ids = torch.tensor([[self.end] * (width - len(prompt)) + prompt for prompt in prompts])
        padding = torch.tensor([width - len(prompt) for prompt in prompts])
        columns = torch.arange(width)
        real = columns >= padding[:, None]
        # A padding token sees itself, so that no row of the mask is empty.
        mask = real[:, None, None] & columns.le(columns[:, None]) | torch.eye(width, dtype=torch.bool)
        layers = self.model.config.num_hidden_layers
        keys, values = ([torch.empty(0)] * layers for _ in range(2))

        def prefill(layer: int, heads: Tensor, value: Tensor) -> Tensor:
            padded = torch.cat([heads, value], 1).view(*ids.shape, -1, self.head_dim).transpose(1, 2)
            query, key, value = padded.split([self.heads, self.kv_heads, self.kv_heads], 1)
            shape = (len(prompts) * n, self.kv_heads, width + max_tokens, self.head_dim)
            for cache, new in ((keys, key), (values, value)):
                cache[layer] = torch.empty(shape)
                cache[layer][:, :, :width] = new.repeat_interleave(n, 0)
            out = F.scaled_dot_product_attention(query, key, value, mask, enable_gqa=True)
            return out.transpose(1, 2).reshape(ids.numel(), -1)

        positions = (columns - padding[:, None]).clamp(min=0)
        hidden = self._body(ids.flatten(), positions.flatten(), prefill).view(*ids.shape, -1)[:, -1]
        logits = self._logits(hidden).repeat_interleave(n, 0)
        bias = torch.zeros(len(real), 1, 1, width + max_tokens)
        bias[..., :width].masked_fill_(~real[:, None, None], -torch.inf)
        bias, padding = bias.repeat_interleave(n, 0), padding.repeat_interleave(n, 0)
        scale = self.head_dim**-0.5

        tokens = torch.full((len(logits), max_tokens), self.end)
        log_probs, entropy = torch.zeros(tokens.shape), torch.zeros(tokens.shape)
        lengths = torch.full((len(tokens),), max_tokens)
        alive = torch.arange(len(tokens))
        running = torch.ones(len(tokens), dtype=torch.bool)
        for step in range(max_tokens):
            all_log_probs = logits.log_softmax(-1)
            probs = all_log_probs.exp()
            # Inverse transform sampling; rounding can place the draw beyond the last token.
            cumulative = probs.cumsum(-1)
            draw = torch.rand(len(probs), 1, generator=generator) * cumulative[:, -1:]
            drawn = torch.searchsorted(cumulative, draw, right=True).clamp_(max=probs.shape[1] - 1)
            tokens[alive, step] = drawn[:, 0]
            log_probs[alive, step] = all_log_probs.gather(1, drawn)[:, 0]
            entropy[alive, step] = -(probs * all_log_probs).sum(-1)
            ended = (drawn[:, 0] == self.end) & running
            lengths[alive[ended]] = step + 1
            running &= ~ended
            count = int(running.sum())
            if count == 0 or step + 1 == max_tokens:
                break
            if count < COMPACT_BELOW * len(alive):
                keep = running.nonzero()[:, 0]
                for layer in range(layers):
                    keys[layer], values[layer] = keys[layer][keep], values[layer][keep]
                alive, drawn, running = alive[keep], drawn[keep], running[keep]
                bias, padding = bias[keep], padding[keep]
            end = width + step + 1

            def decode(layer: int, heads: Tensor, value: Tensor, end: int = end, bias: Tensor = bias) -> Tensor:
                query, key = heads.split([self.heads, self.kv_heads], 1)
                keys[layer][:, :, end - 1] = key
                values[layer][:, :, end - 1] = value
                query = query.reshape(len(query), self.kv_heads, -1, self.head_dim) * scale
                weights = (query @ keys[layer][:, :, :end].mT + bias[..., :end]).softmax(-1)
                return (weights @ values[layer][:, :, :end]).flatten(1)

            logits = self._logits(self._body(drawn[:, 0], end - 1 - padding, decode))
        samples = []
        for row, length in enumerate(lengths.tolist()):
            response = tokens[row, :length].tolist()
            samples.append(Sample(prompts[row // n], response, log_probs[row, :length], entropy[row, :length]))
        return [samples[start : start + n] for start in range(0, len(samples), n)]

    def _body(self, ids: Tensor, positions: Tensor, attend: Attend) -> Tensor:
        """`[N]` tokens in, `[N, hidden]` out, before the last norm."""
        x = F.embedding(ids, self.model.model.embed_tokens.weight)
        cos, sin = self.cos[positions], self.sin[positions]
        rotated = self.heads + self.kv_heads
        for index, layer in enumerate(self.model.model.layers):
            attention, mlp = layer.self_attn, layer.mlp
            projections = (attention.q_proj, attention.k_proj, attention.v_proj)
            weight = torch.cat([projection.weight for projection in projections])
            bias = torch.cat([projection.bias for projection in projections])
            heads = F.linear(self._norm(x, layer.input_layernorm), weight, bias).view(len(x), -1, self.head_dim)
            left, right = heads[:, :rotated].chunk(2, -1)
            turned = torch.cat([left * cos - right * sin, right * cos + left * sin], -1)
            x = x + attention.o_proj(attend(index, turned, heads[:, rotated:]))
            normed = self._norm(x, layer.post_attention_layernorm)
            x = x + mlp.down_proj(F.silu(mlp.gate_proj(normed)) * mlp.up_proj(normed))
        return x

    def _logits(self, hidden: Tensor) -> Tensor:
        return self.model.lm_head(self._norm(hidden, self.model.model.norm))

    def _norm(self, x: Tensor, norm: Any) -> Tensor:
        return F.rms_norm(x, (x.shape[-1],), norm.weight, self.eps)


def _pack(samples: Sequence[Sample]) -> _Packed:
    ids: list[int] = []
    positions: list[int] = []
    rows: list[list[int]] = []
    first: list[int] = []
    predictors: list[int] = []
    width = max(len(sample.prompt) + len(sample.response) for sample in samples) - 1
    prompt, start = None, 0
    for row, sample in enumerate(samples):
        length = len(sample.prompt)
        if sample.prompt != prompt:
            prompt, start = sample.prompt, len(ids)
            ids += prompt
            positions += range(length)
            first += range(row * width, row * width + length)
        own = len(ids)
        tail = len(sample.response) - 1
        ids += sample.response[:-1]
        positions += range(length, length + tail)
        first += range(row * width + length, row * width + length + tail)
        predictors += [start + length - 1, *range(own, own + tail)]
        rows.append([*range(start, start + length), *range(own, own + tail)])
    padded = [row + [0] * (width - len(row)) for row in rows]
    targets = [token for sample in samples for token in sample.response]
    return _Packed(*(torch.tensor(part) for part in (ids, positions, padded, first, predictors, targets)))
