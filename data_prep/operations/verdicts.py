# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""Measured pass rates out of a file of judged responses."""

from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from data_prep.errors import DataError
from data_prep.sources.readers import read_records

KEYS = ("id", "index", "problem")
RATE_COLUMNS = ("pass_rate", "acc", "correct", "score")


class PassRates:
    """Pass rate by key; ``used`` counts the rows that got one."""

    def __init__(self, key: str, sums: dict[str, list[float]]) -> None:
        self._key = key
        self._sums = sums
        self.used = 0

    def fill(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """The batch with ``extra_info.pass_rate`` set where a rate is known, left as it is elsewhere."""
        extra_info = batch["extra_info"]
        names = [field.name for field in extra_info.type]
        fields = {name: pc.struct_field(extra_info, name) for name in names}
        rates = []
        keys, sources = fields[self._key].to_pylist(), batch["data_source"].to_pylist()
        for key, source, old in zip(keys, sources, fields["pass_rate"].to_pylist(), strict=True):
            found = self._sums.get(_place(self._key, key, source))
            self.used += found is not None
            rates.append(old if found is None else found[0] / found[1])
        fields["pass_rate"] = pa.array(rates, pa.float64())
        filled = pa.StructArray.from_arrays(list(fields.values()), fields=list(extra_info.type))
        return batch.set_column(batch.schema.get_field_index("extra_info"), batch.schema.field("extra_info"), filled)


def read_pass_rates(path: Path, key: str) -> PassRates:
    """Averages a jsonl, json, csv or parquet file of verdicts by ``key``.

    A line is one response (``acc``, ``correct`` or ``score``: true/false, or a reward of which above 0 is right) or
    one problem (``pass_rate``: 0 to 1). By ``index`` a line also needs ``data_source``: every set has a row 0.
    ``math_dapo`` scores of -1 and 1 are read correctly.

    Raises DataError when the key or every verdict column is missing, or a value is no verdict.
    """
    if key not in KEYS:
        raise DataError(f"unknown verdict key {key!r}", remedy=f"choose one of {', '.join(KEYS)}")
    sums: dict[str, list[float]] = {}
    for row, record in read_records(path):
        column = next((name for name in RATE_COLUMNS if record.get(name) is not None), None)
        if record.get(key) is None or column is None:
            raise DataError(
                f"needs {key!r} and one of {', '.join(RATE_COLUMNS)} (columns here: {', '.join(record)})",
                file=path,
                place=f"row {row}",
                remedy="write one line for each response with its problem's id and acc",
            )
        if key == "index" and record.get("data_source") is None:
            raise DataError(
                "an index says no row without its data_source",
                file=path,
                place=f"row {row}",
                remedy="write data_source on every line, or the problem's id and use --verdict-key id",
            )
        try:
            value = float(record[column])
        except (TypeError, ValueError) as error:
            raise DataError(f"{column} is {record[column]!r}, not a number", file=path, place=f"row {row}") from error
        if column == "pass_rate" and not 0 <= value <= 1:
            raise DataError(f"pass_rate is {value}, not within 0 and 1", file=path, place=f"row {row}")
        total = sums.setdefault(_place(key, record[key], record.get("data_source")), [0.0, 0.0])
        total[0] += value if column == "pass_rate" else float(value > 0)
        total[1] += 1
    return PassRates(key, sums)


def _place(key: str, value: object, source: object) -> str:
    """What a verdict and a row are joined on."""
    return f"{source}\0{value}" if key == "index" else str(value)
