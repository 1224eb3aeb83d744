# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""The token dump: its file, its cost, and that training writes what it computed."""

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from recipe.htpo.inspect.dump import FIRED, DumpConfig, Response, fired, read_dump, token_texts, write_step
from recipe.htpo.lab.model import make_tokenizer
from recipe.htpo.objective.loss import STATE_BITS


@pytest.mark.parametrize(
    "mapping, message",
    [
        ({"steps": [0]}, "steps must be a list of steps from 1, got \\[0\\]"),
        ({"steps": [1.5]}, "steps must be a list of steps from 1"),
        ({"steps": [True]}, "steps must be a list of steps from 1"),
        ({"steps": "all"}, "steps must be a list such as \\[1, 10\\], got 'all'"),
        ({"steps": 3}, "steps must be a list such as \\[1, 10\\], got 3"),
        ({"steps": [1], "prompts": 0}, "prompts must be at least 1, or null for all, got 0"),
        ({"steps": [1], "promts": 4}, "must be a mapping with the keys steps, prompts; got"),
        ([1, 2], "must be a mapping with the keys steps, prompts; got"),
    ],
)
def test_a_wrong_configuration_names_the_field_and_the_valid_values(mapping, message):
    with pytest.raises(ValueError, match=f"htpo.dump_tokens.*{message}|htpo.dump_tokens {message}"):
        DumpConfig.from_mapping(mapping)


def test_chosen_prompts_are_spread_over_the_pass_rates():
    config = DumpConfig(steps=(1,), prompts=3)
    rates = torch.tensor([0.5, 0.0, 0.9, 0.1, 0.2, 1.0, 0.6], dtype=torch.float64)
    present = torch.ones(7, dtype=torch.bool)
    assert config.choose(rates, present) == [0, 1, 5]
    present[5] = False
    assert config.choose(rates, present) == [1, 2, 4]
    assert DumpConfig(steps=(1,), prompts=None).choose(rates, present) == [0, 1, 2, 3, 4, 6]
    assert DumpConfig(steps=(1,), prompts=1).choose(rates, present) == [1]


def test_what_fired():
    bits = STATE_BITS
    states = {
        0: -1,
        2 + bits["alive"]: 0,
        2 + bits["above"] + bits["positive"]: 1,
        # Above the range, but the gradient leads back into it.
        2 + bits["above"] + bits["negative"] + bits["alive"]: 0,
        4 + bits["below"] + bits["negative"]: 1,
        4 + bits["over_cap"] + bits["above"] + bits["negative"]: 1,
        4 + bits["below"] + bits["negative"] + bits["replaced"] + bits["alive"]: 2,
        1 + 16: 3,
        6 + 32 + bits["above"] + bits["positive"]: 3,
    }
    assert fired(np.array(list(states), dtype=np.int16)).tolist() == list(states.values())


class Pieces:
    """A tokenizer with one byte a token."""

    def decode(self, ids):
        return bytes(ids).decode(errors="replace")

    def convert_ids_to_tokens(self, token):
        return str(token)


def test_a_character_of_several_tokens_stands_at_the_first():
    ids = [*"a é".encode(), 0xFF, *"數".encode()]
    texts = token_texts(Pieces(), ids)
    assert texts == ["a", " ", "é", "", "\ufffd", "數", "", ""]


def columns(length: int, random: np.random.Generator) -> dict[str, np.ndarray]:
    # A response's tokens belong to a low- and a high-entropy group; most are alive and inside the range.
    state = np.where(random.random(length) < 0.2, 4, 3) + STATE_BITS["alive"] + STATE_BITS["negative"]
    log_prob = -random.exponential(0.3, length)
    old = log_prob + 0.1 * random.standard_normal(length)
    values = {
        "entropy": random.exponential(0.3, length),
        "old_log_prob": old,
        "log_prob": log_prob,
        "ratio": np.exp(log_prob - old),
        "advantage": np.full(length, -0.7),
        "loss": 0.7 * np.exp(log_prob - old),
    }
    return {"state": state.astype(np.int16)} | {name: value.astype(np.float32) for name, value in values.items()}


def response(row: int, ids, **facts) -> Response:
    values = {"uid": f"u{row // 4}", "prompt": "1+1", "source": "a", "correct": False, "hard": True, "pass_rate": 0.25}
    return Response(response=row, token_ids=ids, **{**values, **facts})


def test_a_file_is_read_as_it_was_written(tmp_path):
    random = np.random.default_rng(0)
    tokenizer = make_tokenizer()
    ids = [tokenizer.encode("1+2=3\n\\boxed{3}"), tokenizer.encode("\\boxed{5}")]
    rows = [response(0, ids[0], correct=True), response(5, ids[1]), response(5, ids[1])]
    written = [columns(len(row.token_ids), random) for row in rows]
    path = write_step(tmp_path, 12, rows, written, tokenizer, {"responses": 6, "objective": {}})
    (dump,) = read_dump(tmp_path)
    assert dump.path == path == tmp_path / "tokens" / "step_000012.parquet"
    assert dump.step == 12 and not dump.is_whole
    assert dump.lengths.tolist() == [len(row.token_ids) for row in rows]
    for name in written[0]:
        assert np.array_equal(dump.flat(name), np.concatenate([row[name] for row in written])), name
    table = dump.table
    assert table["epoch"].to_pylist() == [1, 1, 2]
    assert ["".join(texts) for texts in table["token_text"].to_pylist()][0] == "1+2=3\n\\boxed{3}"
    assert set(np.unique(dump.flat("fired"))) <= {*FIRED, "outside"}
    assert np.array_equal(dump.flat("group"), dump.flat("state") & 15)
    assert not list(tmp_path.rglob("*.tmp"))


def test_columns_of_another_length_are_refused(tmp_path):
    ids = [1, 2, 3]
    with pytest.raises(ValueError, match="response 7 of step 1: 3 tokens, but 2 state"):
        write_step(tmp_path, 1, [response(7, ids)], [columns(2, np.random.default_rng(0))], make_tokenizer(), {})


def test_the_cost_on_disk(tmp_path):
    """docs and configuration say 35 bytes a token."""
    random = np.random.default_rng(0)
    tokenizer = make_tokenizer()
    rows = [response(row, random.integers(0, len(tokenizer), 2000).tolist()) for row in range(16)]
    path = write_step(tmp_path, 1, rows, [columns(2000, random) for _ in rows], tokenizer, {"responses": 16})
    assert path.stat().st_size < 35 * 16 * 2000


@pytest.mark.parametrize(
    "damage, message",
    [
        (lambda path: path.unlink(), "has no token dump: train with `htpo.dump_tokens.steps="),
        (lambda path: path.write_bytes(path.read_bytes()[:-9]), "step_000001.parquet is not a token dump"),
        (
            lambda path: pq.write_table(pq.read_table(path).drop_columns(["state", "ratio"]), path),
            "step_000001.parquet lacks the columns state, ratio; delete it, or train that step again",
        ),
        (
            lambda path: pq.write_table(
                pq.read_table(path).drop_columns(["uid", "source", "pass_rate", "token_id"]), path
            ),
            "step_000001.parquet lacks the columns uid, source, pass_rate, token_id; delete it",
        ),
        (
            lambda path: pq.write_table(pq.read_table(path).replace_schema_metadata({"htpo": "{}"}), path),
            "step_000001.parquet is not a token dump .it does not say how many responses",
        ),
        (lambda path: pq.write_table(pq.read_table(path)[:0], path), "step_000001.parquet has no rows"),
        (
            lambda path: pq.write_table(pq.read_table(path).replace_schema_metadata(None), path),
            "step_000001.parquet is not a token dump",
        ),
    ],
)
def test_a_bad_dump_is_named_with_the_remedy(tmp_path, damage, message):
    row = columns(3, np.random.default_rng(0))
    damage(write_step(tmp_path, 1, [response(0, [1, 2, 3])], [row], make_tokenizer(), {"responses": 1}))
    with pytest.raises(ValueError, match=message):
        read_dump(tmp_path)
