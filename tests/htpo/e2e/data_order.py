# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""The prompts of each step, from the data and its seed alone."""

from collections.abc import Iterator, Sequence

from recipe.htpo.config import compose


def data_order(overrides: Sequence[str], steps: int) -> Iterator[set[str]]:
    """The prompts, as text, of step 1 to `steps`: verl's data set under its sampler.

    Without the loader that keeps its position in a checkpoint: that is what is compared with it.
    """
    from training_process import SMALL
    from verl.trainer.ppo.utils import create_rl_dataset, create_rl_sampler
    from verl.utils import hf_tokenizer

    config = compose(["platform=cpu", *SMALL, *overrides])
    batch_size = config.data.train_batch_size
    tokenizer = hf_tokenizer(config.actor_rollout_ref.model.path)
    rows = create_rl_dataset(config.data.train_files, config.data, tokenizer, None, True, config.data.train_max_samples)

    def text(index: int) -> str:
        tokens = tokenizer.apply_chat_template(
            list(rows[index]["raw_prompt"]), add_generation_prompt=True, tokenize=True, return_dict=False
        )
        return tokenizer.decode(tokens, skip_special_tokens=True)

    sampler = create_rl_sampler(config.data, rows)
    given = 0
    while given < steps:
        order = list(iter(sampler))
        for first in range(0, len(order) - batch_size + 1, batch_size):
            given += 1
            yield {text(index) for index in order[first : first + batch_size]}
