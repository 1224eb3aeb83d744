# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""Prompts out of verl's parquet files: of the data contract, and of other hands."""

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from data_prep.command_line.main import main as data_prep
from recipe.htpo.evaluation.prompts import read_prompts, token_ids
from recipe.htpo.evaluation.settings import EvalSettings, SettingsError
from recipe.htpo.lab.model import make_tokenizer


def settings(*files, **more):
    return EvalSettings(model="m", data=tuple(map(str, files)), **more)


def write(path, rows):
    pq.write_table(pa.Table.from_pylist(rows), path)
    return path


def row(text, truth="1", **extra):
    return {
        "data_source": "aime",
        "prompt": [{"role": "user", "content": text}],
        "reward_model": {"style": "rule", "ground_truth": truth},
        "extra_info": extra or {"split": "test"},
    }


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    out = tmp_path_factory.mktemp("data")
    arguments = ["build", "arithmetic", "--out", str(out), "--train-rows", "8", "--test-rows", "20"]
    assert data_prep(arguments) == 0
    return out / "arithmetic" / "test.parquet"


def test_a_file_of_the_contract(built):
    found = read_prompts(settings(built))
    rows = pq.read_table(built).to_pylist()
    assert [p.id for p in found] == [r["extra_info"]["id"] for r in rows]
    assert [p.problem for p in found] == [r["extra_info"]["problem"] for r in rows]
    assert [p.index for p in found] == list(range(20))
    assert len(read_prompts(settings(built, prompts=7))) == 7


def test_a_problem_in_many_rows_is_one_prompt(tmp_path):
    many = write(tmp_path / "960.parquet", [row(f"problem {i % 30}", str(i % 30)) for i in range(960)])
    once = write(tmp_path / "30.parquet", [row(f"problem {i}", str(i)) for i in range(30)])
    found, short = read_prompts(settings(many)), read_prompts(settings(once))
    assert len(found) == 30 and found == short
    # A prompt's samples depend on the prompt and the seed alone.
    assert [p.seed(3) for p in found] == [p.seed(3) for p in short]
    assert len({p.seed(s) for p in found for s in range(4)}) == 120


def test_two_files_are_read_in_order(tmp_path):
    one = write(tmp_path / "a.parquet", [row("x"), row("y")])
    two = write(tmp_path / "b.parquet", [row("y"), row("z")])
    assert [p.messages[0]["content"] for p in read_prompts(settings(one, two))] == ["x", "y", "z"]


@pytest.mark.parametrize(
    ("rows", "says"),
    [
        ([{"question": "x"}], "no column data_source, prompt, reward_model.*data_prep build --source FILE"),
        ([row("x") | {"extra_info": '{"index": 1}'}], "extra_info of .* is str, not a struct"),
        ([row("x") | {"reward_model": '{"ground_truth": "1"}'}], "reward_model of .* is str, not a struct"),
        ([row("x") | {"prompt": "x"}], "prompt is string, not messages.*data_prep build"),
        ([row("x") | {"prompt": [{"role": "user", "content": 1}]}], "prompt.content is int64, neither text"),
        ([row("x") | {"prompt": [{"role": "user", "content": "x"}, None]}], "is no list of messages"),
        ([row(None), row("x")], "a message of a prompt of .* has no content"),
        ([row([{"type": "image", "text": None}])], "has parts that are no text"),
        ([row("x", None)], "no reward_model.ground_truth"),
        ([row("x", id="1"), row("y", id="1")], "two different prompts of a source have one extra_info.id"),
    ],
)
def test_files_that_cannot_be_evaluated(tmp_path, rows, says):
    path = write(tmp_path / "bad.parquet", rows)
    with pytest.raises(SettingsError, match=says):
        read_prompts(settings(path))


def test_answers_are_texts(tmp_path):
    of_numbers = write(tmp_path / "a.parquet", [row("x", [1, 2])])
    of_number = write(tmp_path / "b.parquet", [row("x", 1)])
    assert read_prompts(settings(of_numbers))[0].ground_truth == ["1", "2"]
    assert read_prompts(settings(of_number))[0].ground_truth == "1"


def test_files_that_are_none(tmp_path):
    with pytest.raises(SettingsError, match="no such file"):
        read_prompts(settings(tmp_path / "nothing.parquet"))
    (tmp_path / "text.parquet").write_text("no parquet")
    with pytest.raises(SettingsError, match="not a readable parquet file"):
        read_prompts(settings(tmp_path / "text.parquet"))


def test_text_parts_are_the_text(tmp_path):
    parts = write(tmp_path / "a.parquet", [row([{"type": "text", "text": "x"}, {"type": "text", "text": "y"}])])
    text = write(tmp_path / "b.parquet", [row("xy")])
    assert read_prompts(settings(parts)) == read_prompts(settings(text))


def test_text_that_is_not_utf8(tmp_path):
    path = tmp_path / "bad.parquet"
    pq.write_table(pa.Table.from_pylist([row("xyz")]), path, compression="none", write_statistics=False)
    path.write_bytes(path.read_bytes().replace(b"xyz", b"x\xffz"))
    with pytest.raises(SettingsError, match="bad.parquet, row 0: prompt holds text that is not UTF-8.*latin1"):
        read_prompts(settings(path))


def test_the_models_own_template_makes_the_tokens(built, tmp_path):
    tokenizer = make_tokenizer()
    prompts = read_prompts(settings(built, prompts=2))
    ids = token_ids(prompts, tokenizer, settings(built))
    expected = tokenizer.apply_chat_template(
        [dict(message) for message in prompts[0].messages], add_generation_prompt=True, return_dict=False
    )
    assert ids[0] == expected
    template = tmp_path / "t.jinja"
    template.write_text("{{ messages[0]['content'] }}=")
    own = token_ids(prompts, tokenizer, settings(built, chat_template=str(template)))
    assert tokenizer.decode(own[0]) == prompts[0].problem + "="
    template.write_text("{{ raise_exception('no such role') }}")
    with pytest.raises(SettingsError, match=f"chat_template: fails on prompt {prompts[0].id} .no such role.*give one"):
        token_ids(prompts, tokenizer, settings(built, chat_template=str(template)))
    template.write_bytes(b"\xff")
    with pytest.raises(SettingsError, match="chat_template: .*t.jinja is no UTF-8"):
        token_ids(prompts, tokenizer, settings(built, chat_template=str(template)))
    tokenizer.chat_template = None
    with pytest.raises(SettingsError, match="chat_template: the model's tokenizer has none"):
        token_ids(prompts, tokenizer, settings(built))
