# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
import unicodedata

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, Qwen2Tokenizer

from recipe.htpo.lab.arithmetic import problems, worked_solution
from recipe.htpo.lab.model import CHAT_TEMPLATE, make_model, make_tokenizer, prompt_ids
from recipe.htpo.lab.task import TASKS


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    directory = tmp_path_factory.mktemp("model")
    tokenizer = make_tokenizer()
    make_model(tokenizer, seed=0).save_pretrained(directory)
    tokenizer.save_pretrained(directory)
    return directory


@pytest.fixture(scope="module")
def tokenizer(saved):
    """The tokenizer as every consumer gets it."""
    return AutoTokenizer.from_pretrained(saved)


def test_auto_tokenizer_loads_the_class_that_transformers_forces(tokenizer):
    assert type(tokenizer) is Qwen2Tokenizer
    assert len(tokenizer) == tokenizer.vocab_size == 264
    assert tokenizer.padding_side == "left"
    assert tokenizer.chat_template == CHAT_TEMPLATE


def test_one_token_per_byte_and_exact_round_trip(tokenizer):
    points = [chr(point) for point in range(0x500)]
    text = unicodedata.normalize("NFC", "".join(points)) + "3+4=7\n\n \n x\r\n\\boxed{7}  日本語 🙂 's"
    ids = tokenizer.encode(text)
    assert len(ids) == len(text.encode())
    assert tokenizer.decode(ids) == text


def test_every_byte_has_its_own_token(tokenizer):
    # One character per byte value: ASCII, then lead and continuation bytes of two-byte characters.
    ascii_ids = {tokenizer.encode(chr(byte))[0] for byte in range(128)}
    assert len(ascii_ids) == 128
    pairs = [tokenizer.encode(chr(point)) for point in (0x80, 0xBF, 0xC0, 0xFF)]
    assert all(len(pair) == 2 and not set(pair) & ascii_ids for pair in pairs)


def test_newline_is_one_token_wherever_it_stands(tokenizer):
    (newline,) = tokenizer.encode("\n")
    assert tokenizer.encode("7\n\n 7\n").count(newline) == 3


def test_special_tokens_are_single_and_survive_the_round_trip(tokenizer):
    assert tokenizer.encode("<|user|><|assistant|><|system|><|endoftext|><|pad|>") == [259, 260, 258, 256, 257]
    assert tokenizer.eos_token_id == 256 and tokenizer.pad_token_id == 257


def test_chat_template(tokenizer):
    chat = [{"role": "user", "content": "3+4"}, {"role": "assistant", "content": "\\boxed{7}"}]
    assert tokenizer.apply_chat_template(chat, tokenize=False) == "<|user|>3+4<|assistant|>\\boxed{7}<|endoftext|>"
    prompt = tokenizer.apply_chat_template(chat[:1], tokenize=False, add_generation_prompt=True)
    assert prompt == "<|user|>3+4<|assistant|>"
    assert prompt_ids(tokenizer, "3+4") == [259, *tokenizer.encode("3+4"), 260]


def test_the_longest_worked_solution_fits_the_response_limit(tokenizer):
    longest = max(len(tokenizer.encode(worked_solution(p))) for p in problems("train", 2000, seed=0, terms=(8,)))
    assert longest + 1 == TASKS["arithmetic"].max_response_tokens


def test_model_directory_loads_in_fp32_with_the_promised_shape(saved, tokenizer):
    model = AutoModelForCausalLM.from_pretrained(saved)
    assert sum(p.numel() for p in model.parameters()) == 625_280
    assert {p.dtype for p in model.parameters()} == {torch.float32}
    config = model.config
    assert config.model_type == "qwen2" and config.tie_word_embeddings
    assert config.vocab_size == len(tokenizer)
    assert config.hidden_size // config.num_attention_heads == 64
    assert model.generation_config.eos_token_id == config.eos_token_id == tokenizer.eos_token_id
    assert model.generation_config.pad_token_id == config.pad_token_id == tokenizer.pad_token_id
    assert (saved / "model.safetensors").is_file()


def test_weights_depend_on_the_seed_alone():
    tokenizer = make_tokenizer()
    state = torch.get_rng_state()
    first, again, other = (make_model(tokenizer, seed).state_dict() for seed in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["model.embed_tokens.weight"], other["model.embed_tokens.weight"])
