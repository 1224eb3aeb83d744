# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""The rollout servers' part of a run's life: tokens, not only responses, are progress; a dead engine ends its server.

vLLM makes the classes of the entry point `vllm.stat_logger_plugins` in every server (vllm/v1/metrics/loggers.py) and
calls them after each step of its engine. A wave of long responses is progress so, though none of them ends for hours.
"""

import os
from typing import Any

from vllm.v1.metrics.loggers import StatLoggerBase

from recipe.htpo.run import heartbeat
from recipe.htpo.seams.engine_death import end_with_the_engine


class RolloutBeat(StatLoggerBase):
    """Touches the run's heartbeat file when tokens were generated, and ends the server of an engine that crashed.

    Does nothing where no run names a heartbeat file: servers of others are not ours to end.
    """

    def __init__(self, vllm_config: Any, engine_index: int = 0) -> None:
        """Both arguments are vLLM's and not needed."""

    def record(
        self,
        scheduler_stats: Any,
        iteration_stats: Any,
        mm_cache_stats: Any = None,
        engine_idx: int = 0,
    ) -> None:
        """One step of the engine: `iteration_stats.num_generation_tokens` tokens came of it."""
        if iteration_stats is not None and iteration_stats.num_generation_tokens > 0:
            heartbeat.beat()

    def log_engine_initialized(self) -> None:
        """The engine's processes are there from now on."""
        if os.environ.get(heartbeat.VARIABLE):
            end_with_the_engine()
