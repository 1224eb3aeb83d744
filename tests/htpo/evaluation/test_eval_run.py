# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""The whole evaluation through vLLM: the responses are the model's, and a kill changes nothing."""

import os
import signal
import subprocess
import sys
import time

import pyarrow.parquet as pq
import pytest
import torch
from transformers import AutoTokenizer, Qwen2ForCausalLM

from data_prep.command_line.main import main as data_prep
from recipe.htpo.evaluation.store import JOURNAL_FILE, RESPONSES_FILE
from recipe.htpo.lab.model import make_model, make_tokenizer

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("eval_run")]

TOKENS = 24


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Directory with a random model and 24 prompts."""
    place = tmp_path_factory.mktemp("evaluation")
    tokenizer = make_tokenizer()
    make_model(tokenizer, seed=0).save_pretrained(place / "model")
    tokenizer.save_pretrained(place / "model")
    assert data_prep(["build", "arithmetic", "--out", str(place), "--train-rows", "8", "--test-rows", "24"]) == 0
    return place


def command(place, out, *settings):
    data = place / "arithmetic" / "test.parquet"
    program = [sys.executable, "-m", "recipe.htpo.evaluation", str(place / "model"), str(data), f"out={out}"]
    return [*program, f"max_tokens={TOKENS}", "chunk=4", *settings]


def evaluate(place, out, *settings):
    subprocess.run(command(place, out, *settings), check=True)
    return out / RESPONSES_FILE


def test_killed_half_way_and_repeated_it_gives_the_file_of_two_copies_over_ray(place):
    out = place / "killed"
    process = subprocess.Popen(command(place, out, "n=3"))
    journal = out / JOURNAL_FILE
    deadline = time.monotonic() + 400
    # A line of settings and two chunks of six.
    while not journal.exists() or journal.read_bytes().count(b"\n") < 3:
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert not (out / RESPONSES_FILE).exists()
    repeated = evaluate(place, out, "n=3").read_bytes()
    assert not journal.exists()
    assert evaluate(place, place / "copies", "n=3", "replicas=2").read_bytes() == repeated


def test_greedy_responses_are_the_models(place):
    path = evaluate(place, place / "greedy", "n=1", "temperature=0", "prompts=6")
    model = Qwen2ForCausalLM.from_pretrained(place / "model", dtype=torch.float32)
    tokenizer = AutoTokenizer.from_pretrained(place / "model")
    for row in pq.read_table(path).to_pylist():
        ids = tokenizer.apply_chat_template(
            [{"role": "user", "content": row["problem"]}],
            add_generation_prompt=True,
            return_tensors="pt",
            return_dict=True,
        )
        output = model.generate(**ids, max_new_tokens=TOKENS, do_sample=False)
        response = output[0, ids["input_ids"].size(1) :]
        assert row["response"] == tokenizer.decode(response, skip_special_tokens=True)
        assert row["finish_reason"] == ("stop" if response[-1] == tokenizer.eos_token_id else "length")
