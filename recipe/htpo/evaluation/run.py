# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""One evaluation: prompts, samples, verdicts, one file; goes on where it was killed."""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tqdm import tqdm
from transformers import PretrainedConfig

from data_prep.storage.files import sha256_of
from recipe.htpo.evaluation.engine import Request, Sample, generate_chunks
from recipe.htpo.evaluation.models import identity, load, model_directory
from recipe.htpo.evaluation.prompts import Prompt, read_prompts, read_template, token_ids
from recipe.htpo.evaluation.settings import EvalSettings, SettingsError
from recipe.htpo.evaluation.store import JOURNAL_FILE, RESPONSES_FILE, open_journal, require_same, write_responses
from recipe.htpo.reward import compute_score


def evaluate(settings: EvalSettings) -> Path:
    """Sample every prompt, judge, write `OUT/responses.parquet`; returns its path, at once where it is there.

    Raises SettingsError for settings that do not fit model or data, or the evaluation that OUT holds.
    """
    prompts = read_prompts(settings)
    directory = model_directory(settings.model, settings.directory)
    record = _record(settings, directory)
    path = settings.directory / RESPONSES_FILE
    if path.exists():
        require_same(path, record)
        return path
    tokenizer, config = load(settings.model, directory)
    ids = token_ids(prompts, tokenizer, settings)
    length = _max_model_len(config, settings, prompts, ids)
    requests = [Request(tokens, prompt.seed(settings.seed)) for prompt, tokens in zip(prompts, ids, strict=True)]
    starts = range(0, len(prompts), settings.chunk)
    with open_journal(settings.directory, record) as journal:
        missing = {
            number: requests[start : start + settings.chunk]
            for number, start in enumerate(starts)
            if number not in journal.chunks
        }
        done = len(prompts) - sum(map(len, missing.values()))
        with tqdm(total=len(prompts), initial=done, unit="prompt", desc=settings.directory.name) as progress:
            for number, samples in generate_chunks(directory, settings, length, missing):
                start = starts[number]
                rows = [
                    row
                    for prompt, of_prompt in zip(prompts[start : start + settings.chunk], samples, strict=True)
                    for row in _judge(prompt, of_prompt, settings)
                ]
                journal.add(number, rows)
                progress.update(len(samples))
        rows = [row for number in range(len(starts)) for row in journal.chunks[number]]
        path = write_responses(settings.directory, rows, record)
    (settings.directory / JOURNAL_FILE).unlink()
    return path


def _record(settings: EvalSettings, directory: str) -> dict[str, Any]:
    """What decides the responses and verdicts; `directory` is the model's."""
    record = {
        "settings": settings.record(),
        "model": identity(directory),
        "data": [{"file": Path(name).name, "sha256": sha256_of(Path(name))} for name in settings.data],
    }
    if (template := read_template(settings)) is not None:
        record["chat_template"] = {"digest": hashlib.blake2b(template.encode(), digest_size=16).hexdigest()}
    return record


def _judge(prompt: Prompt, samples: Sequence[Sample], settings: EvalSettings) -> list[dict[str, Any]]:
    """Rows of one prompt."""
    rows = []
    for number, sample in enumerate(samples):
        verdict = compute_score(
            prompt.data_source, sample.text, prompt.ground_truth, prompt.extra_info, **settings.reward
        )
        rows.append(
            {
                "data_source": prompt.data_source,
                "id": prompt.id,
                "index": prompt.index,
                "problem": prompt.problem,
                "sample": number,
                "response": sample.text,
                "response_tokens": sample.tokens,
                "finish_reason": sample.finish_reason,
                "ground_truth": prompt.ground_truth,
                **{name: verdict[name] for name in ("acc", "score", "pred", "reason")},
            }
        )
    return rows


def _max_model_len(
    config: PretrainedConfig, settings: EvalSettings, prompts: Sequence[Prompt], ids: list[list[int]]
) -> int:
    """Tokens of the longest prompt and a response; raises SettingsError where the model has no room for them."""
    longest = max(range(len(ids)), key=lambda i: len(ids[i]))
    wanted = len(ids[longest]) + settings.max_tokens
    room = getattr(config.get_text_config(), "max_position_embeddings", None)
    if room is not None and wanted > room:
        raise SettingsError(
            "max_tokens",
            f"prompt {prompts[longest].id} has {len(ids[longest])} tokens, and the model has room for {room} in all",
            f"set max_tokens={room - len(ids[longest])} or less"
            if len(ids[longest]) < room
            else "leave out long prompts: `data_prep select --max-prompt-length`",
        )
    return wanted
