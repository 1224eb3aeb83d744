# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""Measured pass rates out of a file of judged responses."""

from pathlib import Path
from typing import Any

import pyarrow as pa

from data_prep.contract import extra, with_extra_info
from data_prep.errors import DataError
from data_prep.sources.filters import value_at
from data_prep.sources.readers import read_records

KEYS = ("id", "index", "problem")
RATE_COLUMNS = ("verdict.correct", "pass_rate", "acc", "correct", "score")


class PassRates:
    """Pass rate by key; ``used`` counts the rows that got one."""

    def __init__(self, key: str, by_split: bool, sums: dict[str, list[float]]) -> None:
        self.key = key
        self.by_split = by_split
        """Whether verdicts by index say which split they are of."""
        self._sums = sums
        self.used = 0

    def place(self, value: object, source: object, split: object) -> str:
        """What a verdict and a row are joined on."""
        if self.key != "index":
            return str(value)
        return f"{source}\0{split if self.by_split else ''}\0{value}"

    def fill(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """The batch with ``extra_info.pass_rate`` set where a rate is known, left as it is elsewhere."""
        keys, splits, known = (extra(batch, name) for name in (self.key, "split", "pass_rate"))
        rates = []
        for key, source, split, old in zip(keys, batch["data_source"].to_pylist(), splits, known, strict=True):
            found = self._sums.get(self.place(key, source, split))
            self.used += found is not None
            rates.append(old if found is None else found[0] / found[1])
        return with_extra_info(batch, "pass_rate", pa.array(rates, pa.float64()))


def read_pass_rates(path: Path, key: str) -> PassRates:
    """Averages a file of verdicts by ``key``, in any format of ``readers``.

    A line is one response (``acc``, ``correct`` or ``score``: true/false, or a reward of which above 0 is right;
    ``verdict.correct`` as ``recipe.htpo.verify`` writes it) or one problem (``pass_rate``: 0 to 1). The key
    may stand in ``extra_info``. By ``index`` a line also needs ``data_source``: every set has a row 0; where all lines
    have a ``split``, it counts too. ``math_dapo`` scores of -1 and 1 are read correctly.

    Raises DataError when the key or every verdict column is missing, or a value is no verdict.
    """
    if key not in KEYS:
        raise DataError(f"unknown verdict key {key!r}", remedy=f"choose one of {', '.join(KEYS)}")
    found = [_verdict(path, key, row, record) for row, record in read_records(path)]
    with_split = sum(split is not None for *_, split, _ in found)
    if key == "index" and 0 < with_split < len(found):
        raise DataError("some lines have a split and some have none", file=path, remedy="write it on all lines or none")
    sums: dict[str, list[float]] = {}
    rates = PassRates(key, bool(with_split), sums)
    for value, source, split, rate in found:
        total = sums.setdefault(rates.place(value, source, split), [0.0, 0.0])
        total[0] += rate
        total[1] += 1
    return rates


def _verdict(path: Path, key: str, row: int, record: dict) -> tuple[Any, Any, Any, float]:
    """Key, data source, split and verdict of a line."""
    column = next((name for name in RATE_COLUMNS if value_at(record, name) is not None), None)
    value, source, split = (_field(record, name) for name in (key, "data_source", "split"))
    if value is None or column is None:
        raise DataError(
            f"needs {key!r} and one of {', '.join(RATE_COLUMNS)} (columns here: {', '.join(record)})",
            file=path,
            place=f"row {row}",
            remedy="write one line for each response with its problem's id and acc",
        )
    if key == "index" and source is None:
        raise DataError(
            "an index says no row without its data_source",
            file=path,
            place=f"row {row}",
            remedy="write data_source on every line, or the problem's id and use --verdict-key id",
        )
    try:
        rate = float(value_at(record, column))
    except (TypeError, ValueError) as error:
        raise DataError(
            f"{column} is {value_at(record, column)!r}, not a number", file=path, place=f"row {row}"
        ) from error
    if column == "pass_rate":
        if not 0 <= rate <= 1:
            raise DataError(f"pass_rate is {rate}, not within 0 and 1", file=path, place=f"row {row}")
        return value, source, split, rate
    return value, source, split, float(rate > 0)


def _field(record: dict, name: str) -> Any:
    value = value_at(record, name)
    return value_at(record, f"extra_info.{name}") if value is None else value
