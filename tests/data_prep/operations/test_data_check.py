# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""``check`` on files with every kind of fault, and on good ones."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from data_support import dapo_table, write_contract

from data_prep.command_line.main import main
from data_prep.errors import DataError
from data_prep.operations.check import Problem, check_files

PROBLEMS = [f"What is {i} and {i}?" for i in range(12)]


def faulty(tmp_path: Path, change) -> Path:
    """A file of twelve good rows after ``change(rows)``."""
    rows = dapo_table(12).to_pylist()
    for row in rows:
        row["extra_info"] = {"id": row["extra_info"]["index"]}
    change(rows)
    path = tmp_path / "faulty.parquet"
    pq.write_table(pa.Table.from_pylist(rows), path)
    return path


def only(problems: list[Problem], kind: str) -> Problem:
    assert [problem.kind for problem in problems] == [kind], problems
    return problems[0]


def test_good_files_pass(tmp_path: Path, tokenizer_folder: Path) -> None:
    paths = [write_contract(tmp_path / f"{name}.parquet", PROBLEMS, name=name) for name in ("one", "two")]
    assert check_files(paths, str(tokenizer_folder), 200, warnings=True) == []
    assert check_files([faulty(tmp_path, lambda rows: None)], warnings=True) == []


def set_prompt(value):
    def change(rows):
        rows[3]["prompt"] = value

    return change


@pytest.mark.parametrize(
    "prompt",
    [None, [], [{"role": "system", "content": "be kind"}], [{"role": "user", "content": " \n"}]],
)
def test_empty_prompt(tmp_path: Path, tokenizer_folder: Path, prompt: list | None) -> None:
    path = faulty(tmp_path, set_prompt(prompt))
    problem = only(check_files([path], str(tokenizer_folder), 500), "empty-prompt")
    assert problem.rows == (3,) and problem.count == 1
    assert "faulty.parquet: prompt has no user message with text (1 row: 3)" in str(problem)


@pytest.mark.parametrize("value", [None, "", "  "])
def test_empty_ground_truth(tmp_path: Path, value: str | None) -> None:
    def change(rows):
        rows[5]["reward_model"]["ground_truth"] = value

    assert only(check_files([faulty(tmp_path, change)]), "ground-truth").rows == (5,)


def test_numbers_as_ground_truth(tmp_path: Path) -> None:
    def change(rows):
        for row in rows:
            row["reward_model"]["ground_truth"] = 27.0

    problem = only(check_files([faulty(tmp_path, change)]), "ground-truth")
    assert problem.count == 12 and len(problem.rows) == 10 and "27.0 as 27" in problem.remedy


def test_struct_as_ground_truth(tmp_path: Path) -> None:
    def change(rows):
        for row in rows:
            row["reward_model"]["ground_truth"] = {"target": "1"}

    assert "ground_truth is struct" in only(check_files([faulty(tmp_path, change)]), "wrong-type").message


def test_ground_truths_the_verifier_cannot_read(tmp_path: Path) -> None:
    pytest.importorskip("recipe.htpo.verifier")

    def broken(count: int):
        def change(rows):
            for row in rows[:count]:
                row["reward_model"]["ground_truth"] = r"\frac{1}{"

        return change

    few = faulty(tmp_path, broken(1))
    assert check_files([few]) == []
    warning = only(check_files([few], warnings=True), "unparsable-ground-truth")
    assert warning.severity == "warning" and warning.rows == (0,)
    many = faulty(tmp_path, broken(6))
    assert only(check_files([many]), "unparsable-ground-truth").severity == "error"


def test_duplicate_ids_and_repeated_prompts(tmp_path: Path) -> None:
    def change(rows):
        rows[7] = rows[2]

    path = faulty(tmp_path, change)
    assert only(check_files([path]), "duplicate-id").rows == (7,)
    duplicate, repeated = check_files([path], warnings=True)
    assert repeated.kind == "repeated-prompt" and repeated.severity == "warning" and repeated.rows == (7,)


def test_overlong_prompts(tmp_path: Path, tokenizer_folder: Path) -> None:
    def change(rows):
        rows[4]["prompt"][0]["content"] = "sum " * 300

    problem = only(check_files([faulty(tmp_path, change)], str(tokenizer_folder), 100), "overlong-prompt")
    assert problem.rows == (4,) and "303 tokens" in problem.message


def test_missing_columns(tmp_path: Path) -> None:
    path = tmp_path / "plain.parquet"
    pq.write_table(pa.table({"question": ["q"], "prompt": ["p"]}), path)
    assert {problem.kind for problem in check_files([path])} == {"missing-column", "wrong-type"}


PARTS = [{"type": "image", "text": None}, {"type": "text", "text": "How many?"}]


def in_parts(rows):
    for number, row in enumerate(rows):
        text = row["prompt"][0]["content"]
        row["prompt"] = [{"role": "user", "content": [PARTS[0], {"type": "text", "text": text if number else " "}]}]


def test_content_parts_are_read_as_verl_reads_them(tmp_path: Path, tokenizer_folder: Path) -> None:
    """Their text counts; what is no text is passed over."""
    problem = only(check_files([faulty(tmp_path, in_parts)], str(tokenizer_folder), 500, warnings=True), "empty-prompt")
    assert problem.rows == (0,)


def test_null_message(tmp_path: Path, tokenizer_folder: Path) -> None:
    def change(rows):
        rows[2]["prompt"].append(None)

    problem = only(check_files([faulty(tmp_path, change)], str(tokenizer_folder), 500), "null-message")
    assert problem.rows == (2,) and problem.remedy == "delete the message, or the row"


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("extra_info", '{"index": 1}', "extra_info is string, not a struct"),
        ("extra_info", [{"index": 1}], "extra_info is list<"),
        ("extra_info", 7, "extra_info is int64, not a struct"),
        ("prompt", [{"role": "user", "content": 5}], "prompt.content is int64, neither text nor a list of parts"),
        ("prompt", [{"role": 1, "content": "p"}], "prompt.role is int64, not text"),
        ("prompt", [{"role": "user"}], "not messages"),
        ("prompt", ["p"], "prompt is list<"),
    ],
)
def test_wrong_types(tmp_path: Path, capsys: pytest.CaptureFixture, name: str, value: object, message: str) -> None:
    def change(rows):
        for row in rows:
            row[name] = value

    path = faulty(tmp_path, change)
    assert message in only(check_files([path]), "wrong-type").message
    assert main(["check", str(path)]) == 1
    assert "Remedy: " in capsys.readouterr().out


def latin1(path: Path, old: bytes, new: bytes) -> Path:
    """The file with some bytes of its text changed."""
    pq.write_table(pq.read_table(path), path, compression="none", use_dictionary=False, write_statistics=False)
    data = path.read_bytes()
    assert data.count(old) >= 1 and len(old) == len(new)
    path.write_bytes(data.replace(old, new))
    return path


def test_text_that_is_not_utf8(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    """In a struct, in the messages, and in files that other commands read."""
    good = write_contract(tmp_path / "good.parquet", PROBLEMS, [f"x{i:02}" for i in range(12)])
    bad = latin1(good, b"x03", b"x\xff3")
    (problem,) = check_files([bad])
    assert problem.kind == "unreadable" and "latin1" in problem.remedy
    assert problem.message == f"{bad}: reward_model.ground_truth holds text that is not UTF-8 (row 3)"
    assert main(["stats", str(bad)]) == 1
    assert f"error: {bad}, row 3: reward_model.ground_truth holds text" in capsys.readouterr().err

    def change(rows):
        rows[5]["prompt"][0]["content"] = "What is xyz?"

    (problem,) = check_files([latin1(faulty(tmp_path, change), b"xyz", b"x\xffz")])
    assert "prompt holds text that is not UTF-8 (row 5)" in problem.message


@pytest.mark.parametrize("field", ["extra_info", "extra_info.id", "extra_info.problem", "prompt.content"])
def test_nulls_in_a_file_of_the_contract(tmp_path: Path, capsys: pytest.CaptureFixture, field: str) -> None:
    """``check`` says what the commands that read the file refuse."""
    good = write_contract(tmp_path / "good.parquet", PROBLEMS)
    table = pq.read_table(good)
    rows = table.to_pylist()
    top, _, inner = field.partition(".")
    if inner == "content":
        rows[4]["prompt"].insert(0, {"role": "system", "content": None})
    else:
        rows[4][top] = {**rows[4][top], inner: None} if inner else None
    schema = pa.schema([item.with_nullable(True) for item in table.schema])
    path, out = tmp_path / "bad.parquet", str(tmp_path / "out.parquet")
    pq.write_table(pa.Table.from_pylist(rows, schema), path)
    problem = only(check_files([path]), "null-field")
    assert problem.rows == (4,) and f"every row is null: {field}" in problem.message
    for command in (
        ["stats", str(path)],
        ["select", str(path), "--out", out],
        ["mix", str(path), "--out", out],
        *([["decontaminate", str(path), "--against", str(good)]] if top != "prompt" else []),
        *([["decontaminate", str(good), "--against", str(path)]] if top != "prompt" else []),
    ):
        capsys.readouterr()
        assert main(command) == 1, command
        error = capsys.readouterr().err
        assert f"error: {path}, row 4: {field}" in error and "is null. Remedy: fill it in" in error, command


def with_extra(path: Path, extra_info: list[dict]) -> Path:
    rows = [
        row | {"extra_info": extra}
        for row, extra in zip(dapo_table(len(extra_info)).to_pylist(), extra_info, strict=True)
    ]
    pq.write_table(pa.Table.from_pylist(rows), path)
    return path


EXTRAS = {
    "int": [{"index": 1}],
    "text": [{"index": "a"}],
    "null": [{"index": None, "split": None}],
    "more": [{"split": "train", "index": 2}],
    "float": [{"index": 1.5}],
    "list": [{"index": 3, "tags": [{"a": 1, "b": "x"}]}],
    "reordered": [{"tags": [{"b": "x", "a": 1}], "index": 3}],
    "wider": [{"index": 3, "tags": [{"a": 1, "b": "x", "c": None}]}],
    "empty list": [{"index": 3, "tags": []}],
    "list of text": [{"index": 3, "tags": ["x"]}],
}


@pytest.mark.parametrize("first", EXTRAS)
@pytest.mark.parametrize("second", EXTRAS)
def test_joining_is_judged_as_datasets_does(tmp_path: Path, first: str, second: str) -> None:
    """``concatenate_datasets`` is what verl calls."""
    import datasets

    paths = [with_extra(tmp_path / f"{i}.parquet", EXTRAS[name]) for i, name in enumerate((first, second))]
    try:
        datasets.concatenate_datasets([datasets.Dataset(pq.read_table(path)) for path in paths])
        joins = True
    except ValueError:
        joins = False
    problems = [problem for problem in check_files(paths) if problem.kind != "same-file"]
    assert (problems == []) == joins
    if not joins:
        assert only(problems, "features").file == str(paths[1])


def test_our_files_join_with_each_other_but_not_with_the_originals(tmp_path: Path) -> None:
    ours = [write_contract(tmp_path / f"{name}.parquet", PROBLEMS, name=name) for name in ("one", "two")]
    assert check_files(ours) == []
    original = tmp_path / "original.parquet"
    pq.write_table(dapo_table(3), original)
    problem = only(check_files([*ours, original]), "features")
    assert "extra_info.index is int64 there and string here" in problem.message


def test_unreadable_file_does_not_hide_the_others(tmp_path: Path) -> None:
    good = write_contract(tmp_path / "good.parquet", PROBLEMS)
    cut = tmp_path / "cut.parquet"
    cut.write_bytes(good.read_bytes()[:-100])
    problem = only(check_files([cut, good]), "unreadable")
    assert "cut.parquet: not a readable parquet file" in problem.message


@pytest.mark.parametrize("again", ["same name", "link", "copy"])
def test_the_same_file_twice(tmp_path: Path, again: str) -> None:
    path, other = write_contract(tmp_path / "one.parquet", PROBLEMS), tmp_path / "other.parquet"
    if again == "same name":
        other = path
    elif again == "link":
        other.symlink_to(path)
    else:
        other.write_bytes(path.read_bytes())
    problem = only(check_files([path, other], warnings=True), "same-file")
    assert problem.severity == "error" and str(path) in problem.message and str(other) in problem.message


def in_split(path: Path, split: str | None) -> Path:
    rows = dapo_table(3).to_pylist()
    for row in rows:
        row["extra_info"] = {"id": split, "split": split} if split else {"note": path.name}
    pq.write_table(pa.Table.from_pylist(rows[: 3 if split == "train" else 2]), path)
    return path


@pytest.mark.parametrize("stated", [True, False])
def test_problems_that_are_trained_and_tested_on(tmp_path: Path, stated: bool) -> None:
    """The split is the row's, else the file name's."""
    train = in_split(tmp_path / "train.parquet", "train" if stated else None)
    test = in_split(tmp_path / "test.parquet", "test" if stated else None)
    found = [problem for problem in check_files([train, test]) if problem.kind == "train-is-test"]
    assert [(problem.severity, problem.file, problem.rows) for problem in found] == [("error", str(test), (0, 1))]
    assert str(train) in found[0].message and "decontaminate" in found[0].remedy
    assert main(["check", str(train), str(test)]) == 1


def test_tokenizer_and_length_go_together(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="go together"):
        check_files([], max_prompt_length=10)


def test_exit_code(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    good = write_contract(tmp_path / "good.parquet", PROBLEMS)
    assert main(["check", str(good)]) == 0
    assert capsys.readouterr().out == "1 files, 0 errors, 0 warnings\n"
    assert main(["check", str(good), str(faulty(tmp_path, set_prompt(None)))]) == 1
    assert "error [empty-prompt]" in capsys.readouterr().out
