# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""The command with a second model: what is wrong with either is said before the other one is sampled."""

import subprocess

import pytest

from recipe.htpo.evaluation import __main__ as command
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
