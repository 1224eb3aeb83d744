# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""The command with a second model: what is wrong with either is said before the other one is sampled."""

import subprocess

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from rich.console import Console

from recipe.htpo.evaluation import __main__ as command
from recipe.htpo.evaluation.engine import Sample
from recipe.htpo.evaluation.prompts import read_prompts
from recipe.htpo.evaluation.run import _judge, _record
from recipe.htpo.evaluation.settings import parse
from recipe.htpo.evaluation.store import RESPONSES_FILE, write_responses
from recipe.htpo.lab.model import make_tokenizer


@pytest.fixture
def model(tmp_path):
    directory = tmp_path / "model"
    make_tokenizer().save_pretrained(directory)
    (directory / "config.json").write_text('{"model_type": "qwen2"}')
    (directory / "model.safetensors").write_bytes(b"")
    return directory


@pytest.mark.parametrize("code", [1, -9])
def test_a_baseline_that_fails_ends_the_evaluation(model, monkeypatch, capsys, code):
    monkeypatch.setattr(subprocess, "run", lambda words: subprocess.CompletedProcess(words, code))
    monkeypatch.setattr(command, "evaluate", lambda settings: pytest.fail(f"{settings.model} was evaluated"))
    assert command.main([str(model), "d.parquet", "against=before"]) == 2
    assert f"error: against: the evaluation of before ended with exit code {code}" in capsys.readouterr().err


def test_a_model_that_is_none_is_found_before_the_baseline_is_sampled(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(subprocess, "run", lambda words: pytest.fail(f"{words} was started"))
    assert command.main([str(tmp_path), "d.parquet", "against=before"]) == 2
    assert "error: model: " in capsys.readouterr().err


@pytest.mark.parametrize("below", ["", "/eval"])
def test_an_output_that_is_a_file_is_found_first(tmp_path, monkeypatch, capsys, below):
    monkeypatch.setattr(command, "evaluate", lambda settings: pytest.fail("it was evaluated"))
    (tmp_path / "notes.md").write_text("kept")
    assert command.main(["m", "d.parquet", f"out={tmp_path}/notes.md{below}"]) == 2
    assert f"error: out: {tmp_path}/notes.md is a file. Remedy: name a directory: out=DIR" in capsys.readouterr().err


@pytest.fixture
def evaluated(model, tmp_path):
    """Arguments of an evaluation that is finished: three sources, one of them of one prompt."""
    pairs = [("math[/hard]", "1"), ("math[/hard]", "2"), ("a$\\frac$", "1"), ("a$\\frac$", "2"), ("one", "1")]
    table = [
        {
            "data_source": source,
            "prompt": [{"role": "user", "content": text}],
            "reward_model": {"ground_truth": text},
        }
        for source, text in pairs
    ]
    data, out, template = tmp_path / "d.parquet", tmp_path / "out[1]", tmp_path / "t.jinja"
    pq.write_table(pa.Table.from_pylist(table), data)
    template.write_text("{{ messages[0]['content'] }}")
    arguments = [str(model), str(data), f"out={out}", f"chat_template={template}", "n=2"]
    settings = parse(arguments)
    samples = [Sample("\\boxed{1}", 3, "stop"), Sample("2", 1, "length")]
    rows = [row for prompt in read_prompts(settings) for row in _judge(prompt, samples, settings)]
    write_responses(out, rows, _record(settings, str(model)))
    return arguments


def test_names_are_no_markup(evaluated, tmp_path, capsys):
    assert command.main(evaluated) == 0
    said = capsys.readouterr().out
    assert "out[1]/responses.parquet" in said and "math[/hard] " in said and "a$\\frac$ " in said
    path = tmp_path / "out[1]" / RESPONSES_FILE
    command._compare(Console(width=160, markup=False), path, path)
    assert (path.parent / "pass_at_k_a$\\frac$.png").is_file() and (path.parent / "difference_a$\\frac$.png").is_file()
    # That of one prompt is not passed over in silence.
    assert "not compared, since one prompt has no interval: one\n" in capsys.readouterr().out


def test_a_template_with_other_contents_is_another_evaluation(evaluated, tmp_path, capsys):
    assert command.main(evaluated) == 0
    (tmp_path / "t.jinja").write_text("{{ messages[0]['content'] }}!")
    assert command.main(evaluated) == 2
    assert "error: out: holds another evaluation (chat_template.digest " in capsys.readouterr().err


def test_an_output_that_cannot_be_made_is_named(evaluated, capsys):
    assert command.main([*evaluated, "out=/proc/evaluation"]) == 2
    said = "error: out: cannot write into /proc/evaluation (No such file or directory). Remedy: name another directory"
    assert said in capsys.readouterr().err
