# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""The token dump: one parquet file a step, `RUN_DIR/tokens/step_NNNNNN.parquet`, one row per response and epoch.

A row has the facts of a response and one list per token quantity. It costs about 35 bytes a token on disk
(`tests/htpo/inspect/test_dump.py` bounds it), and one copy of the chosen rows from the device per micro-batch.
"""

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from recipe.htpo.objective import TokenLossOutput

TOKENS_DIR = "tokens"

FIRED = ("kept", "clipped", "replaced", "detached")
"""What happened to a token's term: PPO's with its gradient, PPO's without (its clip or its dual clip was active), the
one of the group's rule, or none."""

# Token quantities that a training process knows, beside the token itself.
MEASURED = {
    "state": pa.int16(),
    "entropy": pa.float32(),
    "old_log_prob": pa.float32(),
    "log_prob": pa.float32(),
    "ratio": pa.float32(),
    "advantage": pa.float32(),
    "loss": pa.float32(),
}
# Those that only some runs have.
OPTIONAL = {"weight": pa.float32(), "thr": pa.float32()}

_OUTSIDE = "outside"


@dataclass(frozen=True, kw_only=True)
class DumpConfig:
    """`htpo.dump_tokens`: which tokens are written. Off without steps."""

    steps: tuple[int, ...] = ()
    """Training steps, from 1."""

    prompts: int | None = 4
    """Prompts of a step, spread over its pass rates, with all their responses; None is all of the step."""

    def __post_init__(self) -> None:
        if not all(_is_count(step) for step in self.steps):
            raise ValueError(f"htpo.dump_tokens.steps must be a list of steps from 1, got {list(self.steps)}")
        if self.prompts is not None and not _is_count(self.prompts):
            raise ValueError(f"htpo.dump_tokens.prompts must be at least 1, or null for all, got {self.prompts!r}")

    @classmethod
    def from_mapping(cls, mapping: Any) -> "DumpConfig":
        """From a resolved `htpo.dump_tokens` node.

        Raises:
            ValueError: naming the field, the bad value and the valid ones.
        """
        valid = ("steps", "prompts")
        if not isinstance(mapping, Mapping) or (set(mapping) - set(valid)):
            raise ValueError(f"htpo.dump_tokens must be a mapping with the keys {', '.join(valid)}; got {mapping!r}")
        steps = mapping.get("steps") or ()
        if isinstance(steps, str) or not isinstance(steps, Sequence):
            raise ValueError(f"htpo.dump_tokens.steps must be a list such as [1, 10], got {steps!r}")
        return cls(steps=tuple(steps), prompts=mapping.get("prompts", cls.prompts))

    def choose(self, pass_rate: Tensor, present: Tensor) -> list[int]:
        """Indices of the prompts to write: of those present, evenly over the order of their pass rates.

        Args:
            pass_rate: `[P]` floating.
            present: `[P]` bool.
        """
        order = [i for i in torch.argsort(pass_rate, stable=True).tolist() if present[i]]
        if self.prompts is None or self.prompts >= len(order):
            return sorted(order)
        places = torch.linspace(0, len(order) - 1, self.prompts, dtype=torch.float64).round().long()
        return sorted(order[place] for place in places.tolist())


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1


@dataclass(frozen=True)
class Response:
    """Facts of one response."""

    response: int
    """Its number in the step's batch."""
    uid: str
    """Its prompt's."""
    prompt: str
    source: str
    correct: bool
    hard: bool
    pass_rate: float
    """Of its prompt."""
    token_ids: Sequence[int]


def measured(
    output: TokenLossOutput,
    log_prob: Tensor,
    old_log_prob: Tensor,
    advantages: Tensor,
    entropy: Tensor | None,
    base_advantages: Tensor | None = None,
    thr: Tensor | None = None,
) -> dict[str, NDArray[Any]]:
    """The columns of `MEASURED` and `OPTIONAL` for packed tokens `[T_total]`, on the host; NaN where not known.

    `base_advantages` are those that an advantage transform weighed; the weight of a token without one is 1.
    """
    weight = None
    if base_advantages is not None:
        weight = torch.where(base_advantages == 0, 1.0, advantages / base_advantages)
    columns = {
        "state": output.state,
        "entropy": torch.full_like(output.ratio, torch.nan) if entropy is None else entropy,
        "old_log_prob": old_log_prob,
        "log_prob": log_prob,
        "ratio": output.ratio,
        "advantage": advantages,
        "loss": output.loss,
    } | {name: values for name, values in (("weight", weight), ("thr", thr)) if values is not None}
    # As one tensor of fp32, which holds every state exactly: a single copy from the device.
    table = torch.stack([values.detach().float() for values in columns.values()]).cpu()
    types = MEASURED | OPTIONAL
    return {
        name: values.numpy().astype(types[name].to_pandas_dtype()) for name, values in zip(columns, table, strict=True)
    }


def fired(state: NDArray[np.int16]) -> NDArray[np.int8]:
    """Index into `FIRED` of every token with this `TokenLossOutput.state`; -1 outside the response mask."""
    tokens = torch.from_numpy(np.ascontiguousarray(state))
    output = TokenLossOutput(loss=tokens, log_ratio=tokens, ratio=tokens, state=tokens)
    index = torch.where(output.ppo_clip | output.ppo_clip_lower, 1, 0)
    index = torch.where(output.replaced, 2, index)
    index = torch.where(output.detached, 3, index)
    return torch.where((tokens & 15) > 0, index, -1).to(torch.int8).numpy()


def write_step(
    run_dir: str | Path,
    step: int,
    responses: Sequence[Response],
    columns: Sequence[Mapping[str, NDArray[Any]]],
    tokenizer: PreTrainedTokenizerBase,
    facts: Mapping[str, Any],
) -> Path:
    """Write the file of a step (complete or not at all); one that is there is replaced.

    Args:
        responses: one per row; a response that was trained on in several epochs comes once for each.
        columns: the `measured` columns of each row, `[T]`.
        facts: of the whole step and run, JSON-able: `responses` (how many the step had), `objective`, ...
    """
    lengths = [len(row.token_ids) for row in responses]
    for row, measured_row, length in zip(responses, columns, lengths, strict=True):
        for name, values in measured_row.items():
            if len(values) != length:
                raise ValueError(f"response {row.response} of step {step}: {length} tokens, but {len(values)} {name}")
    offsets = pa.array(np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32))
    flat = {name: np.concatenate([row[name] for row in columns]) for name in (columns[0] if columns else MEASURED)}
    ids = np.concatenate([np.asarray(row.token_ids, dtype=np.int32) for row in responses])
    texts = [text for row in responses for text in token_texts(tokenizer, row.token_ids)]
    rules = pa.array([*FIRED, _OUTSIDE])
    lists: dict[str, pa.Array] = {
        "token_id": pa.array(ids),
        "token_text": pa.array(texts, pa.string()),
        "group": pa.array((flat["state"] & 15).astype(np.int8)),
        "fired": pc.take(rules, pa.array(np.where((index := fired(flat["state"])) < 0, len(FIRED), index))),
    } | {name: pa.array(values) for name, values in flat.items()}
    seen: dict[int, int] = {}
    epochs = []
    for row in responses:
        seen[row.response] = seen.get(row.response, 0) + 1
        epochs.append(seen[row.response])
    plain = {
        "step": pa.array([step] * len(responses), pa.int32()),
        "response": pa.array([row.response for row in responses], pa.int32()),
        "epoch": pa.array(epochs, pa.int32()),
        "uid": pa.array([row.uid for row in responses], pa.string()),
        "prompt": pa.array([row.prompt for row in responses], pa.string()),
        "source": pa.array([row.source for row in responses], pa.string()),
        "correct": pa.array([row.correct for row in responses], pa.bool_()),
        "hard": pa.array([row.hard for row in responses], pa.bool_()),
        "pass_rate": pa.array([row.pass_rate for row in responses], pa.float32()),
    }
    table = pa.table(plain | {name: pa.ListArray.from_arrays(offsets, values) for name, values in lists.items()})
    table = table.replace_schema_metadata({"htpo": json.dumps(dict(facts))})
    path = dump_file(run_dir, step)
    write_parquet(table, path)
    return path


def dump_file(run_dir: str | Path, step: int) -> Path:
    """Where the tokens of a step are, or would be."""
    return Path(run_dir) / TOKENS_DIR / f"step_{step:06d}.parquet"


def write_parquet(table: pa.Table, path: Path) -> None:
    """The whole file or none."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    pq.write_table(table, temporary, compression="zstd")
    os.replace(temporary, path)


def token_texts(tokenizer: PreTrainedTokenizerBase, ids: Sequence[int]) -> list[str]:
    """Text of every token, special ones included.

    A character that several tokens share stands at the first of them, and the others have none.
    """
    texts = [_text(tokenizer, token) for token in ids]
    place = 0
    while place < len(texts):
        if "\ufffd" in texts[place]:
            # A character of UTF-8 has at most four bytes.
            for end in range(place + 2, min(place + 5, len(texts) + 1)):
                joined = _decoded(tokenizer, ids[place:end])
                if "\ufffd" not in joined:
                    texts[place:end] = [joined, *[""] * (end - place - 1)]
                    break
        place += 1
    return texts


def _text(tokenizer: PreTrainedTokenizerBase, token: int) -> str:
    text = _decoded(tokenizer, [token])
    piece = str(tokenizer.convert_ids_to_tokens(int(token)) or "")
    # SentencePiece marks a word's beginning, which decoding drops at the beginning of a text.
    return f" {text}" if piece.startswith("\u2581") and not text.startswith(" ") else text


def _decoded(tokenizer: PreTrainedTokenizerBase, ids: Sequence[int]) -> str:
    return str(tokenizer.decode(list(ids)))


@dataclass(frozen=True)
class StepDump:
    """The dump of a step, as read."""

    path: Path
    table: pa.Table
    facts: dict[str, Any]

    @property
    def step(self) -> int:
        return int(self.table["step"][0].as_py())

    @property
    def is_whole(self) -> bool:
        """Whether it has every response of the step."""
        return len(set(self.table["response"].to_pylist())) == self.facts["responses"]

    def flat(self, column: str) -> NDArray[Any]:
        """A token quantity of all responses one after another, `[T_total]`."""
        return np.concatenate([chunk.flatten().to_numpy(zero_copy_only=False) for chunk in self.table[column].chunks])

    @property
    def lengths(self) -> NDArray[np.int64]:
        """Tokens of every row."""
        return pc.list_value_length(self.table["token_id"]).to_numpy().astype(np.int64)


def read_dump(run_dir: str | Path) -> list[StepDump]:
    """The dumps of a run, step by step.

    Raises:
        ValueError: naming the directory or file, what is wrong and what to do.
    """
    directory = Path(run_dir) / TOKENS_DIR
    paths = sorted(directory.glob("step_*.parquet"))
    if not paths:
        raise ValueError(
            f"{directory} has no token dump: train with `htpo.dump_tokens.steps=[1,10]` (a list of steps), or give a "
            "directory that has one"
        )
    return [_read(path) for path in paths]


def _read(path: Path) -> StepDump:
    try:
        table = pq.read_table(path)
        facts = json.loads((table.schema.metadata or {})[b"htpo"])
        if not isinstance(facts, dict) or not isinstance(facts.get("responses"), int):
            raise ValueError("it does not say how many responses the step had")
    except (pa.ArrowInvalid, KeyError, OSError, ValueError) as error:
        raise ValueError(f"{path} is not a token dump ({error}); delete it, or train that step again") from error
    of_rows = ("step", "response", "epoch", "uid", "prompt", "source", "correct", "hard", "pass_rate")
    wanted = (*of_rows, "token_id", "token_text", "group", *MEASURED)
    lacking = [name for name in wanted if name not in table.column_names]
    if lacking or not len(table):
        what = f"lacks the columns {', '.join(lacking)}" if lacking else "has no rows"
        raise ValueError(f"{path} {what}; delete it, or train that step again")
    # Balancing over ranks has mixed the prompts.
    return StepDump(path, table.sort_by([(name, "ascending") for name in ("prompt", "response", "epoch")]), facts)
