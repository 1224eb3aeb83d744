# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""Readers on good files and on damaged ones: one error, with file and place."""

import csv
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from data_support import sum_records

from data_prep.errors import DataError
from data_prep.sources import readers
from data_prep.sources.readers import read_records

RECORDS = sum_records(100)


def error_of(path: Path) -> DataError:
    with pytest.raises(DataError) as caught:
        list(read_records(path))
    assert caught.value.file == str(path)
    return caught.value


def write(path: Path) -> Path:
    if path.suffix == ".jsonl":
        path.write_text("\n".join(json.dumps(record) for record in RECORDS) + "\n\n")
    elif path.suffix == ".json":
        path.write_text(json.dumps(RECORDS, indent=1))
    elif path.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(RECORDS), path)
    elif path.suffix == ".arrow":
        with pa.ipc.new_stream(str(path), pa.Table.from_pylist(RECORDS).schema) as writer:
            writer.write_table(pa.Table.from_pylist(RECORDS), max_chunksize=7)
    else:
        with open(path, "w", newline="") as stream:
            writer = csv.DictWriter(stream, RECORDS[0].keys())
            writer.writeheader()
            writer.writerows(RECORDS)
    return path


@pytest.mark.parametrize("suffix", [".jsonl", ".json", ".parquet", ".arrow", ".csv"])
def test_all_formats_give_the_same_rows(tmp_path: Path, suffix: str) -> None:
    rows = list(read_records(write(tmp_path / f"data{suffix}")))
    assert [row for row, _ in rows] == list(range(100))
    expected = [{k: str(v) for k, v in r.items()} for r in RECORDS] if suffix == ".csv" else RECORDS
    assert [record for _, record in rows] == expected


def test_arrow_file_format(tmp_path: Path) -> None:
    table = pa.Table.from_pylist(RECORDS)
    with pa.ipc.new_file(str(tmp_path / "data.arrow"), table.schema) as writer:
        writer.write_table(table)
    assert [record for _, record in read_records(tmp_path / "data.arrow")] == RECORDS


@pytest.mark.parametrize("chunk", [1, 2, 3, 17, 64])
def test_json_array_across_chunk_borders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, chunk: int) -> None:
    monkeypatch.setattr(readers, "_CHUNK", chunk)
    values = [{"text": 'äöü \U0001f600 \\ " }]', "n": -12.5e3, "deep": [{"a": [True, None]}]}, {"text": "是"}]
    path = tmp_path / "data.json"
    path.write_text(json.dumps(values, ensure_ascii=False), encoding="utf-8")
    assert [record for _, record in read_records(path)] == values


def test_csv_with_line_breaks_in_fields(tmp_path: Path) -> None:
    path = tmp_path / "data.csv"
    path.write_text('problem,answer\n"a,\nb",1\n', encoding="utf-8")
    assert list(read_records(path)) == [(0, {"problem": "a,\nb", "answer": "1"})]


def test_truncated_parquet(tmp_path: Path) -> None:
    path = write(tmp_path / "data.parquet")
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    error = error_of(path)
    assert "not a readable parquet file" in str(error) and "fetch it again" in str(error)


def test_damaged_parquet_page(tmp_path: Path) -> None:
    path = tmp_path / "data.parquet"
    table = pa.table({"text": [f"{i:032x}" * 8 for i in range(20_000)]})
    pq.write_table(table, path, row_group_size=5_000, use_dictionary=False, compression="zstd")
    data = bytearray(path.read_bytes())
    middle = len(data) // 2
    data[middle : middle + 4_000] = bytes(4_000)
    path.write_bytes(data)
    error = error_of(path)
    assert "damaged parquet data" in error.problem
    assert error.place.startswith("after row ")


def test_broken_jsonl_line_37(tmp_path: Path) -> None:
    path = write(tmp_path / "data.jsonl")
    lines = path.read_text().split("\n")
    lines[36] = lines[36][:-5]
    path.write_text("\n".join(lines))
    error = error_of(path)
    assert error.place == "line 37"
    assert "broken JSON" in error.problem


def test_jsonl_line_that_is_no_object(tmp_path: Path) -> None:
    path = tmp_path / "data.jsonl"
    path.write_text('{"a": 1}\n[1]\n')
    assert error_of(path).place == "line 2"


@pytest.mark.parametrize("suffix", [".jsonl", ".csv", ".json"])
def test_wrong_encoding(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"data{suffix}"
    text = {".jsonl": '{"a": "b"}\n{"a": "é"}\n', ".csv": "a\nb\né\n", ".json": '[{"a": "é"}]'}[suffix]
    path.write_bytes(text.encode("latin1"))
    error = error_of(path)
    assert "not UTF-8" in error.problem and "iconv" in error.remedy
    assert error.place == {".jsonl": "line 2", ".csv": "line 3", ".json": ""}[suffix]


def test_csv_row_of_wrong_length(tmp_path: Path) -> None:
    path = tmp_path / "data.csv"
    path.write_text("a,b\n1,2\n3\n")
    error = error_of(path)
    assert error.place == "line 3" and "fewer fields" in error.problem


@pytest.mark.parametrize("text", ['[{"a": 1}, {"a": }]', '[{"a": 1}, {"a": 1', '[{"a": 1}', '{"a": 1} 2', "[1]"])
def test_broken_json_array(tmp_path: Path, text: str) -> None:
    path = tmp_path / "data.json"
    path.write_text(text)
    error_of(path)


@pytest.mark.parametrize("text", ['[{"a": 1}]\n[{"a": 2}, {"a": 3}]', '[{"a": 1}] {"a": 2}', "[] x", '{"a": 1} ]'])
def test_text_behind_the_json(tmp_path: Path, text: str) -> None:
    """It may be rows, which would be lost."""
    path = tmp_path / "data.json"
    path.write_text(text)
    error = error_of(path)
    assert "behind the closing ]" in error.problem or "broken JSON" in error.problem


@pytest.mark.parametrize("chunk", [1, 2, 1 << 20])
@pytest.mark.parametrize("name", ["data.json", "data.jsonl", "data.csv"])
def test_byte_order_mark(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, chunk: int) -> None:
    monkeypatch.setattr(readers, "_CHUNK", chunk)
    path = tmp_path / name
    path.write_text({"json": '[{"a": "é"}]', "jsonl": '{"a": "é"}', "csv": "a\né\n"}[path.suffix[1:]], "utf-8-sig")
    assert list(read_records(path)) == [(0, {"a": "é"})]


def test_repeated_csv_header(tmp_path: Path) -> None:
    path = tmp_path / "data.csv"
    path.write_text("a,b,a\n1,2,3\n")
    error = error_of(path)
    assert error.problem == "column 'a' occurs 2 times in the header" and error.place == "line 1"
    path.write_text("a,,\n1,,\n")
    assert [record["a"] for _, record in read_records(path)] == ["1"]


def test_truncated_arrow(tmp_path: Path) -> None:
    path = write(tmp_path / "data.arrow")
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    assert "damaged arrow data" in error_of(path).problem


def test_missing_file_and_unknown_format(tmp_path: Path) -> None:
    assert "no such file" in error_of(tmp_path / "none.parquet").problem
    assert "cannot open" in error_of(tmp_path / "none.jsonl").problem
    (tmp_path / "data.xml").write_text("")
    assert "unknown file format '.xml'" in error_of(tmp_path / "data.xml").problem
