# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""Streaming readers: one ``(row, record)`` after the other from a file, memory independent of the file's size."""

import csv
import io
import json
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import pyarrow as pa

from data_prep.errors import DataError
from data_prep.storage.parquet import CUT_SHORT, first_line, parquet_batches

Record = tuple[int, dict]
"""Row number, from 0, and the columns."""

TEXT_FORMATS = (".jsonl", ".ndjson", ".json", ".csv", ".tsv")
FORMATS = (".parquet", ".arrow", *TEXT_FORMATS)
COMPRESSIONS = {".gz": "gzip", ".zst": "zstd", ".bz2": "bz2"}
"""Of text formats."""
_CHUNK = 1 << 20
_LONGEST_VALUE = 1 << 26
_NOT_SPACE = re.compile(r"\S")


def format_of(path: Path) -> str | None:
    """One of FORMATS, compression of a text format apart; None for a file of no known format."""
    suffix = path.suffix.lower()
    if suffix in COMPRESSIONS:
        inner = Path(path.stem).suffix.lower()
        return inner if inner in TEXT_FORMATS else None
    return suffix if suffix in FORMATS else None


def read_records(path: Path) -> Iterator[Record]:
    """Rows of a parquet, arrow, jsonl, json (an array of objects, or one after the other), csv or tsv file.

    Text may be compressed (``.gz``, ``.zst``, ``.bz2``). Raises DataError naming the file and the row (the line, for
    text) when the file is damaged or in no known format.
    """
    kind = format_of(path)
    if kind == ".parquet":
        yield from _batches_to_records(path, parquet_batches(path))
    elif kind == ".arrow":
        yield from _batches_to_records(path, _arrow_batches(path))
    elif kind in (".jsonl", ".ndjson"):
        yield from _read_jsonl(path)
    elif kind == ".json":
        yield from _read_json(path)
    elif kind in (".csv", ".tsv"):
        yield from _read_csv(path, "," if kind == ".csv" else "\t")
    else:
        raise DataError(
            f"unknown file format {''.join(path.suffixes[-2:])!r}",
            file=path,
            remedy=f"give one of {', '.join(FORMATS)} (text also with {', '.join(COMPRESSIONS)}) or a folder",
        )


def _arrow_batches(path: Path) -> Iterator[pa.RecordBatch]:
    """Batches of an Arrow IPC file or stream (what ``datasets.save_to_disk`` writes is a stream)."""
    row = 0
    try:
        with pa.memory_map(str(path)) as source:
            is_file = source.read(6) == b"ARROW1"
            source.seek(0)
            if is_file:
                reader = pa.ipc.open_file(source)
                for number in range(reader.num_record_batches):
                    yield reader.get_batch(number)
                return
            for batch in pa.ipc.open_stream(source):
                row += len(batch)
                yield batch
    except (pa.ArrowException, OSError) as error:
        raise DataError(
            f"damaged arrow data: {first_line(error)}", file=path, place=f"after row {row}", remedy=CUT_SHORT
        ) from error


def _batches_to_records(path: Path, batches: Iterator[pa.RecordBatch]) -> Iterator[Record]:
    row = 0
    for batch in batches:
        try:
            records = batch.to_pylist()
        except UnicodeDecodeError as error:
            raise DataError(
                "text is not UTF-8", file=path, place=f"rows {row} to {row + len(batch) - 1}", remedy=_UTF8
            ) from error
        for record in records:
            yield row, record
            row += 1


def _read_jsonl(path: Path) -> Iterator[Record]:
    row = 0
    with _open(path) as stream:
        for number, line in enumerate(stream, start=1):
            text = _decode(line, path, f"line {number}")
            if text.strip():
                yield row, _object(text, path, f"line {number}")
                row += 1


def _read_csv(path: Path, delimiter: str) -> Iterator[Record]:
    with _open(path) as stream:
        lines = (_decode(line, path, f"line {number}") for number, line in enumerate(stream, start=1))
        csv.field_size_limit(_LONGEST_VALUE)
        reader = csv.DictReader(lines, delimiter=delimiter, strict=True)
        row = 0
        while True:
            try:
                record = next(reader, None)
            except csv.Error as error:
                raise DataError(f"broken CSV: {error}", file=path, place=f"line {reader.line_num}") from error
            if row == 0:
                _refuse_repeated_names(reader.fieldnames or (), path)
            if record is None:
                return
            if None in record or None in record.values():
                raise DataError(
                    f"{'more' if None in record else 'fewer'} fields than the {len(reader.fieldnames or [])} columns",
                    file=path,
                    place=f"line {reader.line_num}",
                    remedy="quote fields that contain the delimiter or line breaks",
                )
            yield row, record
            row += 1


def _refuse_repeated_names(names: Sequence[str], path: Path) -> None:
    """Of two columns of one name the first would be lost; those without a name, which no one asks for, may repeat."""
    repeated = [name for name, count in Counter(names).items() if name and count > 1]
    if repeated:
        raise DataError(
            f"column {repeated[0]!r} occurs {names.count(repeated[0])} times in the header",
            file=path,
            place="line 1",
            remedy="rename or delete the repeated columns",
        )


def _read_json(path: Path) -> Iterator[Record]:
    """Objects of a JSON array, or objects without one, decoded one by one."""
    decoder = json.JSONDecoder()
    with _open(path) as stream:
        buffer = _TextBuffer(stream, path)
        is_array = buffer.peek() == "["
        if is_array:
            buffer.skip(1)
        row = 0
        while buffer.peek() not in ("]" if is_array else "", ""):
            if is_array and row and buffer.peek() == ",":
                buffer.skip(1)
                buffer.peek()
            value = buffer.decode(decoder, row)
            if not isinstance(value, dict):
                raise DataError("not a JSON object", file=path, place=f"row {row}", remedy="give an array of objects")
            yield row, value
            row += 1
        if not is_array:
            return
        if buffer.peek() != "]":
            raise DataError("the JSON array is not closed", file=path, place=f"after row {row}", remedy=CUT_SHORT)
        buffer.skip(1)
        if buffer.peek():
            raise DataError(
                "text behind the closing ] of the array",
                file=path,
                place=f"after {row} rows",
                remedy="give one array, or objects without one",
            )


class _TextBuffer:
    """UTF-8 text of a stream, of which only the part that is not decoded yet is held."""

    def __init__(self, stream: BinaryIO, path: Path) -> None:
        self._stream = stream
        self._path = path
        self._pending = b""
        self._text = ""
        self._at = 0
        self._at_start = True

    def peek(self) -> str:
        """Next character that is not white space, or "" at the end."""
        while True:
            match = _NOT_SPACE.search(self._text, self._at)
            if match:
                self._at = match.start()
                return match.group()
            self._at = len(self._text)
            if not self._fill():
                return ""

    def skip(self, count: int) -> None:
        self._at += count

    def decode(self, decoder: json.JSONDecoder, row: int) -> object:
        """The JSON value at the current place; reads on as long as the value may merely be incomplete."""
        while True:
            try:
                value, self._at = decoder.raw_decode(self._text, self._at)
                return value
            except json.JSONDecodeError as error:
                incomplete = error.pos > len(self._text) - 64 or error.msg.startswith("Unterminated string")
                if not (incomplete and len(self._text) - self._at < _LONGEST_VALUE and self._fill()):
                    raise DataError(
                        f"broken JSON: {error.msg}", file=self._path, place=f"row {row}", remedy=CUT_SHORT
                    ) from error
            except (ValueError, RecursionError) as error:
                raise _unusable_json(error, self._path, f"row {row}") from error

    def _fill(self) -> bool:
        block = self._stream.read(_CHUNK)
        data = self._pending + block
        cut = len(data)
        if block:
            while cut and data[cut - 1] & 0xC0 == 0x80:
                cut -= 1
            if cut and data[cut - 1] >= 0xC0:
                cut -= 1
        text = _decode(data[:cut], self._path, "")
        if self._at_start and text:
            text, self._at_start = text.removeprefix("\ufeff"), False
        self._text = self._text[self._at :] + text
        self._at = 0
        self._pending = data[cut:]
        return bool(block)


@contextmanager
def _open(path: Path) -> Iterator[BinaryIO]:
    """The file's bytes, decompressed."""
    try:
        stream: Any = open(path, "rb")
        if path.suffix.lower() in COMPRESSIONS:
            stream = io.BufferedReader(pa.input_stream(stream, compression=COMPRESSIONS[path.suffix.lower()]))
    except OSError as error:
        raise DataError(f"cannot open: {error.strerror or error}", file=path, remedy="check the path") from error
    with stream:
        try:
            yield stream
        except OSError as error:
            raise DataError(f"damaged data: {first_line(error)}", file=path, remedy=CUT_SHORT) from error


def _decode(data: bytes, path: Path, place: str) -> str:
    try:
        return data.decode("utf-8-sig" if place == "line 1" else "utf-8")
    except UnicodeDecodeError as error:
        raise DataError(
            f"not UTF-8 at byte {error.start} ({error.reason})", file=path, place=place, remedy=_UTF8
        ) from error


def _object(text: str, path: Path, place: str) -> dict:
    try:
        value = json.loads(text)
    except json.JSONDecodeError as error:
        raise DataError(
            f"broken JSON: {error.msg} at column {error.colno}",
            file=path,
            place=place,
            remedy="mend the line",
        ) from error
    except (ValueError, RecursionError) as error:
        raise _unusable_json(error, path, place) from error
    if not isinstance(value, dict):
        raise DataError("not a JSON object", file=path, place=place, remedy="give one object a line")
    return value


def _unusable_json(error: Exception, path: Path, place: str) -> DataError:
    """JSON that is well formed, but that Python does not load."""
    if isinstance(error, RecursionError):
        return DataError("JSON is nested too deeply", file=path, place=place, remedy="delete the row")
    problem = f"unusable JSON: {first_line(error).partition(';')[0]}"
    return DataError(problem, file=path, place=place, remedy="write an integer of thousands of digits as text")


_UTF8 = "convert the file to UTF-8 (iconv -f latin1 -t utf-8)"
