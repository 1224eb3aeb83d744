# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""Tokens of a rollout server are progress."""

import os
import signal
import subprocess
import sys
import tomllib
from importlib.metadata import EntryPoint
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from vllm.plugins import STAT_LOGGER_PLUGINS_GROUP
from vllm.v1.metrics.loggers import StatLoggerBase
from vllm.v1.metrics.stats import IterationStats

from recipe.htpo.cpu.platform import ROLLOUT_ENV
from recipe.htpo.run import heartbeat
from recipe.htpo.run.watchdog import EXIT_CODE

ROOT = Path(__file__).resolve().parents[3]
TIMEOUT_S = 4.0


def plugin() -> type:
    groups = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["entry-points"]
    ((name, value),) = groups[STAT_LOGGER_PLUGINS_GROUP].items()
    return EntryPoint(name, value, STAT_LOGGER_PLUGINS_GROUP).load()


def test_vllm_finds_a_logger_of_its_kind():
    assert issubclass(plugin(), StatLoggerBase)


def test_tokens_beat_and_a_step_without_any_does_not(tmp_path, monkeypatch):
    path = tmp_path / "heartbeat"
    monkeypatch.setenv(heartbeat.VARIABLE, str(path))
    monkeypatch.setattr(heartbeat, "_last_beat", -10.0)
    beat = plugin()(SimpleNamespace(), 0)
    beat.log_engine_initialized()
    stats = IterationStats()
    beat.record(None, None, None, 0)
    beat.record(scheduler_stats=None, iteration_stats=stats, mm_cache_stats=None, engine_idx=0)
    assert not path.exists()
    stats.num_generation_tokens = 1
    beat.record(scheduler_stats=None, iteration_stats=stats, mm_cache_stats=None, engine_idx=0)
    assert path.exists()


@pytest.mark.slow
def test_a_long_wave_lives_and_a_hang_dies_with_the_reason(tmp_path):
    """A real engine: no response ends before several time-outs are over; then it is stopped."""
    from transformers import Qwen2Config, Qwen2ForCausalLM

    torch.manual_seed(0)
    sizes = dict(hidden_size=128, intermediate_size=160, num_attention_heads=4, num_key_value_heads=2)
    config = Qwen2Config(**sizes, num_hidden_layers=2, vocab_size=64, max_position_embeddings=20_000, dtype="float32")
    Qwen2ForCausalLM(config).save_pretrained(tmp_path / "model")
    log = tmp_path / "log.txt"
    with log.open("wb") as stream:
        process = subprocess.Popen(
            [sys.executable, Path(__file__).with_name("seams_rollout_wave.py"), tmp_path / "model", str(TIMEOUT_S)],
            env={
                **os.environ,
                **ROLLOUT_ENV,
                "VERL_PLATFORM": "cpu",
                "OMP_NUM_THREADS": "1",
                "VLLM_PLUGINS": "htpo_cpu",
                heartbeat.VARIABLE: str(tmp_path / "heartbeat"),
            },
            cwd=ROOT,
            stdout=stream,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        process.wait(timeout=600)
    finally:
        # The stopped engine among them.
        os.killpg(process.pid, signal.SIGKILL)
    output = log.read_text(errors="replace")
    took = next((line for line in output.splitlines() if line.startswith("the wave took")), None)
    assert took is not None, output[-4000:]
    assert float(took.split()[3]) > 2 * TIMEOUT_S
    assert process.returncode == EXIT_CODE, output[-4000:]
    assert "no progress for 4 s in generation of step 2" in output
