# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""The one schema of every file data_prep writes, so that any list of files concatenates.

verl reads such a file with ``verl/utils/dataset/rl_dataset.py`` (RLHFDataset): ``prompt`` is handed to the chat
template, ``data_source`` groups validation metrics and selects verl's default scorer, and the other columns reach the
reward function as they are.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import pyarrow as pa

SCHEMA = pa.schema(
    [
        pa.field("data_source", pa.string(), nullable=False),
        pa.field(
            "prompt",
            pa.list_(pa.field("element", pa.struct([pa.field("role", pa.string()), pa.field("content", pa.string())]))),
            nullable=False,
        ),
        pa.field("ability", pa.string(), nullable=False),
        pa.field(
            "reward_model",
            pa.struct([pa.field("style", pa.string()), pa.field("ground_truth", pa.string())]),
            nullable=False,
        ),
        pa.field(
            "extra_info",
            pa.struct(
                [
                    pa.field("id", pa.string()),
                    pa.field("index", pa.int64()),
                    pa.field("split", pa.string()),
                    pa.field("level", pa.string()),
                    pa.field("subject", pa.string()),
                    pa.field("source_row", pa.int64()),
                    pa.field("problem", pa.string()),
                    pa.field("pass_rate", pa.float64()),
                ]
            ),
            nullable=False,
        ),
    ]
)
"""Columns of the contract.

- ``data_source``: name of the set, for example ``aime_2024``.
- ``prompt``: chat messages ``[{role, content}]``, template applied.
- ``ability``: ``math``.
- ``reward_model``: ``style`` is ``rule``; ``ground_truth`` is the normalised answer.
- ``extra_info.id``: unique in the file and the same in every build of the set (``dapo_math_17k/9a9b6eb4-...``).
- ``extra_info.index``: position in the file that ``build`` wrote.
- ``extra_info.split``: ``train`` or ``test``.
- ``extra_info.level``, ``subject``: as the source states them, null where it does not.
- ``extra_info.source_row``: row of the source file, from 0.
- ``extra_info.problem``: the problem without any template.
- ``extra_info.pass_rate``: measured share of correct responses, null until ``select --verdicts`` fills it in.
"""

STYLE = "rule"


@dataclass(frozen=True, kw_only=True)
class Row:
    """One row of a file, before it becomes Arrow."""

    data_source: str
    """Name of the set."""
    messages: list[dict[str, str]]
    """Chat messages, template applied."""
    ground_truth: str
    """Normalised answer."""
    id: str
    """Unique in the file."""
    index: int
    """Position in the file."""
    split: str
    """``train`` or ``test``."""
    problem: str
    """The problem without template."""
    source_row: int
    """Row of the source file, from 0."""
    level: str | None = None
    """Difficulty as the source states it."""
    subject: str | None = None
    """Field of mathematics as the source states it."""
    ability: str = "math"
    """verl's ``ability`` column."""


def record_batch(rows: Iterable[Row]) -> pa.RecordBatch:
    """Rows as one Arrow batch of ``SCHEMA``."""
    records = [
        {
            "data_source": row.data_source,
            "prompt": row.messages,
            "ability": row.ability,
            "reward_model": {"style": STYLE, "ground_truth": row.ground_truth},
            "extra_info": {
                "id": row.id,
                "index": row.index,
                "split": row.split,
                "level": row.level,
                "subject": row.subject,
                "source_row": row.source_row,
                "problem": row.problem,
                "pass_rate": None,
            },
        }
        for row in rows
    ]
    return pa.RecordBatch.from_pylist(records, schema=SCHEMA)


def schema_difference(schema: pa.Schema) -> str | None:
    """What keeps ``schema`` from being the contract, or None when it is the contract (metadata apart)."""
    for field in SCHEMA:
        position = schema.get_field_index(field.name)
        if position < 0:
            return f"column {field.name!r} is missing"
        if schema.field(position).type != field.type:
            return f"column {field.name!r} is {schema.field(position).type}, the contract says {field.type}"
    extra = [name for name in schema.names if name not in SCHEMA.names]
    return f"columns {extra} are not part of the contract" if extra else None
