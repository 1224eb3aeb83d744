# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""Files of an evaluation: a journal that survives a kill, responses that the other commands read as they are."""

import json

import pyarrow.parquet as pq
import pytest

from data_prep.command_line.main import main as data_prep
from recipe.htpo.evaluation import difference
from recipe.htpo.evaluation.engine import Sample
from recipe.htpo.evaluation.prompts import read_prompts
from recipe.htpo.evaluation.run import _judge
from recipe.htpo.evaluation.settings import EvalSettings, SettingsError
from recipe.htpo.evaluation.store import (
    JOURNAL_FILE,
    open_journal,
    read_outcomes,
    read_record,
    require_same,
    write_responses,
)
from recipe.htpo.evaluation.summary import compare_files, comparison_table, draw, draw_difference, results_table
from recipe.htpo.verify import main as verify

RECORD = {"settings": {"n": 4, "vllm": {}}, "model": {"name": "m"}}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    out = tmp_path_factory.mktemp("data")
    arguments = ["build", "arithmetic", "--out", str(out), "--train-rows", "8", "--test-rows", "24"]
    assert data_prep(arguments) == 0
    return out / "arithmetic" / "test.parquet"


def judged(data, right):
    """Rows of four responses for each prompt of `data`, of which `right(i)` are right."""
    settings = EvalSettings(model="m", data=(str(data),), n=4)
    rows = []
    for i, prompt in enumerate(read_prompts(settings)):
        answers = [prompt.ground_truth] * right(i) + ["-1"] * (4 - right(i))
        samples = [Sample(f"\\boxed{{{answer}}}", 5, "stop") for answer in answers[:3]]
        rows += _judge(prompt, [*samples, Sample(f"\\boxed{{{answers[3]}", 5, "length")], settings)
    return rows


def test_a_journal_goes_on_after_a_kill_at_any_byte(tmp_path):
    with open_journal(tmp_path, RECORD) as journal:
        for number in (0, 2, 1):
            journal.add(number, [{"id": str(number), "response": "é\n"}])
    whole = (tmp_path / JOURNAL_FILE).read_bytes()
    lines = whole.splitlines(keepends=True)
    for end in range(len(whole) + 1):
        (tmp_path / JOURNAL_FILE).write_bytes(whole[:end])
        finished = [json.loads(line) for line in whole[:end].splitlines(keepends=True) if line in lines][1:]
        with open_journal(tmp_path, RECORD) as journal:
            assert list(journal.chunks) == [entry["chunk"] for entry in finished]
            for number in {0, 1, 2} - journal.chunks.keys():
                journal.add(number, [{"id": str(number), "response": "é\n"}])
        with open_journal(tmp_path, RECORD) as journal:
            assert journal.chunks == {number: [{"id": str(number), "response": "é\n"}] for number in range(3)}


def test_a_journal_of_another_evaluation_is_refused(tmp_path):
    with open_journal(tmp_path, RECORD):
        with pytest.raises(SettingsError, match="another process evaluates"):
            with open_journal(tmp_path, RECORD):
                pass
    with pytest.raises(
        SettingsError, match="another evaluation .settings.n 4 -> 8; settings.vllm.x None -> 1..*out=DIR"
    ):
        with open_journal(tmp_path, RECORD | {"settings": {"n": 8, "vllm": {"x": 1}}}):
            pass


def test_the_same_rows_make_the_same_bytes(data, tmp_path):
    rows = judged(data, lambda i: i % 5)
    one = write_responses(tmp_path / "a", rows, RECORD).read_bytes()
    assert write_responses(tmp_path / "b", rows, RECORD).read_bytes() == one
    assert read_record(tmp_path / "a" / "responses.parquet") == RECORD
    require_same(tmp_path / "a" / "responses.parquet", RECORD)
    with pytest.raises(SettingsError, match="holds another evaluation"):
        require_same(tmp_path / "a" / "responses.parquet", {"settings": {}})
    with pytest.raises(SettingsError, match="no file of an evaluation"):
        read_record(data)
    (tmp_path / "b" / "responses.parquet").write_bytes(one[: len(one) // 2])
    with pytest.raises(SettingsError, match="responses.parquet is damaged .*delete it, and evaluate again"):
        read_record(tmp_path / "b" / "responses.parquet")


def test_data_prep_and_the_verifier_read_the_file_as_it_is(data, tmp_path, capsys):
    # The last response is cut inside its box, so that at most three of four are right.
    path = write_responses(tmp_path, judged(data, lambda i: i % 5), RECORD)
    acc = pq.read_table(path)["acc"].to_pylist()
    assert 0 < sum(acc) < len(acc)
    chosen = tmp_path / "hard.parquet"
    arguments = ["select", str(data), "--verdicts", str(path), "--pass-rate", "0.25", "0.5", "--out", str(chosen)]
    assert data_prep(arguments) == 0
    rates = [row["extra_info"]["pass_rate"] for row in pq.read_table(chosen).to_pylist()]
    assert rates == [i % 5 / 4 for i in range(24) if i % 5 in (1, 2)]
    again = tmp_path / "verdicts.jsonl"
    assert verify([str(path), "--quiet", "--output", str(again)]) == 0
    verdicts = [json.loads(line)["verdict"] for line in again.read_text().splitlines()]
    rows = pq.read_table(path).to_pylist()
    assert [v["correct"] for v in verdicts] == [row["acc"] == 1.0 for row in rows]
    assert [v["reason"] for v in verdicts] == [row["reason"] for row in rows]
    capsys.readouterr()


def test_answers_of_several_parts_and_of_one_stand_in_one_file(tmp_path, data):
    rows = judged(data, lambda i: 1)[:8]
    rows[0]["ground_truth"] = ["1", "2"]
    path = write_responses(tmp_path, rows, RECORD)
    assert pq.read_table(path)["ground_truth"].to_pylist()[:2] == [["1", "2"], [rows[1]["ground_truth"]]]
    assert verify([str(path), "--quiet"]) == 0


def test_the_tables_and_pictures_of_two_models(data, tmp_path):
    before = write_responses(tmp_path / "before", judged(data, lambda i: i % 3), RECORD)
    after = write_responses(tmp_path / "after", judged(data, lambda i: 1 + i % 3), RECORD)
    outcomes = read_outcomes(after)["arithmetic"]
    assert outcomes.correct.tolist() == [1 + i % 3 for i in range(24)] and outcomes.least_samples == 4
    table = results_table(after)
    cells = {column.header: column._cells[0] for column in table.columns}
    assert cells["pass@1 (avg@n)"] == "0.500" and cells["pass@k"] == "1.000 (k=4)" and cells["cut"] == "25.0 %"
    # Prompts with 1, 2 and 3 of 3 answers right (the cut one has none): 1 vote against 2, 2 against 1, 3 against 0.
    assert cells["maj@n"] == f"{2 / 3:.3f}"
    found = compare_files(after, before)["arithmetic"]
    assert found.value[0] == pytest.approx(0.25)
    np_found = difference([outcomes], [read_outcomes(before)["arithmetic"]])
    assert (found.low == np_found.low).all()
    row = {column.header: column._cells[0] for column in comparison_table({"arithmetic": found}).columns}
    assert row["verdict"] == "better" and row["pass@1 (points)"] == "+25.0"
    for picture in (
        draw({"before": outcomes, "after": outcomes}, tmp_path / "a.png", "title"),
        draw_difference(found, tmp_path / "b.png", "title"),
    ):
        assert picture.read_bytes().startswith(b"\x89PNG") and picture.stat().st_size > 5000
