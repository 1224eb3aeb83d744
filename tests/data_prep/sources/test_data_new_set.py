# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""A new set without code: from the command line, in every format and layout, and what travels with it."""

import bz2
import csv
import gzip
import json
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from data_support import problems_of, read, rlhf_dataset

from data_prep.command_line.main import main

Write = Callable[..., Path]
ROWS = [{"question": f"What is {i} plus 1?", "key": str(i + 1), "grade": i % 3} for i in range(6)]


def build(*arguments: object, out: Path) -> int:
    return main(["build", *map(str, arguments), "--out", str(out)])


def zstd(data: bytes) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.CompressedOutputStream(sink, "zstd") as stream:
        stream.write(data)
    return sink.getvalue().to_pybytes()


def written(folder: Path, form: str) -> Path:
    """The rows in a file of this form."""
    path = folder / f"quiz.{form}"
    kind, _, packed = form.partition(".")
    if kind == "parquet":
        pq.write_table(pa.Table.from_pylist(ROWS), path)
    elif kind == "arrow":
        with pa.ipc.new_file(str(path), pa.Table.from_pylist(ROWS).schema) as writer:
            writer.write_table(pa.Table.from_pylist(ROWS))
    else:
        lines = [json.dumps(row) for row in ROWS]
        text = "\n".join(lines) if kind == "jsonl" else json.dumps(ROWS)
        if kind in ("csv", "tsv"):
            plain = folder / "plain"
            with open(plain, "w", newline="") as stream:
                rows = csv.DictWriter(stream, ROWS[0], delimiter="," if kind == "csv" else "\t")
                rows.writeheader()
                rows.writerows(ROWS)
            text = plain.read_text()
        pack = {"": bytes, "gz": gzip.compress, "zst": zstd, "bz2": bz2.compress}[packed]
        path.write_bytes(pack(text.encode()))
    return path


@pytest.mark.parametrize(
    "form",
    ["csv", "tsv", "jsonl", "json", "parquet", "arrow", "jsonl.gz", "csv.zst", "json.zst", "tsv.gz", "jsonl.bz2"],
)
def test_every_format_by_columns_alone(tmp_path: Path, form: str) -> None:
    source = written(tmp_path, form)
    assert build("--source", source, "--problem", "question", "--answer", "key", out=tmp_path) == 0
    rows = read(tmp_path / "quiz" / "train.parquet")
    assert [row["extra_info"]["problem"] for row in rows] == [row["question"] for row in ROWS]
    assert [row["reward_model"]["ground_truth"] for row in rows] == [row["key"] for row in ROWS]


@pytest.mark.parametrize("form", ["jsonl.gz", "csv.zst"])
def test_damaged_compression(tmp_path: Path, capsys: pytest.CaptureFixture, form: str) -> None:
    source = written(tmp_path, form)
    source.write_bytes(source.read_bytes()[:-9])
    assert build("--source", source, "--problem", "question", "--answer", "key", out=tmp_path / "out") == 1
    error = capsys.readouterr().err
    assert str(source) in error and "Remedy: " in error


@pytest.mark.parametrize("layout", ["saved", "saved-splits", "hub", "hub-readme", "shards"])
def test_folders(tmp_path: Path, layout: str) -> None:
    import datasets

    folder = tmp_path / "quiz"
    data = datasets.Dataset.from_list(ROWS)
    if layout == "saved":
        data.save_to_disk(folder)
    elif layout == "saved-splits":
        datasets.DatasetDict({"train": data, "validation": data.select([0])}).save_to_disk(folder)
    elif layout == "shards":
        folder.mkdir()
        data.select(range(4)).to_parquet(folder / "train-00000-of-00002.parquet")
        data.select(range(4, 6)).to_parquet(folder / "train-00001-of-00002.parquet")
    else:
        inner = folder / ("data" if layout == "hub" else "odd")
        inner.mkdir(parents=True)
        data.to_parquet(inner / "train-00000-of-00001.parquet")
        data.select([0]).to_parquet(inner / "validation-00000-of-00001.parquet")
        if layout == "hub-readme":
            configs = [{"config_name": "main", "data_files": [{"split": "train", "path": "odd/train-*"}]}]
            (folder / "README.md").write_text(f"---\nconfigs: {json.dumps(configs)}\n---\n")
    options = ["--source", folder, "--problem", "question", "--answer", "key"]
    assert build(*options, out=tmp_path / "out") == 0
    assert problems_of(tmp_path / "out" / "quiz" / "train.parquet") == [row["question"] for row in ROWS]
    if layout in ("saved-splits", "hub"):
        assert build(*options, "--source-split", "validation", "--split", "test", out=tmp_path / "out") == 0
        assert problems_of(tmp_path / "out" / "quiz" / "test.parquet") == [ROWS[0]["question"]]


def test_a_split_that_the_folder_lacks(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    import datasets

    datasets.DatasetDict({"train": datasets.Dataset.from_list(ROWS)}).save_to_disk(tmp_path / "quiz")
    arguments = ["--source", tmp_path / "quiz", "--split", "test", "--problem", "question", "--answer", "key"]
    assert build(*arguments, out=tmp_path / "out") == 1
    assert "no split 'test' here, only train. Remedy: name the source's split with --source-split" in (
        capsys.readouterr().err
    )


@pytest.mark.parametrize(
    ("conditions", "kept"),
    [
        (["grade=1"], [1, 4]),
        (["grade=0,1"], [0, 1, 3, 4]),
        (["grade!=0"], [1, 2, 4, 5]),
        (["grade>=1", "key<4"], [1, 2]),
        (["question~[45] plus"], [4, 5]),
        (["question!~[1-5] plus"], [0]),
    ],
)
def test_filters(tmp_path: Path, write_jsonl: Write, conditions: list[str], kept: list[int]) -> None:
    options = [part for condition in conditions for part in ("--filter", condition)]
    source = write_jsonl(ROWS, "quiz.jsonl")
    assert build("--source", source, "--problem", "question", "--answer", "key", *options, out=tmp_path) == 0
    assert problems_of(tmp_path / "quiz" / "train.parquet") == [ROWS[number]["question"] for number in kept]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--filter", "grade"], "'grade' is no condition. Remedy: write COLUMN=VALUE"),
        (["--filter", "grade>x"], "'grade>x' is no condition"),
        (["--filter", "question>3"], "row 0: question>3: 'What is 0 plus 1?' is no number"),
        (["--problem", "text"], "no problem: none of the columns text holds a value (columns here: question, key"),
        (["--keep", "extra_info.level"], "column 'extra_info.level' cannot be kept beside the contract's own level"),
        (["--name", "A/B"], "name 'A/B' is no folder name"),
        (["--pass-rate", "grade"], "row 2: pass rate is 2, not within 0 and 1"),
    ],
)
def test_wrong_options(
    tmp_path: Path, write_jsonl: Write, capsys: pytest.CaptureFixture, arguments: list[str], message: str
) -> None:
    source = write_jsonl(ROWS, "quiz.jsonl")
    assert build("--source", source, "--problem", "question", "--answer", "key", *arguments, out=tmp_path / "out") == 1
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_nothing_to_build_and_a_name_beside_a_description(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    assert build(out=tmp_path) == 1
    assert "nothing to build. Remedy: name a set of `list`, or give --source or --config" in capsys.readouterr().err
    assert build("gsm8k", "--name", "mine", out=tmp_path) == 1
    assert "leave out the NAME, or these options" in capsys.readouterr().err


def test_options_change_a_registered_set(tmp_path: Path, write_jsonl: Write) -> None:
    source = write_jsonl([{"q": f"{i}?", "a": f"#### {i}", "hard": i > 1} for i in range(4)])
    arguments = ["gsm8k", "--split", "test", "--source", source, "--problem", "q", "--answer", "a"]
    assert build(*arguments, "--filter", "hard=True", out=tmp_path) == 0
    assert problems_of(tmp_path / "gsm8k" / "test.parquet") == ["2?", "3?"]


def test_options_win_over_the_yaml(tmp_path: Path, write_jsonl: Write) -> None:
    write_jsonl(ROWS, "quiz.jsonl")
    config = tmp_path / "quiz.yaml"
    config.write_text(
        "source: quiz.jsonl\ncolumns: {problem: question, answer: key}\nfilter: grade=1\ntemplate: bare\n"
    )
    assert build("--config", config, "--template", "boxed", "--level", "grade", out=tmp_path) == 0
    rows = read(tmp_path / "quiz" / "train.parquet")
    assert [row["extra_info"]["level"] for row in rows] == ["1", "1"]
    assert "\\boxed" in rows[0]["prompt"][0]["content"]


def messages(*turns: tuple[str, object]) -> list[dict]:
    return [{"role": role, "content": content} for role, content in turns]


def test_chats_keep_what_leads_to_the_question(tmp_path: Path, write_jsonl: Write) -> None:
    turns = [("system", "Be brief."), ("user", "Hi"), ("assistant", "Hello"), ("user", "2+2?"), ("assistant", "4")]
    records = [
        {"messages": messages(*turns), "answer": ["4", "4"]},
        {"messages": messages(("user", "2+2?")), "answer": ["5"]},
        {"messages": messages(("user", [{"type": "text", "text": "2"}, {"type": "text", "text": "+3?"}])), "answer": 5},
    ]
    source = write_jsonl(records, "chats.jsonl")
    options = ["--source", source, "--problem", "messages", "--conflicts", "error"]
    assert build(*options, "--template", "bare", out=tmp_path) == 0
    rows = read(tmp_path / "chats" / "train.parquet")
    assert [row["prompt"] for row in rows] == [
        messages(*turns[:4]),
        messages(("user", "2+2?")),
        messages(("user", "2+3?")),
    ]
    assert rows[0]["extra_info"]["problem"] == "2+2?" and rows[0]["extra_info"]["id"] != rows[1]["extra_info"]["id"]
    assert build(*options, "--template", "qwen-boxed", "--name", "boxed", out=tmp_path) == 0
    prompt = read(tmp_path / "boxed" / "train.parquet")[0]["prompt"]
    assert [message["role"] for message in prompt] == ["system", "user", "assistant", "user"]
    assert "boxed" in prompt[0]["content"]


def test_different_answers_need_the_list_rule(
    tmp_path: Path, write_jsonl: Write, capsys: pytest.CaptureFixture
) -> None:
    source = write_jsonl([{"problem": "x^2=4?", "answer": ["2", "-2"]}], "roots.jsonl")
    assert build("--source", source, out=tmp_path / "out") == 1
    assert "2 answers: '2, -2'. Remedy: use the answer rule `list` (--answer-rule list)" in capsys.readouterr().err
    assert build("--source", source, "--answer-rule", "list", out=tmp_path) == 0
    assert read(tmp_path / "roots" / "train.parquet")[0]["reward_model"]["ground_truth"] == "2, -2"


IMAGE = {"bytes": b"png", "path": None}


def test_images_get_their_placeholders(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    part = {"type": "image_url", "image_url": {"url": "file:a.png"}}
    records = [
        {"problem": "How many?", "answer": "1", "images": [IMAGE, IMAGE]},
        {"problem": "Here <image> how many?", "answer": "2", "images": [IMAGE]},
    ]
    pq.write_table(pa.Table.from_pylist(records), tmp_path / "shapes.parquet")
    assert build("--source", tmp_path / "shapes.parquet", "--template", "bare", out=tmp_path) == 0
    rows = read(tmp_path / "shapes" / "train.parquet")
    texts = [row["prompt"][0]["content"] for row in rows]
    assert texts == ["<image><image>How many?", "Here <image> how many?"]
    assert [row["images"] for row in rows] == [[IMAGE, IMAGE], [IMAGE]]
    record = {"problem": messages(("user", ["Count ", part])), "answer": "1"}
    (tmp_path / "parts.jsonl").write_text(json.dumps(record))
    assert build("--source", tmp_path / "parts.jsonl", "--template", "bare", out=tmp_path) == 0
    (row,) = read(tmp_path / "parts" / "train.parquet")
    assert row["prompt"][0]["content"] == "Count <image>" and row["images"] == [{"image": "file:a.png"}]
    (tmp_path / "few.jsonl").write_text(json.dumps({"problem": "<image><image>?", "answer": 1, "images": ["a.png"]}))
    assert build("--source", tmp_path / "few.jsonl", out=tmp_path) == 1
    assert "2 times <image> in the messages, but 1 images" in capsys.readouterr().err


def test_further_columns_travel_to_verl(tmp_path: Path, write_jsonl: Write, tokenizer_folder: Path) -> None:
    def tools(number: int) -> dict:
        return {"calculator": {"create_kwargs": {"start": number}}, "idle": {}}

    records = [
        {
            "problem": f"tool {i}",
            "answer": i,
            "year": 2000 + i,
            "ability": "tools",
            "hint": [i],
            "tools_kwargs": tools(i),
        }
        for i in range(4)
    ]
    records.append(records[0])
    talks = [
        {"problem": f"talk {i}", "answer": i, "extra_info": {"interaction_kwargs": {"name": "guess"}}} for i in range(4)
    ]
    one, two = write_jsonl(records, "tools.jsonl"), write_jsonl(talks, "talks.jsonl")
    assert build("--source", one, "--keep", "year", "hint", out=tmp_path) == 0
    assert build("--source", two, out=tmp_path) == 0
    first, second = (tmp_path / name / "train.parquet" for name in ("tools", "talks"))
    mixed, few, clean = tmp_path / "mixed.parquet", tmp_path / "few.parquet", tmp_path / "clean.parquet"
    assert main(["mix", str(first), str(second), "--out", str(mixed)]) == 0
    assert main(["select", str(mixed), "--where", "year>=2001", "--out", str(few)]) == 0
    command = ["decontaminate", str(few), "--against", str(second), "--out", str(clean)]
    assert main(command) == 0
    for path, years in ((first, 4), (mixed, 4), (few, 3), (clean, 3)):
        rows = [row for row in read(path) if row["data_source"] == "tools"]
        assert len(rows) == years
        for row in rows:
            number = row["year"] - 2000
            assert row["ability"] == "tools" and row["hint"] == [number]
            assert row["extra_info"]["tools_kwargs"]["calculator"] == {"create_kwargs": {"start": number}}
    dataset, _ = rlhf_dataset([mixed, first, second], tokenizer_folder, tmp_path / "cache")
    rows = [dataset[number] for number in range(len(dataset))]
    assert sum(row["tools_kwargs"] is not None and "calculator" in row["tools_kwargs"] for row in rows) == 8
    assert sum(row["interaction_kwargs"] == {"name": "guess"} for row in rows) == 8


def test_columns_that_do_not_join(tmp_path: Path, write_jsonl: Write, capsys: pytest.CaptureFixture) -> None:
    for name, value in (("one", 1), ("two", "text")):
        source = write_jsonl([{"problem": name, "answer": 1, "note": value}], f"{name}.jsonl")
        assert build("--source", source, "--keep", "note", out=tmp_path) == 0
    paths = [str(tmp_path / name / "train.parquet") for name in ("one", "two")]
    assert main(["mix", *paths, "--out", str(tmp_path / "mixed.parquet")]) == 1
    assert "types that do not join" in capsys.readouterr().err
    source = write_jsonl([{"problem": f"{v}", "answer": 1, "note": v} for v in (1, "text")], "odd.jsonl")
    assert build("--source", source, "--keep", "note", out=tmp_path) == 1
    assert "column 'note' holds values of several types" in capsys.readouterr().err


def test_a_published_pass_rate(tmp_path: Path, write_jsonl: Write) -> None:
    source = write_jsonl(
        [{"problem": f"p{i}", "answer": i, "failed": {"small": 4 * i}} for i in range(5)], "rated.jsonl"
    )
    options = ["--pass-rate", "failed.small", "--pass-rate-of", "16", "--pass-rate-counts", "wrong"]
    assert build("--source", source, *options, out=tmp_path) == 0
    rates = [row["extra_info"]["pass_rate"] for row in read(tmp_path / "rated" / "train.parquet")]
    assert rates == [1.0, 0.75, 0.5, 0.25, 0.0]


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--level", "garde"], "no row has a column garde. Remedy: name one of those there are: question, key, grade"),
        (["--subject", "topic", "field"], "no row has a column topic or field"),
        (["--id", "task.id"], "no row has a column task.id"),
        (["--keep", "grade", "year"], "no row has a column year"),
        (["--filter", "garde!=1"], "no row has a column garde"),
    ],
)
def test_a_named_column_occurs(tmp_path: Path, capsys: pytest.CaptureFixture, options: list, says: str) -> None:
    source = written(tmp_path, "jsonl")
    columns = ["--source", source, "--problem", "question", "--answer", "key"]
    assert build(*columns, *options, out=tmp_path / "out") == 1
    error = capsys.readouterr().err
    assert f"error: {source}: {says}" in error and "Remedy: name one of those there are: question, key, grade" in error
    assert not (tmp_path / "out").exists()
    (tmp_path / "quiz.yaml").write_text("source: quiz.jsonl\ncolumns: {problem: question, answer: key, level: garde}\n")
    assert build("--config", tmp_path / "quiz.yaml", out=tmp_path / "out") == 1
    assert "no row has a column garde" in capsys.readouterr().err


def test_a_named_column_of_some_rows_is_enough(tmp_path: Path, write_jsonl: Write) -> None:
    """Also where the only row that has it is filtered out, and for a registered set."""
    rows = [{"question": "p", "answer": "#### 1"}, {"question": "q", "answer": "#### 2", "meta": {"hard": None}}]
    source = write_jsonl(rows, "train.jsonl")
    options = ["--split", "train", "--keep", "meta.hard", "--filter", "question=p", "--level", "grade", "meta.hard"]
    assert build("gsm8k", "--source", source, *options, out=tmp_path / "out") == 0
    assert len(read(tmp_path / "out" / "gsm8k" / "train.parquet")) == 1


def test_two_kept_columns_of_one_name(tmp_path: Path, write_jsonl: Write, capsys: pytest.CaptureFixture) -> None:
    row = {"problem": "p", "answer": "1", "a": {"year": 1}, "b": {"year": 2}, "extra_info": {"year": 3}}
    source = write_jsonl([row], "years.jsonl")
    assert build("--source", source, "--keep", "a.year", "b.year", out=tmp_path) == 1
    assert "columns 'a.year' and 'b.year' would both be kept as 'year'" in capsys.readouterr().err
    assert build("--source", source, "--keep", "a.year", "extra_info.year", out=tmp_path) == 0
    (built,) = read(tmp_path / "years" / "train.parquet")
    assert (built["year"], built["extra_info"]["year"]) == (1, 3)
