# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""Building files of the contract: content, policies, determinism, atomicity."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from data_support import dapo_table, read, sum_records, write_contract

from data_prep.command_line.main import main
from data_prep.contract import SCHEMA
from data_prep.errors import DataError
from data_prep.operations.build import BuildOptions, build_split
from data_prep.operations.mix import Part, mix
from data_prep.operations.select import Selection, select
from data_prep.sources.dataset import DataSet
from data_prep.sources.registry import find_data_set
from data_prep.storage.provenance import read_provenance
from data_prep.storage.writer import ROW_GROUP
from recipe.htpo.lab.arithmetic import problems

Write = Callable[..., Path]


def test_row_of_the_contract(tmp_path: Path, write_jsonl: Write, sums: DataSet) -> None:
    source = write_jsonl(sum_records(3))
    result = build_split(sums, "train", tmp_path / "out.parquet", BuildOptions(source=str(source), template="bare"))
    assert result.rows["written"] == 3
    assert pq.read_schema(result.path).remove_metadata() == SCHEMA
    row = read(result.path)[1]
    row_id = row["extra_info"].pop("id")
    assert row_id.startswith("sums/") and len(row_id) == len("sums/") + 12
    assert row == {
        "data_source": "sums",
        "prompt": [{"role": "user", "content": "What is the sum of 1 and 2?"}],
        "ability": "math",
        "reward_model": {"style": "rule", "ground_truth": "3"},
        "extra_info": {
            "index": 1,
            "split": "train",
            "level": "1",
            "subject": None,
            "source_row": 1,
            "problem": "What is the sum of 1 and 2?",
            "pass_rate": None,
        },
    }


def test_arithmetic_is_the_generator_and_its_splits_are_disjoint(tmp_path: Path) -> None:
    arguments = ["build", "arithmetic", "--out", str(tmp_path), "--train-rows", "300", "--test-rows", "80"]
    assert main([*arguments, "--seed", "5", "--test-seed", "6", "--terms", "3,4"]) == 0
    train, test = (read(tmp_path / "arithmetic" / f"{split}.parquet") for split in ("train", "test"))
    assert [row["extra_info"]["problem"] for row in train] == [p.question for p in problems("train", 300, 5, (3, 4))]
    assert [row["reward_model"]["ground_truth"] for row in test] == [p.answer for p in problems("test", 80, 6, (3, 4))]
    assert train[0]["prompt"] == [{"role": "user", "content": train[0]["extra_info"]["problem"]}]
    assert {row["extra_info"]["level"] for row in train} == {"3", "4"}
    assert not {row["extra_info"]["problem"] for row in train} & {row["extra_info"]["problem"] for row in test}


def test_copies_are_removed_and_the_template_is_replaced(tmp_path: Path) -> None:
    pq.write_table(dapo_table(20, copies=5), tmp_path / "dapo-math-17k.parquet")
    options = BuildOptions(source=str(tmp_path), template="bare")
    result = build_split(find_data_set("dapo-math-17k"), "train", tmp_path / "out.parquet", options)
    assert result.rows == {
        "read": 100,
        "filtered": 0,
        "bad_rows": 0,
        "duplicate_rows": 80,
        "duplicate_problems": 0,
        "conflicting_problems": 0,
        "dropped_conflicts": 0,
        "written": 20,
    }
    rows = read(result.path)
    assert [row["prompt"][0]["content"] for row in rows] == [f"Problem {i} asks for {i} squared." for i in range(20)]
    assert [row["extra_info"]["source_row"] for row in rows] == list(range(20))


def test_same_id_in_both_forms(tmp_path: Path, write_jsonl: Write) -> None:
    pq.write_table(dapo_table(4), tmp_path / "original.parquet")
    bare = write_jsonl([{"problem": f"Problem {i} asks for {i} squared.", "answer": i * i} for i in range(4)])
    data_set = find_data_set("dapo_math_17k")
    ids = []
    for source in (tmp_path / "original.parquet", bare):
        result = build_split(data_set, "train", tmp_path / f"{source.name}.out", BuildOptions(source=str(source)))
        ids.append([row["extra_info"]["id"] for row in read(result.path)])
    assert ids[0] == ids[1]
    assert len(set(ids[0])) == 4


REPEATED = [
    {"problem": "p", "answer": 1, "n": 0},
    {"problem": "q", "answer": 2, "n": 1},
    {"problem": "p", "answer": 1, "n": 2},
    {"problem": "p", "answer": 3, "n": 3},
    {"problem": "q", "answer": 2, "n": 1},
]


@pytest.mark.parametrize(
    ("dedup", "conflicts", "kept"),
    [
        ("none", "keep", ["p1", "q2", "p1", "p3", "q2"]),
        ("rows", "keep", ["p1", "q2", "p1", "p3"]),
        ("problems", "keep", ["p1", "q2", "p3"]),
        ("problems", "drop", ["q2"]),
        ("none", "drop", ["q2", "q2"]),
    ],
)
def test_repetition_and_conflict_policies(
    tmp_path: Path, write_jsonl: Write, sums: DataSet, dedup: str, conflicts: str, kept: list[str]
) -> None:
    options = BuildOptions(source=str(write_jsonl(REPEATED)), dedup=dedup, conflicts=conflicts)  # type: ignore[arg-type]
    result = build_split(sums, "train", tmp_path / "out.parquet", options)
    rows = read(result.path)
    assert [row["extra_info"]["problem"] + row["reward_model"]["ground_truth"] for row in rows] == kept
    ids = [row["extra_info"]["id"] for row in rows]
    assert len(set(ids)) == len(ids)
    assert result.rows["conflicting_problems"] == (0 if conflicts == "drop" else 1)


def test_conflicts_as_errors(tmp_path: Path, write_jsonl: Write, sums: DataSet) -> None:
    options = BuildOptions(source=str(write_jsonl(REPEATED)), conflicts="error")
    with pytest.raises(DataError, match="row 3: problem has several answers, here '3'"):
        build_split(sums, "train", tmp_path / "out.parquet", options)


def test_bad_rows(tmp_path: Path, write_jsonl: Write, sums: DataSet, caplog: pytest.LogCaptureFixture) -> None:
    records = sum_records(5)
    records[2]["answer"] = "unknown"
    records[4]["problem"] = " \n"
    source = write_jsonl(records)
    out = tmp_path / "out" / "out.parquet"
    with pytest.raises(DataError, match=r"source.jsonl, row 2: answer is not an integer: 'unknown'.*--bad-rows"):
        build_split(sums, "train", out, BuildOptions(source=str(source)))
    assert not out.parent.exists()
    result = build_split(sums, "train", out, BuildOptions(source=str(source), bad_rows="drop"))
    assert (result.rows["bad_rows"], result.rows["written"]) == (2, 3)
    assert "row 2: answer is not an integer" in caplog.text and "row 4: the problem is empty" in caplog.text


def test_missing_column(tmp_path: Path, write_jsonl: Write, sums: DataSet) -> None:
    source = write_jsonl([{"text": "p", "solution": 1}])
    with pytest.raises(DataError, match=r"row 0: no problem: none of the columns .* \(columns here: text, solution\)"):
        build_split(sums, "train", tmp_path / "out.parquet", BuildOptions(source=str(source)))


def test_same_input_same_bytes_whatever_the_folder(tmp_path: Path, sums: DataSet) -> None:
    contents = []
    for folder in ("one", "two"):
        source = tmp_path / folder / "source.jsonl"
        source.parent.mkdir()
        source.write_text("".join(json.dumps(record) + "\n" for record in sum_records(3000)))
        result = build_split(sums, "train", tmp_path / folder / "out.parquet", BuildOptions(source=str(source)))
        contents.append(result.path.read_bytes())
    assert contents[0] == contents[1]


def test_row_groups_do_not_depend_on_batches(tmp_path: Path, write_jsonl: Write, sums: DataSet) -> None:
    source = write_jsonl(sum_records(ROW_GROUP + 5))
    result = build_split(sums, "train", tmp_path / "out.parquet", BuildOptions(source=str(source)))
    metadata = pq.read_metadata(result.path)
    assert [metadata.row_group(i).num_rows for i in range(metadata.num_row_groups)] == [ROW_GROUP, 5]


def test_provenance_says_how_the_file_was_made(
    tmp_path: Path, write_jsonl: Write, capsys: pytest.CaptureFixture
) -> None:
    source = write_jsonl([{"question": "1+1?", "answer": "#### 2"}])
    assert main(["build", "gsm8k", "--split", "test", "--source", str(source), "--out", str(tmp_path)]) == 0
    path = tmp_path / "gsm8k" / "test.parquet"
    provenance = read_provenance(path)
    assert provenance is not None
    recipe = provenance["recipe"]
    assert recipe["data_set"] == "gsm8k" and recipe["template"]["name"] == "dapo"
    assert recipe["template"]["version"] == 1 and "{problem}" in recipe["template"]["user"]
    (described,) = recipe["sources"]
    assert (described["file"], described["bytes"]) == ("source.jsonl", source.stat().st_size)
    assert len(described["sha256"]) == 64
    assert provenance["rows"]["written"] == 1
    capsys.readouterr()
    assert main(["show", str(path)]) == 0
    assert json.loads(capsys.readouterr().out) == provenance


def test_up_to_date_files_are_left_and_changed_ones_rebuilt(tmp_path: Path, write_jsonl: Write, sums: DataSet) -> None:
    source = write_jsonl(sum_records(4))
    out = tmp_path / "out.parquet"
    options = BuildOptions(source=str(source))
    assert not build_split(sums, "train", out, options).up_to_date
    before = out.stat().st_mtime_ns
    assert build_split(sums, "train", out, options).up_to_date
    assert out.stat().st_mtime_ns == before
    assert not build_split(sums, "train", out, BuildOptions(source=str(source), force=True)).up_to_date
    write_jsonl(sum_records(5))
    assert build_split(sums, "train", out, options).rows["written"] == 5


def test_output_of_another_configuration_is_replaced_only_by_force(
    tmp_path: Path, write_jsonl: Write, sums: DataSet
) -> None:
    source, out = write_jsonl(sum_records(4)), tmp_path / "out.parquet"
    build_split(sums, "train", out, BuildOptions(source=str(source)))
    before = out.read_bytes()
    with pytest.raises(DataError, match="another configuration: template.name was 'dapo', is 'bare'.*--force"):
        build_split(sums, "train", out, BuildOptions(source=str(source), template="bare"))
    with pytest.raises(DataError, match="another configuration: .*command was 'build', is 'select'"):
        select(write_contract(tmp_path / "in.parquet", ["p"]), out, Selection())
    with pytest.raises(DataError, match="another configuration: .*command was 'build', is 'mix'"):
        mix([Part(tmp_path / "in.parquet")], out)
    assert out.read_bytes() == before
    build_split(sums, "train", out, BuildOptions(source=str(source), template="bare", force=True))
    assert out.read_bytes() != before
    foreign = tmp_path / "foreign.parquet"
    pq.write_table(pa.table({"a": [1]}), foreign)
    with pytest.raises(DataError, match="was not made by data_prep"):
        build_split(sums, "train", foreign, BuildOptions(source=str(source)))


def test_failed_build_leaves_the_old_file(tmp_path: Path, write_jsonl: Write, sums: DataSet) -> None:
    out = tmp_path / "out" / "out.parquet"
    build_split(sums, "train", out, BuildOptions(source=str(write_jsonl(sum_records(4)))))
    before = out.read_bytes()
    source = write_jsonl([*sum_records(3000), {"problem": "p"}])
    with pytest.raises(DataError, match="row 3000: no answer"):
        build_split(sums, "train", out, BuildOptions(source=str(source)))
    assert out.read_bytes() == before
    assert list(out.parent.iterdir()) == [out]


def test_no_rows_is_an_error(tmp_path: Path, write_jsonl: Write, sums: DataSet) -> None:
    with pytest.raises(DataError, match="no row is left to write"):
        build_split(sums, "train", tmp_path / "out" / "out.parquet", BuildOptions(source=str(write_jsonl([]))))
    assert list((tmp_path / "out").iterdir()) == []


def test_killed_build_leaves_no_output_and_the_next_one_works(tmp_path: Path) -> None:
    """The source is a pipe that stays open, so the build is certainly half-way when it is killed."""
    source = tmp_path / "source.jsonl"
    os.mkfifo(source)
    script = (
        "import sys; from pathlib import Path; from data_prep.sources.dataset import DataSet; "
        "from data_prep.operations.build import _Builder, BATCH; from data_prep.sources.places import Files; "
        "from data_prep.sources.templates import TEMPLATES; from data_prep.sources.dataset import GenerateOptions; "
        "from data_prep.storage.writer import write_dataset; from data_prep.contract import SCHEMA; "
        "recipe = dict(dedup='rows', conflicts='keep', bad_rows='error', data_source='sums'); "
        "builder = _Builder(DataSet(name='sums', title=''), 'train', Files((Path(sys.argv[1]),)), TEMPLATES['bare'], "
        "GenerateOptions(), recipe); "
        "write_dataset(sys.argv[2], builder.batches(), recipe, builder.rows, SCHEMA)"
    )
    out = tmp_path / "out" / "sums.parquet"
    process = subprocess.Popen([sys.executable, "-c", script, str(source), str(out)])
    lines = "".join(json.dumps(record) + "\n" for record in sum_records(3 * ROW_GROUP)).encode()
    with open(source, "wb", buffering=0) as pipe:
        pipe.write(lines)
        partial = out.with_name(".sums.parquet.partial")
        deadline = time.monotonic() + 60
        while not (partial.exists() and partial.stat().st_size) and time.monotonic() < deadline:
            time.sleep(0.01)
        assert partial.stat().st_size
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert not out.exists()
    assert partial.exists()
    whole = tmp_path / "whole.jsonl"
    whole.write_bytes(lines)
    data_set = DataSet(name="sums", title="")
    build_split(data_set, "train", out, BuildOptions(source=str(whole)))
    assert [path.name for path in out.parent.iterdir()] == ["sums.parquet"]
    assert pq.read_metadata(out).num_rows == 3 * ROW_GROUP


@pytest.mark.parametrize(
    ("source", "message"),
    [("no/such/folder/x.jsonl", "no such file or folder"), ("/nowhere", "no such file or folder")],
)
def test_source_that_is_not_there(tmp_path: Path, sums: DataSet, source: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        build_split(sums, "train", tmp_path / "out.parquet", BuildOptions(source=source))


def test_folder_without_a_matching_file(tmp_path: Path) -> None:
    pq.write_table(pa.table({"a": [1]}), tmp_path / "other.parquet")
    with pytest.raises(DataError, match=r"no file here matches .*\*gsm8k\*train\*.*files here: other.parquet"):
        build_split(find_data_set("gsm8k"), "train", tmp_path / "out.parquet", BuildOptions(source=str(tmp_path)))


def test_shards_are_read_in_order(tmp_path: Path, sums: DataSet) -> None:
    for number, records in enumerate((sum_records(6)[:3], sum_records(6)[3:])):
        pq.write_table(pa.Table.from_pylist(records), tmp_path / f"train-{number:05}.parquet")
    result = build_split(sums, "train", tmp_path / "out" / "out.parquet", BuildOptions(source=str(tmp_path)))
    assert [row["extra_info"]["source_row"] for row in read(result.path)] == list(range(6))


def test_hub_without_network(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "data_prep", "build", "gsm8k", "--out", str(tmp_path / "out")]
    environment = os.environ | {"HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path / "hub")}
    result = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert result.returncode == 1
    assert "cannot read 'openai/gsm8k' (split 'train') from the Hugging Face Hub" in result.stderr
    assert "--source PATH" in result.stderr and "Traceback" not in result.stderr
    assert not (tmp_path / "out").exists()


def test_one_id_for_two_problems_is_named(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    source, config = tmp_path / "rows.jsonl", tmp_path / "set.yaml"
    source.write_text("".join(json.dumps({"problem": f"p{i}", "answer": "1", "key": "k"}) + "\n" for i in range(2)))
    config.write_text("name: set\nsource: rows.jsonl\ncolumns: {id: key}\n")
    assert main(["build", "--config", str(config), "--out", str(tmp_path / "out")]) == 1
    assert "rows.jsonl, row 1: id 'set/k' is of two different rows, here and in row 0" in capsys.readouterr().err
