# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""Tiny fp32 models on disk: the properties of Qwen2.5, Qwen3 and Llama that an engine can get wrong."""

from pathlib import Path

import torch
from transformers import (
    GenerationConfig,
    LlamaConfig,
    LlamaForCausalLM,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
)

from recipe.htpo.lab.model import make_tokenizer

SIZES = dict(
    intermediate_size=160,
    num_attention_heads=4,
    num_key_value_heads=2,
    max_position_embeddings=128,
    bos_token_id=None,
    dtype="float32",
)


def write_model(name: str, directory: Path) -> None:
    """Write the model `qwen2`, `qwen3` or `llama` and its tokenizer.

    `qwen2` has tied embeddings and biases in the attention; `qwen3` has an output layer of its own, norms of queries
    and keys, and heads wider than hidden_size / heads; `llama` has neither biases nor those norms. All weights, also
    norms and biases, are random, and wide enough for the entropy to differ from token to token.
    """
    tokenizer = make_tokenizer()
    sizes = SIZES | dict(
        vocab_size=len(tokenizer), eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id
    )
    torch.manual_seed(len(name))
    if name == "qwen2":
        model = Qwen2ForCausalLM(Qwen2Config(hidden_size=128, num_hidden_layers=2, tie_word_embeddings=True, **sizes))
    elif name == "llama":
        model = LlamaForCausalLM(LlamaConfig(hidden_size=96, num_hidden_layers=2, tie_word_embeddings=False, **sizes))
    else:
        model = Qwen3ForCausalLM(
            Qwen3Config(hidden_size=96, head_dim=32, num_hidden_layers=4, tie_word_embeddings=False, **sizes)
        )
    with torch.no_grad():
        for parameter_name, parameter in model.named_parameters():
            centre = 1.0 if parameter_name.endswith("norm.weight") else 0.0
            parameter.normal_(centre, 0.1)
    model.generation_config = GenerationConfig(eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id)
    model.save_pretrained(directory)
    tokenizer.save_pretrained(directory)
