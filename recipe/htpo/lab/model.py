# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""The demo model and its tokenizer: a Qwen2 of 625,280 parameters that reads one token per byte.

The sizes are those that the whole CPU stack accepts: ``head_dim`` 64 is one of vLLM's CPU attention sizes, and
``vocab_size`` equals ``len(tokenizer)``, since a server masks the tail that a tokenizer does not name.
"""

import torch
from tokenizers.pre_tokenizers import ByteLevel
from transformers import GenerationConfig, PreTrainedTokenizerBase, Qwen2Config, Qwen2ForCausalLM, Qwen2Tokenizer

END_TOKEN = "<|endoftext|>"
PAD_TOKEN = "<|pad|>"
ROLE_TOKENS = ("<|system|>", "<|user|>", "<|assistant|>")
RESERVED_TOKENS = ("<|reserved_0|>", "<|reserved_1|>", "<|reserved_2|>")
MAX_POSITIONS = 512

CHAT_TEMPLATE = (
    "{% for message in messages %}{{ '<|' + message['role'] + '|>' + message['content'] }}"
    "{% if message['role'] == 'assistant' %}{{ '" + END_TOKEN + "' }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
)


def make_tokenizer() -> Qwen2Tokenizer:
    """Byte-level BPE without merges: 256 byte tokens and 8 special ones; every message costs one token for its role.

    transformers 5 loads any model of type ``qwen2`` with ``Qwen2Tokenizer``, so that is what this is. It composes
    characters (Unicode NFC) before it splits them into bytes; text in that form comes back exactly.
    """
    vocabulary = [*sorted(ByteLevel.alphabet()), END_TOKEN, PAD_TOKEN, *ROLE_TOKENS, *RESERVED_TOKENS]
    tokenizer = Qwen2Tokenizer(
        vocab={token: i for i, token in enumerate(vocabulary)},
        merges=[],
        eos_token=END_TOKEN,
        pad_token=PAD_TOKEN,
        extra_special_tokens=[*ROLE_TOKENS, *RESERVED_TOKENS],
        model_max_length=MAX_POSITIONS,
        padding_side="left",
    )
    tokenizer.chat_template = CHAT_TEMPLATE
    return tokenizer


def make_model(tokenizer: Qwen2Tokenizer, seed: int) -> Qwen2ForCausalLM:
    """A freshly initialised fp32 model; the same seed gives the same weights. Leaves the global generator alone."""
    config = Qwen2Config(
        vocab_size=len(tokenizer),
        hidden_size=128,
        intermediate_size=384,
        num_hidden_layers=3,
        num_attention_heads=2,
        num_key_value_heads=1,
        max_position_embeddings=MAX_POSITIONS,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        dtype="float32",
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = Qwen2ForCausalLM(config)
    model.generation_config = GenerationConfig(
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        do_sample=True,
        temperature=1.0,
        top_k=0,
    )
    return model


def prompt_ids(tokenizer: PreTrainedTokenizerBase, question: str) -> list[int]:
    """Token ids of the prompt for one question, up to and including the token that opens the answer."""
    messages = [{"role": "user", "content": question}]
    text = tokenizer.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)
    return tokenizer.encode(text)
