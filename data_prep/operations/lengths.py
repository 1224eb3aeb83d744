# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""Prompt lengths in tokens, counted as verl counts them: chat template applied, generation prompt added."""

from typing import Any

from data_prep.errors import DataError


def load_tokenizer(name: str) -> Any:
    """A tokenizer by name or folder; raises DataError when it cannot be had or has no chat template."""
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(name)
    except (OSError, ValueError) as error:
        raise DataError(
            f"cannot load tokenizer {name!r}: {str(error).splitlines()[0]}", remedy="give the model's folder"
        ) from error
    if tokenizer.chat_template is None:
        raise DataError(f"tokenizer {name!r} has no chat template", remedy="use the one of the model that is trained")
    return tokenizer


def prompt_lengths(tokenizer: Any, prompts: list[list[dict[str, str]]]) -> list[int]:
    """Number of tokens of each prompt."""
    if not prompts:
        return []
    texts = tokenizer.apply_chat_template(prompts, add_generation_prompt=True, tokenize=False)
    return [len(ids) for ids in tokenizer(texts, add_special_tokens=False)["input_ids"]]
