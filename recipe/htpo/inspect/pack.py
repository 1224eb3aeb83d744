# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""Dumped tokens as one compressed text for a page: ten to fourteen bytes a token before compression.

Numbers of a token are rounded to half precision. A response's sums are exact, so that totals of what is shown are, too.
"""

import base64
import json
import zlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recipe.htpo.inspect.dump import OPTIONAL, StepDump
from recipe.htpo.objective.config import GROUP_IDS
from recipe.htpo.objective.loss import STATE_BITS

_RESPONSE_FACTS = ("step", "response", "epoch", "source", "correct", "hard", "pass_rate")
_LOG_RATIO_OF_ZERO = 20.0


def pack(dumps: Sequence[StepDump]) -> str:
    """base64 of the deflated payload, which `page.js` reads.

    Payload: length of the head (uint32, little-endian), the head as JSON, then every column of 16-bit values as all
    low bytes followed by all high bytes, which compresses better than pairs.
    """
    responses: list[dict[str, Any]] = []
    prompts: dict[tuple[int, str], int] = {}
    vocabulary: dict[tuple[int, str], int] = {}
    columns: dict[str, list[NDArray[Any]]] = {}
    for dump in dumps:
        index = [
            vocabulary.setdefault(token, len(vocabulary))
            for token in zip(dump.flat("token_id").tolist(), dump.flat("token_text").tolist(), strict=True)
        ]
        columns.setdefault("token", []).append(np.array(index))
        for name, values in _numbers(dump).items():
            columns.setdefault(name, []).append(values)
        rows = dump.table.select([*_RESPONSE_FACTS, "prompt", "uid"]).to_pylist()
        for row, length, sums in zip(rows, dump.lengths.tolist(), _sums(dump), strict=True):
            prompt = prompts.setdefault((row["step"], row["uid"]), len(prompts))
            responses.append({name: row[name] for name in _RESPONSE_FACTS} | {"prompt": prompt, "tokens": length})
            responses[-1] |= {"text": row["prompt"], "sums": sums}
    # A prompt's text comes once, with the first of its responses.
    seen: set[int] = set()
    for response in responses:
        if response["prompt"] in seen:
            del response["text"]
        seen.add(response["prompt"])
    planes: list[bytes] = []
    names: list[str] = []
    for name, parts in columns.items():
        if len(parts) < len(dumps):
            continue
        names.append(name)
        planes += _planes(np.concatenate(parts), wide=name == "token" and len(vocabulary) > 0xFFFF)
    head = {
        "columns": names,
        "wide": len(vocabulary) > 0xFFFF,
        "vocabulary": [text for _, text in vocabulary],
        "ids": [token for token, _ in vocabulary],
        "responses": responses,
        "bits": STATE_BITS,
    }
    text = json.dumps(head, separators=(",", ":"), allow_nan=False).encode()
    return base64.b64encode(zlib.compress(b"".join([len(text).to_bytes(4, "little"), text, *planes]), 9)).decode()


def _sums(dump: StepDump) -> list[dict[int, list[float | None]]]:
    """For each response, `group -> [entropy, ratio]` summed over its tokens.

    Unknown entropies count as 0, as in the metrics, unless none is known: then there is no sum.
    """
    place = np.repeat(np.arange(len(dump.lengths)), dump.lengths) * 16 + (dump.flat("state") & 15)
    size = len(dump.lengths) * 16
    table = [
        np.bincount(place, np.nan_to_num(dump.flat(name), nan=0.0, posinf=0.0, neginf=0.0), size).reshape(-1, 16)
        for name in ("entropy", "ratio")
    ]
    tokens = np.bincount(place, minlength=size).reshape(-1, 16)
    known = np.bincount(place, np.isfinite(dump.flat("entropy")), size).reshape(-1, 16)
    table[0][known == 0] = np.nan
    return [
        {
            group: [None if np.isnan(sums[row, group]) else float(f"{sums[row, group]:.7g}") for sums in table]
            for group in GROUP_IDS
            if tokens[row, group]
        }
        for row in range(len(tokens))
    ]


def _numbers(dump: StepDump) -> Mapping[str, NDArray[Any]]:
    state = dump.flat("state")
    alive = (state & STATE_BITS["alive"]) > 0
    numbers = {
        "state": state,
        "entropy": _half(dump.flat("entropy")),
        "old_log_prob": _half(dump.flat("old_log_prob")),
        "log_ratio": _half(np.log(np.maximum(dump.flat("ratio"), np.exp(-_LOG_RATIO_OF_ZERO)))),
        # How strongly the update pushes the token's log-probability up.
        "push": _half(np.where(alive, -dump.flat("loss"), 0.0)),
        "advantage": _half(dump.flat("advantage")),
    }
    return numbers | {name: _half(dump.flat(name)) for name in OPTIONAL if name in dump.table.column_names}


def _half(values: NDArray[Any]) -> NDArray[np.uint16]:
    """Half precision with 8 bits of mantissa: three digits, and a fifth less to store."""
    limit = np.finfo(np.float16).max
    bits = np.clip(values, -limit, limit).astype(np.float16).view(np.uint16)
    # Half a step less one, and one more where the last kept bit is set: to the nearest, ties to even.
    return ((bits.astype(np.uint32) + 1 + ((bits >> 2) & 1)) & 0xFFFC).astype(np.uint16)


def _planes(values: NDArray[Any], wide: bool) -> list[bytes]:
    count = 4 if wide else 2
    narrow = np.ascontiguousarray(values).astype(np.uint32) & (0xFFFFFFFF if wide else 0xFFFF)
    return [((narrow >> (8 * byte)) & 0xFF).astype(np.uint8).tobytes() for byte in range(count)]
