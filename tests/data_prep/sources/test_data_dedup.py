# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""Removal of repeated rows: the same result as comparing every row in Python, whatever the order and the types."""

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from data_support import dapo_table, read, write_copies

from data_prep.command_line.main import main
from data_prep.errors import DataError
from data_prep.sources import dedup
from data_prep.sources.dedup import unique_records


def expected(path: Path) -> list[tuple[int, dict]]:
    seen: set[str] = set()
    rows = []
    for row, record in enumerate(pq.read_table(path).to_pylist()):
        key = json.dumps(record, sort_keys=True, default=str)
        if key not in seen:
            seen.add(key)
            rows.append((row, record))
    return rows


def check(path: Path) -> int:
    counts = {"read": 0, "duplicate_rows": 0}
    found = list(unique_records([path], counts))
    assert found == expected(path)
    assert counts == {"read": pq.read_metadata(path).num_rows, "duplicate_rows": counts["read"] - len(found)}
    return len(found)


@pytest.mark.parametrize("layout", ["tiled", "adjacent", "shuffled"])
def test_copies_in_any_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, layout: str) -> None:
    monkeypatch.setattr(dedup, "BATCH_ROWS", 7)
    path = tmp_path / "copies.parquet"
    write_copies(dapo_table(40), path, 9, layout, row_group_size=64)
    assert pq.read_metadata(path).num_rows == 360
    assert check(path) == 40


AWKWARD = [
    {"a": "x", "b": 1, "c": [1, 2], "d": {"e": None, "f": True}, "g": b"\xff\x00"},
    {"a": "x", "b": 1, "c": [1, 2], "d": {"e": None, "f": True}, "g": b"\xff\x00"},
    {"a": "x", "b": 1, "c": [1], "d": {"e": None, "f": True}, "g": b"\xff\x00"},
    {"a": "x", "b": 1, "c": [1, 2], "d": {"e": "", "f": True}, "g": b"\xff\x00"},
    {"a": "x", "b": 1, "c": [1, 2], "d": None, "g": b"\xff\x00"},
    {"a": None, "b": 1, "c": None, "d": None, "g": None},
    {"a": "null", "b": 1, "c": [], "d": {"e": None, "f": None}, "g": b""},
    {"a": "", "b": None, "c": [], "d": {"e": None, "f": None}, "g": b""},
    {"a": "x:1", "b": 2, "c": [1, 2], "d": {"e": "y", "f": False}, "g": b"z"},
    {"a": "x", "b": 12, "c": [1, 2], "d": {"e": "y", "f": False}, "g": b"z"},
    {"a": "x", "b": 12, "c": [1, 2], "d": {"e": "y", "f": False, "h": [1]}, "g": b"z"},
    {"a": "x", "b": 12, "c": [None, 2], "d": {"e": "y", "f": False, "h": [2, 3]}, "g": b"z"},
]


@pytest.mark.parametrize("reader", ["DuckDB", "digests"])
def test_nulls_lists_and_near_misses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reader: str) -> None:
    if reader == "digests":
        monkeypatch.setattr(dedup, "grouped", lambda paths, counts: None)
    pq.write_table(pa.Table.from_pylist(AWKWARD * 3), tmp_path / "data.parquet")
    assert check(tmp_path / "data.parquet") == 11


SCHEMAS = {
    "types that differ": ({"a": [1, 1]}, {"a": [1.0, 2.5]}),
    "names that differ": ({"a": [1, 1]}, {"b": [1]}),
    "names that differ in case": ({"a": [1, 1], "A": [2, 2]}, {"a": [1], "A": [2]}),
    "DuckDB's own name": ({"a": [1, 1], "file_row_number": [2, 2]}, {"a": [1], "file_row_number": [2]}),
}


@pytest.mark.parametrize("case", SCHEMAS)
def test_what_duckdb_cannot_read_as_one_table(tmp_path: Path, case: str) -> None:
    """The rows are compared all the same."""
    paths = []
    for number, columns in enumerate(SCHEMAS[case]):
        paths.append(tmp_path / f"{number}.parquet")
        pq.write_table(pa.table(columns), paths[-1])
    records = [row for path in paths for row in pq.read_table(path).to_pylist()]
    counts = {"read": 0, "duplicate_rows": 0}
    found = list(unique_records(paths, counts))
    keys = [json.dumps(record) for record in records]
    assert found == [(row, record) for row, record in enumerate(records) if keys.index(keys[row]) == row]
    assert counts == {"read": len(records), "duplicate_rows": len(records) - len(found)}


def test_distinct_rows_beyond_the_memory_limit_go_to_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The rows take more than the limit, and are grouped all the same."""
    monkeypatch.setattr(dedup, "MEMORY_LIMIT", "100MB")
    path = tmp_path / "data.parquet"
    pq.write_table(pa.table({"text": [f"{row} " * 40 for row in range(500_000)]}), path)
    batches = dedup.grouped([path], counts := {"read": 0, "duplicate_rows": 0})
    assert batches is not None and sum(map(len, batches)) == 500_000
    assert counts["duplicate_rows"] == 0


def test_pandas_index_does_not_count(tmp_path: Path) -> None:
    table = dapo_table(3, copies=2)
    path = tmp_path / "data.parquet"
    pq.write_table(table.append_column("__index_level_0__", pa.array(range(6))), path)
    rows = list(unique_records([path], {"read": 0, "duplicate_rows": 0}))
    assert [row for row, _ in rows] == [0, 1, 2]
    assert "__index_level_0__" not in rows[0][1]


def test_same_index_with_another_prompt_is_kept(tmp_path: Path) -> None:
    rows = dapo_table(2).to_pylist()
    rows[1]["extra_info"] = rows[0]["extra_info"]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "data.parquet")
    assert check(tmp_path / "data.parquet") == 2


@pytest.mark.parametrize("suffix", ["parquet", "jsonl"])
def test_copies_across_shards_are_removed(tmp_path: Path, suffix: str) -> None:
    for shard, numbers in enumerate([(0, 1, 1), (1, 2, 0)]):
        records = [{"problem": f"p{i}", "answer": str(i)} for i in numbers]
        path = tmp_path / f"deepscaler-{shard}.{suffix}"
        if suffix == "parquet":
            pq.write_table(pa.Table.from_pylist(records), path)
        else:
            path.write_text("".join(json.dumps(record) + "\n" for record in records))
    out = tmp_path / "out"
    assert main(["build", "deepscaler", "--source", str(tmp_path), "--out", str(out)]) == 0
    rows = read(out / "deepscaler" / "train.parquet")
    assert [row["extra_info"]["problem"] for row in rows] == ["p0", "p1", "p2"]
    assert [row["extra_info"]["source_row"] for row in rows] == [0, 1, 4]


@pytest.mark.parametrize("name", ["set[1].parquet", "set*.parquet", "set?.parquet", "[s]et/1.parquet"])
def test_a_name_is_no_pattern(tmp_path: Path, name: str) -> None:
    """DuckDB would read what the pattern matches instead of the file of this name."""
    for path, table in ((tmp_path / "set1.parquet", dapo_table(5)), (tmp_path / name, dapo_table(3, copies=2))):
        path.parent.mkdir(exist_ok=True)
        pq.write_table(table, path)
    assert check(tmp_path / name) == 3


def test_more_rows_than_there_are_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dedup, "_is_pattern", lambda path: False)
    pq.write_table(dapo_table(5), tmp_path / "set1.parquet")
    pq.write_table(dapo_table(3), tmp_path / "set[1].parquet")
    with pytest.raises(DataError, match="more distinct rows than the 3 rows there are"):
        list(unique_records([tmp_path / "set[1].parquet"], {"read": 0, "duplicate_rows": 0}))
