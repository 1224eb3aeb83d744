# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""Chooses rows of a file: by column, by measured pass rate, by prompt length, evenly over strata, or at random."""

import hashlib
import heapq
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from data_prep.contract import contract_batches, contract_schema, derived_recipe, extra, require_contract
from data_prep.errors import DataError
from data_prep.operations.lengths import load_tokenizer, prompt_lengths
from data_prep.operations.verdicts import PassRates, read_pass_rates
from data_prep.sources.filters import Condition, value_at
from data_prep.storage.digests import DigestMap, digest
from data_prep.storage.files import refuse_overwriting, sha256_of
from data_prep.storage.provenance import refuse_other_configuration
from data_prep.storage.writer import write_dataset

PASS_RATE = "pass_rate"


@dataclass(frozen=True, kw_only=True)
class Selection:
    """What to keep; the conditions are applied in the order of the fields."""

    where: tuple[Condition, ...] = ()
    """Conditions on columns (``level``, ``extra_info.level``, ``data_source``)."""
    verdicts: Path | None = None
    """File of judged responses; fills ``extra_info.pass_rate``."""
    verdict_key: str = "id"
    """Field of ``extra_info`` that the verdict file repeats: id, index or problem."""
    pass_rate: tuple[float, float] | None = None
    """Lowest and highest pass rate to keep, both inclusive."""
    unmeasured: str = "drop"
    """``keep`` or ``drop`` rows without a pass rate when ``pass_rate`` is given."""
    tokenizer: str | None = None
    """Name or folder of a tokenizer, for ``max_prompt_length``."""
    max_prompt_length: int | None = None
    """Longest prompt in tokens, chat template applied."""
    stratify: str | None = None
    """Column over whose values ``per_stratum`` rows each are drawn; ``pass_rate`` is cut into ``bins``."""
    per_stratum: int | None = None
    """Rows of each stratum (all of a smaller one)."""
    bins: int = 5
    """Equal pass-rate intervals when ``stratify`` is ``pass_rate``."""
    rows: int | None = None
    """Rows to draw at random, of all strata together."""
    seed: int = 0
    """Seed of the draws."""
    order: str | None = None
    """Column by which the chosen rows are sorted, ``-COLUMN`` from high to low; rows without a value go last."""

    def __post_init__(self) -> None:
        if self.pass_rate is not None and not 0 <= self.pass_rate[0] <= self.pass_rate[1] <= 1:
            raise DataError(f"pass rate {self.pass_rate} is not LOW HIGH within 0 and 1")
        if (self.tokenizer is None) != (self.max_prompt_length is None):
            raise DataError("--tokenizer and --max-prompt-length go together")
        if (self.stratify is None) != (self.per_stratum is None):
            raise DataError("--stratify and --per-stratum go together")

    def record(self) -> dict:
        """For the provenance; the verdict file by its hash."""
        verdicts = None if self.verdicts is None else {"file": self.verdicts.name, "sha256": sha256_of(self.verdicts)}
        return vars(self) | {"where": [str(condition) for condition in self.where], "verdicts": verdicts}


def select(
    path: Path, out: Path, selection: Selection, force: bool = False, complement: Path | None = None
) -> dict[str, int]:
    """Writes the chosen rows; returns ``rows``: read, what each condition removed, written.

    Rows keep their order unless ``selection.order`` says otherwise (the chosen rows are then held in memory). All other
    rows go to ``complement``, where one is given. Two passes over the file: the first decides (one bit and one heap
    entry a row), the second writes.

    Raises DataError when a column or a pass rate is missing.
    """
    inputs = [path] if selection.verdicts is None else [path, selection.verdicts]
    outs = [out] if complement is None else [out, complement]
    for written in outs:
        refuse_overwriting(written, inputs)
    if complement is not None and complement.absolute() == out.absolute():
        raise DataError("the rows and their complement are one file", file=out, remedy="give --complement another path")
    counts: dict[str, int] = {"read": require_contract(path)}
    recipe = derived_recipe("select", [path], selection.record())
    for written, side in zip(outs, ("chosen", "complement"), strict=False):
        refuse_other_configuration(written, recipe | {"side": side}, force)
    order = None if selection.order is None else column_path(path, selection.order.removeprefix("-"))
    rates = None
    if selection.verdicts is not None:
        rates = read_pass_rates(selection.verdicts, selection.verdict_key)
        if selection.verdict_key != "problem":
            _require_distinct(path, rates)
    chosen = _draw(_conditions(path, selection, rates, counts), selection, counts)
    if rates is not None and not rates.used:
        raise DataError(
            f"no verdict matches a row of {path}",
            file=selection.verdicts,
            remedy=f"the verdict file must repeat extra_info.{selection.verdict_key}; see --verdict-key",
        )
    if complement is not None and all(chosen):
        raise DataError(
            "every row was chosen, so none is left for the complement; nothing was written",
            file=complement,
            remedy="leave out --complement, or choose fewer rows",
        )
    schema = contract_schema(path)
    for written, side in zip(outs, ("chosen", "complement"), strict=False):
        batches = _chosen_batches(path, chosen, rates)
        if order is not None:
            batches = _ordered(batches, schema, order, descending=str(selection.order).startswith("-"))
        rows = counts if side == "chosen" else {"read": counts["read"]}
        write_dataset(written, batches, recipe | {"side": side}, rows, schema)
        chosen = bytearray(1 - mark for mark in chosen)
    return counts


def _ordered(
    batches: Iterator[pa.RecordBatch], schema: pa.Schema, column: str, descending: bool
) -> Iterator[pa.RecordBatch]:
    """The rows sorted by a column, stable; numbers by size also where the column is text."""
    table = pa.Table.from_batches(batches, schema)
    top, *inner = column.split(".")
    values = table[top].combine_chunks()
    for name in inner:
        values = pc.struct_field(values, name)
    keys = [_sort_key(value) for value in values.to_pylist()]
    present = [row for row, key in enumerate(keys) if key is not None]
    present.sort(key=lambda row: keys[row], reverse=descending)  # type: ignore[arg-type, return-value]
    missing = [row for row, key in enumerate(keys) if key is None]
    yield from table.take(pa.array(present + missing, pa.int64())).to_batches()


def _sort_key(value: Any) -> tuple[int, float, str] | None:
    if value is None:
        return None
    try:
        return (0, float(value), "")
    except (TypeError, ValueError):
        return (1, 0.0, str(value))


def _require_distinct(path: Path, rates: PassRates) -> None:
    """Raises DataError when two rows of the file would get the same verdicts."""
    row = 0
    with DigestMap() as seen:
        for batch in contract_batches(path, ["data_source", "extra_info"]):
            fields = (extra(batch, rates.key), batch["data_source"].to_pylist(), extra(batch, "split"))
            for value, source, split in zip(*fields, strict=True):
                place = digest(rates.place(value, source, split))
                first = seen.get(place)
                if first is not None:
                    by_index = ", write the split on every verdict, or use --verdict-key id"
                    raise DataError(
                        f"{rates.key} {value!r} of {source} is in row {first} and in row {row}: "
                        "verdicts may mean either",
                        file=path,
                        remedy="mix each set and split once" + (by_index if rates.key == "index" else ""),
                    )
                seen.set(place, row)
                row += 1


def _conditions(
    path: Path, selection: Selection, rates: PassRates | None, counts: dict[str, int]
) -> Iterator[tuple[int, str, str]]:
    """``(row, id, stratum)`` of the rows that meet all conditions."""
    tokenizer = None if selection.tokenizer is None else load_tokenizer(selection.tokenizer)
    tests: list[tuple[str, Callable[[dict], bool]]] = [
        (f"not {condition}", partial(_meets, condition=condition, column=column_path(path, condition.column)))
        for condition in selection.where
    ]
    stratum = None if selection.stratify is None else column_path(path, selection.stratify)
    if selection.pass_rate is not None:
        low, high = selection.pass_rate
        keep_unmeasured = selection.unmeasured == "keep"

        def in_range(record: dict) -> bool:
            rate = record["extra_info"][PASS_RATE]
            return keep_unmeasured if rate is None else low <= rate <= high

        tests.append((f"pass_rate outside {low}..{high}", in_range))
    if selection.max_prompt_length is not None:
        longest = selection.max_prompt_length
        tests.append((f"longer than {longest} tokens", lambda record: record["tokens"] <= longest))
    row = -1
    for batch in contract_batches(path):
        records = (batch if rates is None else rates.fill(batch)).to_pylist()
        if tokenizer is not None:
            lengths = prompt_lengths(tokenizer, [record["prompt"] for record in records])
            records = [record | {"tokens": length} for record, length in zip(records, lengths, strict=True)]
        for record in records:
            row += 1
            failed = next((name for name, test in tests if not test(record)), None)
            if failed is None:
                yield row, record["extra_info"]["id"], _stratum(record, stratum, selection.bins)
            else:
                counts[failed] = counts.get(failed, 0) + 1


def _meets(record: dict, condition: Condition, column: str) -> bool:
    return condition.holds(value_at(record, column))


def _stratum(record: dict, column: str | None, bins: int) -> str:
    if column is None:
        return ""
    value = value_at(record, column)
    if column.endswith(PASS_RATE) and value is not None:
        return f"bin {min(int(value * bins), bins - 1)}"
    return str(value)


def _draw(rows: Iterator[tuple[int, str, str]], selection: Selection, counts: dict[str, int]) -> bytearray:
    """Marks of the chosen rows. A row's rank is a hash of seed and id, so a draw does not depend on other rows."""
    limit = selection.per_stratum if selection.stratify is not None else selection.rows
    marks = bytearray(counts["read"])
    heaps: dict[str, list[tuple[int, int]]] = defaultdict(list)
    for row, row_id, stratum in rows:
        if limit is None:
            marks[row] = 1
            continue
        rank = int.from_bytes(hashlib.blake2b(f"{selection.seed}/{row_id}".encode(), digest_size=8).digest(), "big")
        heap = heaps[stratum]
        heapq.heappush(heap, (-rank, row))
        if len(heap) > limit:
            heapq.heappop(heap)
            counts["not drawn"] = counts.get("not drawn", 0) + 1
    drawn = [entry for heap in heaps.values() for entry in heap]
    if selection.rows is not None and len(drawn) > selection.rows:
        counts["not drawn"] = counts.get("not drawn", 0) + len(drawn) - selection.rows
        drawn = heapq.nlargest(selection.rows, drawn)
    for _, row in drawn:
        marks[row] = 1
    return marks


def _chosen_batches(path: Path, marks: bytearray, rates: PassRates | None) -> Iterator[pa.RecordBatch]:
    start = 0
    for batch in contract_batches(path):
        mask = pa.array([bool(mark) for mark in marks[start : start + len(batch)]], pa.bool_())
        start += len(batch)
        batch = batch.filter(mask)
        yield batch if rates is None else rates.fill(batch)


def column_path(path: Path, column: str) -> str:
    """Dotted path of a column of a file, ``extra_info.`` being optional; raises DataError where there is none."""
    schema = contract_schema(path)
    fields = [field.name for field in schema.field("extra_info").type]
    dotted = column if column.partition(".")[0] in schema.names else f"extra_info.{column}"
    type_: pa.DataType = pa.struct(list(schema))
    for name in dotted.split("."):
        if not pa.types.is_struct(type_) or type_.get_field_index(name) < 0:
            known = [name for name in schema.names if name != "extra_info"] + fields
            raise DataError(f"no column {column!r}", file=path, remedy=f"choose one of {', '.join(known)}")
        type_ = type_.field(name).type
    return dotted
